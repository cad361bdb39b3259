# SPDX-License-Identifier: Apache-2.0
"""A fake SELinux host below Nova's fake libvirt.

Fakes stand at libvirt's and the kernel's edge alone: the store is a real
SQLite file, and the driver, its rules and Nova are real.
"""

from __future__ import annotations

import collections
import itertools
import os
from typing import Any
from unittest import mock

import fixtures
from lxml import etree
import nova.conf
from nova import context
from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client

from svirt_nova import conf as svirt_conf
from svirt_nova import context as contexts
from svirt_nova import files
from svirt_nova import lifecycle
from svirt_nova import reaper
from svirt_nova.allocator import base as allocators
from svirt_nova.virt import remains

CONF = nova.conf.CONF

PROCESS = 'system_u:system_r:svirt_t:s0'
IMAGE = 'system_u:object_r:svirt_image_t:s0'

_SECMODEL = (
    '<secmodel><model>selinux</model><doi>0</doi>'
    f"<baselabel type='kvm'>{PROCESS}</baselabel>"
    f"<baselabel type='qemu'>{PROCESS}</baselabel></secmodel></host>"
)


class Domain(fakelibvirt.Domain):
    """A domain that keeps its seclabel, as libvirt's does."""

    def __init__(
        self, connection: Any, xml: Any, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(connection, xml, *args, **kwargs)
        root = etree.fromstring(xml)
        self.given_xml = etree.tostring(root, encoding='unicode')
        self.seclabel = root.find('seclabel[@model="selinux"]')
        # What the kernel would show; a test may make it differ.
        self.process_label = (
            None if self.seclabel is None else self.seclabel.findtext('label')
        )

    def XMLDesc(self, flags: int) -> str:  # noqa: N802
        xml: str = super().XMLDesc(flags)
        if self.seclabel is None:
            return xml
        seclabel = etree.fromstring(etree.tostring(self.seclabel))
        process = contexts.Context.parse(seclabel.findtext('label'))
        image = contexts.Context.parse(IMAGE).at(process.level)
        etree.SubElement(seclabel, 'imagelabel').text = str(image)
        text = etree.tostring(seclabel, encoding='unicode')
        return xml.replace('</domain>', f'{text}</domain>')

    def securityLabel(self) -> list[Any]:  # noqa: N802
        return [self.process_label or PROCESS, True]


class Files:
    """The labels that files would have, by path."""

    def __init__(self) -> None:
        self.labels: dict[str, contexts.Context] = {}
        self.refused: set[str] = set()

    def label(self, root: str, path: str, level: Any) -> None:
        if os.path.basename(path) in self.refused:
            raise files.unlabeled(path)
        self.labels[path] = contexts.Context.parse(IMAGE).at(level)

    def restore(self, root: str, path: str) -> None:
        self.labels.pop(path, None)

    def read(self, path: str) -> contexts.Context | None:
        return self.labels.get(path)


class ConfinedHostFixture(fixtures.Fixture):
    """An enforcing host whose guests get levels from a store of its own."""

    def _setUp(self) -> None:
        svirt_conf.register_opts(CONF)
        store = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        CONF.set_override(
            'connection', f'sqlite:///{store}', group='svirt_database'
        )
        self.addCleanup(
            CONF.clear_override, 'connection', group='svirt_database'
        )
        self.files = Files()
        for name in ('label', 'restore', 'read'):
            self._patch(f'svirt_nova.files.{name}', getattr(self.files, name))
        self._patch('selinux.is_selinux_enabled', lambda: 1)
        self._patch('selinux.security_getenforce', lambda: 1)
        self._patch(
            'svirt_nova.privsep.image_context',
            lambda: contexts.Context.parse(IMAGE),
        )
        self._patch('nova.tests.fixtures.libvirt.Domain', Domain)
        capabilities = fakelibvirt.Connection.getCapabilities
        self._patch(
            'nova.tests.fixtures.libvirt.Connection.getCapabilities',
            lambda connection: capabilities(connection).replace(
                '</host>', _SECMODEL, 1
            ),
        )
        self.allocator = allocators.load(CONF)
        self.levels = Levels()
        kind = type(self.allocator)
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{kind.__module__}.{kind.__name__}.acquire',
                self.levels.recording(kind.acquire),
            )
        )

    def _patch(self, name: str, new: Any) -> None:
        self.useFixture(fixtures.MonkeyPatch(name, new))


class Levels:
    """Records every level that the allocator answers, by instance."""

    def __init__(self) -> None:
        self.seen: dict[str, set[Any]] = collections.defaultdict(set)

    def recording(self, acquire: Any) -> Any:
        def record(allocator: Any, instance_uuid: str, *args: Any) -> Any:
            allocation = acquire(allocator, instance_uuid, *args)
            self.seen[instance_uuid].add(allocation.level)
            return allocation

        return record


class Servers:
    """Nova's API, as the reaper asks it."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def check(self) -> None:
        self._api.get_servers()

    def exists(self, instance_uuid: str) -> bool:
        try:
            self._api.get_server(instance_uuid)
        except client.OpenStackApiNotFoundException:
            return False
        return True


class ConfinedMixin:
    """Runs a libvirt functional test of Nova with our driver.

    After the test it checks what must always hold.
    """

    def setUp(self) -> None:
        self.host_fixture = self.useFixture(ConfinedHostFixture())
        super().setUp()
        # First of all cleanups: the services still run.
        self.addCleanup(self._check_invariants)

    def _setup_compute_service(self) -> None:
        self.flags(compute_driver='svirt_nova.SvirtLibvirtDriver')

    @property
    def allocator(self) -> allocators.Allocator:
        return self.host_fixture.allocator

    def _check_invariants(self) -> None:
        for uuid, seen in self.host_fixture.levels.seen.items():
            self.assertEqual(1, len(seen), f'{uuid} has had {seen}')
        drivers = {
            name: service.driver
            for name, service in getattr(self, 'computes', {}).items()
            if getattr(service.driver, '_claims', None) is not None
        }
        for name, driver in drivers.items():
            self._check_domains_are_claimed(name, driver)
        self._reconcile(drivers)
        in_use = self.allocator.list()
        for one, other in itertools.combinations(in_use, 2):
            self.assertFalse(one.level.is_comparable(other.level))
        for name, driver in drivers.items():
            present = remains.of_host(driver._host).uuids
            busy = {
                uuid
                for uuid in self.host_fixture.levels.seen
                if self._is_busy(uuid)
            }
            claimed = {a.instance_uuid for a in in_use if name in a.hosts}
            self.assertEqual(
                set(),
                claimed - present - busy,
                f'{name} claims what it has nothing of',
            )

        self._check_the_deleted()

    def _check_the_deleted(self) -> None:
        """The levels of deleted instances are free where hosts are clean."""
        self._reap()
        servers = Servers(self._reaper_api)
        for allocation in self.allocator.list(
            states=frozenset([allocators.State.HELD])
        ):
            if not allocation.hosts:
                self.assertTrue(
                    servers.exists(allocation.instance_uuid),
                    f'leaked: {allocation}',
                )

    @property
    def _reaper_api(self) -> Any:
        return getattr(self, 'admin_api', None) or self.api

    def _reap(self) -> None:
        servers = Servers(self._reaper_api)
        claimed = [a for a in self.allocator.list() if a.hosts]
        if claimed and not any(
            servers.exists(a.instance_uuid) for a in claimed
        ):
            # So few instances that the reaper's control would not tell
            # them from a Nova that denies everything.
            self.enterContext(mock.patch.object(reaper, '_check_controls'))
        reaper.retire(
            self.allocator,
            reaper.find(
                self.allocator, servers, interval=0, sleep=lambda seconds: None
            ),
        )

    def _check_domains_are_claimed(self, name: str, driver: Any) -> None:
        for uuid, label in remains.of_host(driver._host).domains.items():
            if label is None or not label.is_static:
                continue
            held = self.allocator.get(uuid)
            self.assertEqual(held.level, label.label.level)
            self.assertIn(name, held.hosts)

    def _reconcile(self, drivers: Any) -> None:
        for driver in drivers.values():
            driver._claims._stale = lifecycle.StaleClaims(0)
            driver._claims.reconcile()

    def _is_busy(self, uuid: str) -> bool:
        try:
            instance = objects.Instance.get_by_uuid(
                context.get_admin_context(read_deleted='yes'), uuid
            )
        except nova_exception.NotFound:
            return False
        return instance.task_state is not None and not instance.deleted
