# SPDX-License-Identifier: Apache-2.0
"""Two calls at once, on two nodes of a Galera cluster.

There, a lock of a row is known to its own node alone. Two transactions are
kept apart only if both change the same row, if both make a row of the same
key, or if one deletes what a row of the other refers to.
"""

import threading

import testtools

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import contract
from svirt_nova.allocator import types
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.functional.allocator import galera
from tests.quick_store import MEMORY

_PATIENCE = 30


class GaleraPairsTest(testtools.TestCase):
    time_limit = 600

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cluster = galera.Galera(MEMORY)
        cls.addClassCleanup(cluster.remove)
        cls.urls = cluster.create_database()
        fixture.stores.sync(fixture.make_conf(cls.urls[0]), contract.SPACE)

    def setUp(self):
        super().setUp()
        fixture.empty(self.urls[0])
        self.useFixture(fixture.ChangesWithoutWait())
        self.uuid = contract.new_uuid()
        self.one, self.other, self.third = map(self.make, self.urls)

    def make(self, url, cooling_time=3600):
        made = fixture.sql_allocator.SqlAllocator(
            fixture.make_conf(url, cooling_time=cooling_time)
        )
        self.addCleanup(made._store.close)
        return made

    def at_once(self, *works):
        """Do works each of which has changed the store before one commits.

        :param works: an allocator, and what is done with it; the first
            transaction in which it writes meets those of the others
        :returns: what each has given, or raised
        """
        meeting = threading.Barrier(len(works))
        found = [None] * len(works)

        def run(place, allocator, work):
            write = allocator._store.write
            waiting = [True]

            def written(change):
                def changed(connection):
                    result = change(connection)
                    if waiting:
                        waiting.clear()
                        meeting.wait(_PATIENCE)
                    return result

                return write(changed)

            allocator._store.write = written
            try:
                found[place] = work(allocator)
            except (
                exception.SvirtError,
                errors.Conflict,
                threading.BrokenBarrierError,
            ) as error:
                found[place] = error
            finally:
                allocator._store.write = write

        threads = [
            threading.Thread(target=run, args=(place, *each))
            for place, each in enumerate(works)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join(3 * _PATIENCE)
        self.assertFalse(meeting.broken, found)
        return found

    def held(self):
        return self.third.get(self.uuid)

    def test_host_that_claims_while_the_last_one_gives_back_keeps_it(self):
        level = self.one.acquire(self.uuid, 'p', 'a').level
        _, got = self.at_once(
            (self.one, lambda each: each.give_back_last(self.uuid, 'a')),
            (self.other, lambda each: each.acquire(self.uuid, 'p', 'b')),
        )
        self.assertEqual((level, level), (got.level, self.held().level))
        self.assertEqual({'b'}, self.held().hosts)
        self.assertIs(types.State.HELD, self.held().state)

    def test_two_hosts_that_give_back_at_once_leave_no_claim(self):
        """Each may see the other's claim; then the reaper retires it."""
        for host in ('a', 'b', 'c'):
            self.one.acquire(self.uuid, 'p', host)
        self.at_once(
            (self.one, lambda each: each.give_back_last(self.uuid, 'b')),
            (self.other, lambda each: each.give_back_last(self.uuid, 'c')),
        )
        self.assertEqual({'a'}, self.held().hosts)
        self.assertIs(types.State.HELD, self.held().state)

    def test_instance_that_is_claimed_while_it_is_retired_is_not(self):
        self.one.acquire(self.uuid, 'p', 'a')
        self.one.unclaim(self.uuid, 'a')
        number = self.held().last_claim
        self.at_once(
            (self.one, lambda each: each.retire(self.uuid, number)),
            (self.other, lambda each: each.acquire(self.uuid, 'p', 'b')),
        )
        self.assertEqual({'b'}, self.held().hosts)
        self.assertIs(types.State.HELD, self.held().state)

    def test_late_drop_of_a_claim_that_is_made_at_once_changes_nothing(self):
        self.one.acquire(self.uuid, 'p', 'a')
        number = self.one.acquire(self.uuid, 'p', 'b').claims['b']
        self.one.unclaim(self.uuid, 'b', number)
        self.at_once(
            (self.one, lambda each: each.give_back(self.uuid, 'b', number)),
            (
                self.other,
                lambda each: each.acquire(
                    self.uuid, 'p', 'b', number=number + 1
                ),
            ),
        )
        self.assertEqual({'a', 'b'}, self.held().hosts)
        self.assertIs(types.State.HELD, self.held().state)

    def test_level_that_is_freed_while_it_is_claimed_is_not_another_s(self):
        level = self.one.acquire(self.uuid, 'p', 'a').level
        self.one.give_back(self.uuid, 'a')
        freeing = self.make(self.urls[0], cooling_time=0)
        _, got = self.at_once(
            (freeing, lambda each: each.tidy()),
            (self.other, lambda each: each.acquire(self.uuid, 'p', 'b')),
        )
        self.assertEqual(got.level, self.held().level)
        self.assertEqual({'b'}, self.held().hosts)
        self.assertIn(level, (got.level, self._free_level(level)))

    def _free_level(self, level):
        return level if self.third.find(level) is None else None

    def test_level_goes_to_one_of_two_that_adopt_it(self):
        level = levels.Level.parse('s0:c0,c1')
        found = self.at_once(
            (self.one, lambda e: e.adopt(self.uuid, 'p', 'a', level)),
            (
                self.other,
                lambda e: e.adopt(contract.new_uuid(), 'p', 'b', level),
            ),
        )
        self.assertEqual(
            [types.Allocation, exception.LevelTaken],
            sorted(map(type, found), key=lambda each: each.__name__),
        )
        self.assertEqual(1, len(self.third.list()))

    def test_part_that_is_taken_from_its_project_has_no_levels(self):
        space = spaces.LevelSpace.parse('c10.c19', 2, '', 'c0.c9', 2)
        self.one.set_space(space)
        first = self.one.acquire(self.uuid, 'p', 'a')
        freed = self.make(self.urls[0], cooling_time=0)
        freed.give_back(self.uuid, 'a')
        freed.tidy()
        self.other._space.forget()
        self.other.space()
        parts = self.one._allocation._parts
        # It reads the part of the project, and then the other node takes it.
        self.other.acquire(contract.new_uuid(), 'q', 'b')
        self.other._space.cache().project_parts['p'] = first.project_level
        uuid = contract.new_uuid()
        _, got = self.at_once(
            (self.one, lambda _each: parts._free_parts()),
            (self.other, lambda each: each.acquire(uuid, 'p', 'b')),
        )
        held = self.third.get(uuid)
        self.assertEqual(got.level, held.level)
        others = {
            self.third.acquire(contract.new_uuid(), f'p{n}', 'a').project_level
            for n in range(40)
        }
        self.assertEqual(40, len(others))
        self.assertNotIn(held.project_level, others)

    def test_one_of_two_first_keys_of_a_host_is_enrolled(self):
        found = self.at_once(
            *(
                (
                    allocator,
                    lambda each, key=key: each.enrolled_keys().enroll(
                        Role.HOST, 'a', key, is_first_call=True
                    ),
                )
                for allocator, key in (
                    (self.one, 'k' * 43),
                    (self.other, 'l' * 43),
                )
            )
        )
        enrolled = self.third.enrolled_keys().list(Role.HOST, 'a')
        self.assertEqual(1, len(enrolled), found)
        self.assertEqual(
            1, sum(isinstance(e, exception.NotAllowed) for e in found), found
        )

    def test_first_key_comes_before_the_one_that_an_operator_enrols(self):
        """Otherwise it is refused."""
        found = self.at_once(
            *(
                (
                    allocator,
                    lambda each, key=key, is_first=is_first: (
                        each.enrolled_keys().enroll(
                            Role.HOST, 'a', key, is_first_call=is_first
                        )
                    ),
                )
                for allocator, key, is_first in (
                    (self.one, 'k' * 43, False),
                    (self.other, 'l' * 43, True),
                )
            )
        )
        enrolled = self.third.enrolled_keys().list(Role.HOST, 'a')
        self.assertEqual(
            [True, False][2 - len(enrolled) :],
            [each.is_first_call for each in enrolled],
            found,
        )

    def test_signed_call_that_comes_to_two_nodes_is_done_once(self):
        key = self.one.enrolled_keys().enroll(Role.HOST, 'a', 'k' * 43)

        def work(allocator):
            with allocator.enrolled_keys().once(key, 'i' * 43, 2e9):
                allocator.acquire(self.uuid, 'p', 'a')

        # A level of its own, so that the allocation keeps nothing apart.
        self.one.acquire(self.uuid, 'p', 'b')
        found = self.at_once((self.one, work), (self.other, work))
        self.assertEqual(
            1, sum(isinstance(e, exception.RepeatedCall) for e in found), found
        )

    def test_store_belongs_to_one_of_two_clouds(self):
        found = self.at_once(
            *(
                (
                    allocator,
                    lambda each, name=name: each.meet_cloud(
                        clouds.Cloud(
                            name,
                            (
                                clouds.ComputeService(
                                    f'host-{name}', contract.new_uuid(), True
                                ),
                            ),
                        )
                    ),
                )
                for allocator, name in ((self.one, 'x'), (self.other, 'y'))
            )
        )
        self.assertEqual(
            1, sum(isinstance(e, exception.OtherCloud) for e in found), found
        )
