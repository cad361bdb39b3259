# SPDX-License-Identifier: Apache-2.0
"""Changes of the level space while levels are given out."""

import concurrent.futures
import threading
import time
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.quick_store import make_conf

PAIRS = spaces.LevelSpace.parse('c20.c29')
TRIPLES = spaces.LevelSpace.parse('c20.c29', 3)

WAIT = 3
"""Seconds that a call may take, and that each change waits for."""


class Changes(fixture.KindOfStore):
    """A mixin: the tests of changes, for each kind of store."""

    def assert_antichain(self, allocator):
        held = [each.level for each in allocator.list()]
        for number, one in enumerate(held):
            for other in held[number + 1 :]:
                self.assertFalse(one.is_comparable(other), (one, other))

    def test_one_of_two_changes_at_once_is_made_and_no_levels_meet(self):
        first, second = (self.make(call_timeout=WAIT) for _ in range(2))
        workers = [self.make(call_timeout=WAIT) for _ in range(2)]
        ended = threading.Event()

        def work(allocator):
            while not ended.is_set():
                try:
                    allocator.acquire(fixture.new_uuid(), 'p', 'a')
                except exception.SpaceFull:
                    return

        def change(allocator, space, pause):
            time.sleep(pause)
            try:
                allocator.set_space(space)
            except exception.InvalidSpace as error:
                return str(error)
            return ''

        with concurrent.futures.ThreadPoolExecutor() as pool:
            changing = [
                pool.submit(change, first, PAIRS, 0),
                pool.submit(change, second, TRIPLES, 0.5),
            ]
            working = [pool.submit(work, each) for each in workers]
            outcomes = [each.result() for each in changing]
            time.sleep(0.5)
            ended.set()
        self.assertIn('', outcomes)
        for each in working:
            # A worker gives up where a change takes longer than a call may.
            self.assertIsInstance(
                each.exception(), exception.StoreUnreachable | None
            )
        self.assert_antichain(first)

    def test_a_change_begun_before_another_does_not_open_the_space(self):
        below = stores.Store(make_conf(self.url))
        mine = below.write(space_rows.close)
        other = below.write(space_rows.close)
        self.assertRaises(
            errors.SpaceChanged,
            below.write,
            lambda c: space_rows.change(c, PAIRS, mine),
        )
        self.assertEqual(
            [], below.write(lambda c: space_rows.change(c, TRIPLES, other))
        )
        # As after a commit whose answer was lost.
        self.assertEqual(
            [], below.write(lambda c: space_rows.change(c, TRIPLES, other))
        )
        self.assertEqual(TRIPLES, self.make().space())

    def test_a_change_waits_for_a_level_that_is_being_given(self):
        slow, changer = (self.make(call_timeout=WAIT) for _ in range(2))
        slow.stats()
        inside, go_on = threading.Event(), threading.Event()
        insert = allocation_rows.insert

        def held_up(*arguments, **options):
            insert(*arguments, **options)
            inside.set()
            go_on.wait(30)

        with (
            concurrent.futures.ThreadPoolExecutor() as pool,
            mock.patch.object(allocation_rows, 'insert', held_up),
        ):
            giving_one = pool.submit(
                slow.acquire, fixture.new_uuid(), 'p', 'a'
            )
            self.assertTrue(inside.wait(30))
            changing = pool.submit(
                changer.set_space, spaces.LevelSpace.parse('c0.c9', 3)
            )
            time.sleep(0.5)
            go_on.set()
            given = giving_one.exception() or giving_one.result()
            changed = changing.exception()
        if isinstance(given, types.Allocation):
            # It came first: its level stands against the change.
            if len(given.level.categories) == 2:
                self.assertIsInstance(changed, exception.InvalidSpace)
        else:
            self.assertIsInstance(given, exception.AllocatorError)
        self.assert_antichain(changer)

    def test_parts_go_round_among_more_projects_than_there_are(self):
        self.useFixture(fixture.ChangesWithoutWait())
        self.make().set_space(
            spaces.LevelSpace.parse('c10.c19', 2, '', 'c20.c23', 2)
        )
        failed = []

        def work(number):
            allocator = self.make(cooling_time=0)
            for turn in range(12):
                one = fixture.new_uuid()
                try:
                    allocator.acquire(one, f'p{(number + turn) % 9}', 'a')
                except exception.SpaceFull:
                    continue
                except Exception as error:  # noqa: BLE001
                    failed.append(repr(error))
                    return
                allocator.give_back(one, 'a')
                allocator.tidy()

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for number in range(6):
                pool.submit(work, number)
        self.assertEqual([], failed)


class SqliteChangesTest(Changes, testtools.TestCase):
    kind = 'sqlite'


class MariaDBChangesTest(Changes, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLChangesTest(Changes, testtools.TestCase):
    kind = 'postgresql'
