# SPDX-License-Identifier: Apache-2.0
"""A host with three guests, and what the kernel writes of them."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import os
import threading
import time

import fixtures
import prometheus_client
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.alarm import assembly
from svirt_nova.alarm import attempts
from svirt_nova.alarm import audit_lines
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.denials import verdicts
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.unit.cmd import fake

BORN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
HOST = 'compute1'
ANN, ANN_TOO, BOB = 'c1,c2', 'c3,c4', 'c6,c7'
ELSEWHERE = 'c8,c9'
"""The level of an instance on another host."""
NOBODY = 'c10,c11'

UUIDS = {
    level: f'aaaaaaaa-0000-4000-8000-{number:012}'
    for number, level in enumerate((ANN, ANN_TOO, BOB, ELSEWHERE))
}
PROJECTS = {ANN: 'ann', ANN_TOO: 'ann', BOB: 'bob', ELSEWHERE: 'eve'}
SPACE = spaces.LevelSpace.parse('c0.c99', 2, 'c5')

_serials = itertools.count(1)


def row(level: str, host: str, since: datetime.datetime = BORN):
    return types.Allocation(
        levels.Level.parse(f's0:{level}'),
        UUIDS[level],
        PROJECTS[level],
        frozenset({host}),
        since,
    )


class Allocator(fake.Allocator):
    """A store of the guests above.

    :ivar asked: what it was asked for
    :ivar hangs: until this is set, it does not answer
    """

    def __init__(self, conf=None):
        super().__init__(conf)
        self.rows = [
            *(row(level, HOST) for level in (ANN, ANN_TOO, BOB)),
            row(ELSEWHERE, 'compute2'),
        ]
        self.asked = []
        self.hangs = threading.Event()
        self.hangs.set()

    def list(self, **filters):
        self.asked.append('list')
        self.hangs.wait(60)
        return super().list(**filters)

    def find(self, level):
        self.asked.append('find')
        SPACE.check(level)
        return next((each for each in self.rows if each.level == level), None)

    def history(self, level, begun_after=None, limit=None):
        found = self.find(level)
        return [] if found is None else [found.holding]

    def space(self):
        return SPACE


def denial(
    source=ANN,
    target=BOB,
    *,
    at=None,
    serial=None,
    comm='"qemu-system-x86"',
    path='"/var/lib/nova/instances/x/disk"',
    permissive=0,
    permissions='read',
    source_type='svirt_t',
    target_type='svirt_image_t',
):
    """A record as auditd writes it, without a line end."""
    moment = time.time() if at is None else at
    return (
        f'type=AVC msg=audit({moment:.3f}:{serial or next(_serials)}): '
        f'avc:  denied  {{ {permissions} }} for  pid=4242 comm={comm} '
        f'path={path} dev="dm-0" ino=77 '
        f'scontext=system_u:system_r:{source_type}:s0'
        f'{":" if source else ""}{source} '
        f'tcontext=system_u:object_r:{target_type}:s0'
        f'{":" if target else ""}{target} '
        f'tclass=file permissive={permissive}'
    ).encode()


def alarm(source=ANN, target=BOB, verdict='cross-project', permissive=False):
    """An alarm, as if it had been judged."""
    line = denial(source, target, permissive=int(permissive))
    made = attempts.judged(audit_lines.read(line), None, HOST)
    assert made is not None
    return dataclasses.replace(made, verdict=verdicts.Verdict(verdict))


class AlarmTestCase(testtools.TestCase):
    """A configuration, an allocator and the log of the alarm."""

    allocator_class = Allocator
    driver = 'sql'

    def setUp(self):
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.allocator = self.allocator_class()
        self.addCleanup(self.allocator.hangs.set)
        self.log = self.useFixture(
            fixtures.FakeLogger(format='%(levelname)s %(message)s')
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{base.__name__}.load', lambda *_: self.allocator
            )
        )
        self.read_before = 0
        self.registry = prometheus_client.CollectorRegistry()
        self.path = os.path.join(self.directory, 'audit.log')

    def conf(self, **options):
        made = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(made)
        made([], default_config_files=[])
        made.register_opt(cfg.StrOpt('host'))
        made.set_override('host', HOST)
        made.set_override('allocator', self.driver, 'svirt')
        options = {
            'audit_log': self.path,
            'state_path': os.path.join(self.directory, 'state.json'),
        } | options
        for name, value in options.items():
            made.set_override(name, value, 'svirt_alarm')
        return made

    def watch(self, **options):
        """An alarm, whose lines a test gives it."""
        self.registry = prometheus_client.CollectorRegistry()
        found = assembly.assemble(self.conf(**options), self.registry)
        self.told()
        return found

    def say(self, watch, *lines):
        """Give lines to an alarm, and wait until it has judged them."""
        watch.process([*lines])
        deadline = time.monotonic() + 10
        watch.tick()
        while watch._pending and time.monotonic() < deadline:
            time.sleep(0.005)
            watch.tick()

    def told(self):
        """The alarms that the log has since the last call."""
        lines = self.log.output.splitlines()[self.read_before :]
        self.read_before += len(lines)
        return [each for each in lines if ' verdict=' in each]

    def metric(self, name, **labels):
        return self.registry.get_sample_value(f'svirt_nova_{name}', labels)
