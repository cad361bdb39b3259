# SPDX-License-Identifier: Apache-2.0
"""SvirtLibvirtDriver on the hosts of a small fake cloud."""

from __future__ import annotations

import re
from collections.abc import Callable

import fixtures
import nova.conf
import testtools

from tests.fakes import cloud as fake_cloud
from tests.fakes import level_stores
from tests.fakes import patches
from tests.fakes import processes
from tests.fakes import steps as fake_steps
from tests.fakes import storage

CONF = nova.conf.CONF
UUID = '11111111-1111-4111-8111-111111111111'
OTHER = '22222222-2222-4222-8222-222222222222'

_SECLABEL = re.compile('<seclabel [^>]*[^/]>.*?</seclabel>')


def with_seclabel(xml: str, change: Callable[[str], str]) -> str:
    """The XML of a domain with another label of its process.

    The disks have labels, too: elements without content.

    :param change: makes the new element of the one that is there
    """
    return _SECLABEL.sub(lambda match: change(match[0]), xml)


class CloudTestCase(testtools.TestCase):
    """Two hosts, A and B, and no instance.

    :cvar is_shared: whether they share the instances' directories
    """

    is_shared = False

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.below = self.useFixture(patches.BelowTheDriver(is_quiet=False))
        self.steps = fake_steps.Countdown()
        self.levels = level_stores.MemoryLevels()
        self.cloud = self.below.cloud = fake_cloud.Cloud(
            storage.Memory(),
            self.levels.allocator,
            processes.Inline(),
            self.steps,
            is_shared=self.is_shared,
        )
        self.allocator = self.levels.allocator
        self.api = self.cloud.api

    def done(self, *wanted: str) -> list[str]:
        """The steps since the last look, or those with such words."""
        names, self.steps.names[:] = [*self.steps.names], []
        if not wanted:
            return names
        return [name for name in names if any(word in name for word in wanted)]

    def record(self, host='A', uuid=UUID):
        """What libvirt has of an instance."""
        return self.cloud.hosts[host].record(uuid)

    def instance(self, uuid=UUID):
        """What Nova has of an instance."""
        return self.cloud.database.load(uuid)

    def driver(self, host='A'):
        return self.cloud.compute(host).driver

    def claimants(self, uuid=UUID):
        return set(self.allocator.get(uuid).hosts)

    def label(self, path):
        """The level of a file, as text."""
        return str(self.cloud.files.read(path).level)

    def flag(self, name, value):
        """Set an option of [svirt]."""
        CONF.set_override(name, value, group='svirt')
        self.addCleanup(CONF.clear_override, name, group='svirt')

    def redefine(self, host, uuid=UUID, **changes):
        """Change what libvirt has of an instance, behind Nova's back."""
        record = self.record(host, uuid)
        self.cloud.hosts[host].put(uuid, record.but(**changes))
