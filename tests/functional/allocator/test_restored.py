# SPDX-License-Identifier: Apache-2.0
"""Stores that are restored from a backup while instances run.

``SVIRT_NOVA_RESTORE_ALLOCATIONS`` says how many instances are new after it.
"""

from __future__ import annotations

import collections
import concurrent.futures
import datetime
import os
import random
import threading

import fixtures
import sqlalchemy as sa
import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import store_trust
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.quick_store import make_conf

NEW = int(os.environ.get('SVIRT_NOVA_RESTORE_ALLOCATIONS', '1000'))

HOSTS = [f'host{number}' for number in range(5)]
BEFORE = 300
"""Instances that the backup has."""
SINCE = 300
"""Instances that are made after it."""


class Host:
    """What nova-compute on a host knows, and does with the store.

    :ivar running: the levels that instances have there
    :ivar seen: the newest generation that it has seen
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.running: dict[str, levels.Level] = {}
        self.seen: int | None = None

    def boot(self, allocator: base.Allocator) -> levels.Level:
        uuid = fixture.new_uuid()
        held = allocator.acquire(uuid, 'p', self.name, self.seen)
        assert held.generation is not None
        self.seen = max(self.seen or 0, held.generation)
        self.running[uuid] = held.level
        return held.level

    def delete(self, allocator: base.Allocator) -> None:
        uuid = next(iter(self.running))
        allocator.give_back(uuid, self.name)
        del self.running[uuid]

    def meet(self, allocator: base.Allocator) -> bool:
        found = allocator.meet(self.name, self.seen or 0)
        self.seen = max(self.seen or 0, found.generation)
        return found.is_trusted

    def tell(self, allocator: base.Allocator) -> None:
        """Adopt what runs, as a reconciliation does, and say so."""
        known = {a.instance_uuid for a in allocator.list(host=self.name)}
        for uuid, level in self.running.items():
            if uuid not in known:
                allocator.doubt(self.name, uuid, level)
                allocator.adopt(uuid, 'p', self.name, level)
        allocator.report(self.name, HOSTS)


class Restored(fixture.KindOfStore):
    """A mixin: some hosts, and a store that is older than they are."""

    space = spaces.LevelSpace.parse('c0.c99')
    """4,950 levels; with more instances than that, another."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixture.ChangesWithoutWait())
        self.useFixture(
            fixtures.MockPatchObject(
                types, 'LEAST_DISTRUST', datetime.timedelta()
            )
        )
        space = self.space
        if space.size // 2 < BEFORE + SINCE + NEW:
            space = spaces.LevelSpace.parse('c0.c249')
        self.chance = random.Random(0)
        self.hosts = [Host(name) for name in HOSTS]
        self.allocator = self.make()
        self.allocator.set_space(space)

    def grow_always(self):
        """Let the generation grow with each level, as in ten seconds."""
        self.grow_every(datetime.timedelta())

    def grow_every(self, period):
        self.useFixture(
            fixtures.MockPatchObject(store_trust, 'PERIOD', period)
        )

    def boot(self, number):
        for _ in range(number):
            self.chance.choice(self.hosts).boot(self.allocator)

    def rows(self):
        """All that the store has, as a backup."""

        def work(connection):
            return {
                table: [
                    dict(row._mapping)
                    for row in connection.execute(sa.select(table))
                ]
                for table in schema.metadata.sorted_tables
            }

        return stores.Store(make_conf(self.url)).read(work)

    def restore(self, rows):
        def work(connection):
            for table in reversed(schema.metadata.sorted_tables):
                connection.execute(sa.delete(table))
            for table, found in rows.items():
                if found:
                    connection.execute(sa.insert(table), found)

        stores.Store(make_conf(self.url)).write(work)

    def live_for_a_while(self):
        """Let instances come and go; what they were in the middle of it."""
        self.boot(BEFORE)
        backup = self.rows()
        for _ in range(SINCE):
            self.boot(1)
            if self.chance.random() < 0.3:
                self.chance.choice(self.hosts).delete(self.allocator)
        return backup

    def in_use(self):
        return [
            level for host in self.hosts for level in host.running.values()
        ]

    def check_unique(self):
        twice = [
            str(level)
            for level, number in collections.Counter(self.in_use()).items()
            if number > 1
        ]
        self.assertEqual([], twice)

    def test_no_level_is_given_twice_after_a_restore(self):
        self.grow_always()
        backup = self.live_for_a_while()
        self.restore(backup)
        # Another process, which has seen nothing of the store.
        self.allocator = self.make()
        for host in self.hosts * 3:
            self.assertRaises(
                exception.StoreDistrusted, host.boot, self.allocator
            )
        for number, host in enumerate(self.hosts, 1):
            self.assertFalse(host.meet(self.allocator))
            self.assertRaises(
                exception.StoreDistrusted, host.boot, self.allocator
            )
            host.tell(self.allocator)
            self.assertEqual(
                number == len(HOSTS), self.allocator.show_trust().is_trusted
            )
        self.boot(NEW)
        self.check_unique()
        self.assertTrue(all(h.meet(self.allocator) for h in self.hosts))
        for host in self.hosts:
            for uuid, level in host.running.items():
                self.assertEqual(level, self.allocator.get(uuid).level)

    def test_process_that_goes_on_notices_the_restore_itself(self):
        self.grow_always()
        self.restore(self.live_for_a_while())
        self.hosts.append(Host('new'))
        error = self.assertRaises(
            exception.StoreDistrusted, self.hosts[-1].boot, self.allocator
        )
        self.assertIn('a process that gives out its levels', str(error))
        self.check_unique()

    def test_level_that_is_lost_from_a_young_backup_is_noticed(self):
        """The generation has not grown in the ten seconds since."""
        # However long this machine takes for them.
        self.grow_every(datetime.timedelta(hours=1))
        self.restore(self.live_for_a_while())
        self.allocator = self.make()
        for host in self.hosts:
            self.assertTrue(host.meet(self.allocator))
        for host in self.hosts:
            host.tell(self.allocator)
        for host in self.hosts:
            if not host.meet(self.allocator):
                host.tell(self.allocator)
        self.assertTrue(self.allocator.show_trust().is_trusted)
        self.boot(NEW // 10)
        self.check_unique()

    def test_hosts_that_ask_and_tell_at_once_are_all_heard(self):
        clients = [self.make() for _ in range(6)]
        with concurrent.futures.ThreadPoolExecutor(len(clients)) as pool:
            for each in range(20):
                self.allocator.distrust('a test')
                begin = threading.Barrier(len(clients))

                def call(number, each=each, begin=begin):
                    names = [f'new{each}', f'other{each}']
                    begin.wait(60)
                    if number % 2:
                        clients[number].meet(names[0], 0)
                    else:
                        clients[number].report(f'told{number}', names)

                # No call fails.
                list(pool.map(call, range(len(clients))))
                self.assertEqual(
                    (f'new{each}', f'other{each}'),
                    self.allocator.show_trust().awaited,
                )
                self.allocator.trust()

    def test_operator_who_restores_a_store_says_so(self):
        self.restore(self.live_for_a_while())
        self.allocator = self.make()
        self.allocator.distrust('it was restored')
        for host in self.hosts:
            self.assertRaises(
                exception.StoreDistrusted, host.boot, self.allocator
            )
        for host in self.hosts:
            host.tell(self.allocator)
        self.boot(NEW // 10)
        self.check_unique()


class SqliteRestoredTest(Restored, testtools.TestCase):
    kind = 'sqlite'


class MariaDBRestoredTest(Restored, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLRestoredTest(Restored, testtools.TestCase):
    kind = 'postgresql'
