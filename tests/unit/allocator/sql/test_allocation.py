# SPDX-License-Identifier: Apache-2.0

import datetime
import logging
import random
import sqlite3
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import allocation
from svirt_nova.allocator.sql import free_search
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import free_queries
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests import quick_store

TRIPLES = spaces.LevelSpace.parse('c0.c1023', 3)


class AllocationCase(testtools.TestCase):
    space = contract.SPACE

    def setUp(self):
        super().setUp()
        self.store = self.useFixture(quick_store.QuickStore(self.space))
        self.allocator = self.store.make()

    def acquire(self, allocator=None, uuid=None, host='a'):
        allocator = allocator or self.allocator
        return allocator.acquire(uuid or contract.new_uuid(), 'p', host)

    def fill(self, number):
        return [self.acquire() for _ in range(number)]

    def count(self, name):
        """Count the calls of a method of the allocation."""
        found = getattr(allocation.OptimisticAllocation, name)
        return self.useFixture(
            fixtures.MockPatchObject(
                allocation.OptimisticAllocation,
                name,
                autospec=True,
                side_effect=found,
            )
        ).mock


class CollisionTest(AllocationCase):
    """Candidates that another process has taken."""

    def pick(self, *chosen):
        """Let the allocator's next candidates be these levels."""
        pool = self.allocator._space.cache().of_part(None)
        left = [*chosen]
        pick = pool.pick
        self.useFixture(
            fixtures.MockPatchObject(
                pool, 'pick', lambda: left.pop(0) if left else pick()
            )
        )

    def count_looks(self):
        """Count the looks at a window."""
        found = free_search.FreeSearch._look
        return self.useFixture(
            fixtures.MockPatchObject(
                free_search.FreeSearch,
                '_look',
                autospec=True,
                side_effect=found,
            )
        ).mock

    def test_a_candidate_that_is_free_takes_one_insertion(self):
        insert = self.count('_insert')
        self.acquire()
        self.assertEqual(1, insert.call_count)

    def test_a_taken_candidate_takes_one_insertion_more(self):
        taken = self.acquire(self.store.make()).level
        self.pick(taken)
        insert, looks = self.count('_insert'), self.count_looks()
        self.assertNotEqual(taken, self.acquire().level)
        self.assertEqual(2, insert.call_count)
        # After the first collision a window is looked at.
        self.assertEqual(1, looks.call_count)
        self.acquire()
        self.assertEqual(3, insert.call_count)
        self.assertEqual(1, looks.call_count)

    def test_after_two_collisions_a_window_is_looked_at_again(self):
        pool = self.allocator._space.cache().of_part(None)
        pool.collide()
        first = self.acquire().level
        taken = [self.acquire(self.store.make()).level for _ in range(2)]
        self.pick(*taken)
        looks, insert = self.count_looks(), self.count('_insert')
        self.assertNotIn(self.acquire().level, [first, *taken])
        self.assertEqual(1, looks.call_count)
        self.assertEqual(3, insert.call_count)

    def test_a_candidate_of_an_instance_that_has_a_level_stays_free(self):
        held = self.acquire()
        pool = self.allocator._space.cache().of_part(None)
        # From here on no candidate is the level that it has.
        pool.collide()
        self.acquire()
        before = pool.fill
        for _ in range(3):
            self.acquire(uuid=held.instance_uuid, host='b')
        self.assertAlmostEqual(before, pool.fill)

    def test_collisions_without_end_are_given_up_in_time(self):
        allocator = self.allocator_in_haste()
        self.useFixture(
            fixtures.MockPatchObject(
                allocator._allocation, '_try', return_value=None
            )
        )
        error = self.assertRaises(
            exception.StoreUnreachable, self.acquire, allocator
        )
        self.assertIn('try again', str(error))
        self.assertIn(str(self.store.path), str(error))

    def allocator_in_haste(self):
        """Make an allocator whose calls give up soon."""
        allocator = self.store.make()
        allocator._store._file.timeout = 0.05
        return allocator

    def test_an_instance_keeps_its_level_while_the_space_is_changed(self):
        held = self.acquire()
        allocator = self.allocator_in_haste()
        allocator._store.write(space_rows.close)
        again = self.acquire(allocator, held.instance_uuid, host='b')
        self.assertEqual(held.level, again.level)
        error = self.assertRaises(
            exception.StoreUnreachable, self.acquire, allocator
        )
        self.assertIn('is being changed', str(error))

    def test_a_claim_that_another_call_made_first_is_looked_at_again(self):
        held = self.acquire()
        claim = allocation_rows.claim
        refusals = [errors.Conflict('claimed by the same host')]

        def refuse_first(*arguments, **options):
            if refusals:
                raise refusals.pop()
            claim(*arguments, **options)

        with mock.patch.object(allocation_rows, 'claim', refuse_first):
            again = self.acquire(uuid=held.instance_uuid, host='b')
        self.assertEqual({'a', 'b'}, again.hosts)


class FullSpaceTest(AllocationCase):
    def test_a_full_space_is_not_counted_for_those_who_have_a_level(self):
        held = self.fill(self.space.size)
        survey = self.useFixture(
            fixtures.MockPatchObject(free_queries, 'survey')
        ).mock
        for host in ('a', 'b'):
            for found in held[:5]:
                again = self.acquire(uuid=found.instance_uuid, host=host)
                self.assertEqual(found.level, again.level)
        survey.assert_not_called()

    def test_the_error_tells_what_the_levels_are_used_for(self):
        held = self.fill(42)
        self.allocator.retire(held[0].instance_uuid)
        self.allocator.give_back(held[1].instance_uuid, 'a')
        taken = {found.level for found in held}
        free = [level for level in self.space if level not in taken]
        for level in free:
            self.allocator.reserve(level, '')
        error = self.assertRaises(exception.SpaceFull, self.acquire)
        for words in (
            'its 45 levels 40 are held',
            '1 are of deleted instances',
            '1 cool for 3600 s',
            '3 are reserved',
        ):
            self.assertIn(words, str(error))


class LargeSpaceTest(AllocationCase):
    """A space of which nobody could remember each level."""

    space = TRIPLES

    def test_levels_of_178_million_are_given_out(self):
        got = {found.level for found in self.fill(50)}
        self.assertEqual(50, len(got))
        self.assertTrue(all(len(level.categories) == 3 for level in got))


class FillingSpaceTest(AllocationCase):
    space = spaces.LevelSpace.parse('c0.c99')

    def test_candidates_stay_good_while_others_fill_the_space(self):
        """After collisions, a window is looked at again."""
        self.acquire()
        # It has learnt what is free: everything.
        ranks = range(ranking.first(2), ranking.first(2) + self.space.size)
        pool = self.allocator._space.cache().of_part(None)
        pool.learn((0, self.space.size), ranks)
        self._fill_by_others(round(0.85 * self.space.size))
        insert = self.count('_insert')
        self.fill(100)
        self.assertLess(insert.call_count / 100, 2.1)

    def _fill_by_others(self, number):
        first = ranking.first(2)
        ranks = range(first, first + self.space.size)
        taken = random.sample(ranks, number)
        connection = sqlite3.connect(self.store.path)
        with connection:
            connection.executemany(
                'INSERT OR IGNORE INTO allocation (level_rank, instance_uuid, '
                'project_id, is_outside, created_at, note) '
                "VALUES (?, ?, 'p', 0, '2026-01-01 00:00:00.000000', '')",
                ((rank, f'{rank:036}') for rank in taken),
            )
        connection.close()


class FreeingTest(AllocationCase):
    def test_conflicts_let_ever_fewer_levels_be_freed_at_once(self):
        limits = []

        def refuse(_connection, _cutoff, *_conditions, limit):
            limits.append(limit)
            raise errors.Conflict('claimed again')

        with mock.patch.object(allocation_rows, 'free', refuse):
            self.assertEqual(
                0, self.allocator._allocation.free_cooled(limit=5000)
            )
        self.assertEqual([5000, 500, 50, 5, 1], limits)

    def test_those_who_tidy_tell_of_a_threshold_once(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        tidying = self.store.make(fill_marks=[80, 90])
        self.fill(37)
        before = log.output.count('80 % full')
        tidying.tidy()
        tidying.tidy()
        self.assertEqual(before + 1, log.output.count('80 % full'))


class AdoptionTest(AllocationCase):
    def test_an_adoption_whose_answer_was_lost_has_succeeded(self):
        held = self.acquire()
        self.allocator.give_back(held.instance_uuid, 'a')
        uuid, warm = contract.new_uuid(), self.store.make(cooling_time=0)
        write = warm._store.write

        def lost(work):
            write(work)
            return write(work)

        with mock.patch.object(warm._store, 'write', lost):
            adopted = warm.adopt(uuid, 'p', 'a', held.level)
        self.assertEqual(held.level, adopted.level)
        self.assertEqual(adopted, warm.get(uuid))

    def test_a_reservation_that_always_conflicts_is_given_up_in_time(self):
        self.allocator._store._file.timeout = 0.05
        level = next(iter(self.space))
        with mock.patch.object(
            allocation_rows, 'insert', side_effect=errors.Conflict('taken')
        ):
            error = self.assertRaises(
                exception.StoreUnreachable, self.allocator.reserve, level, ''
            )
        self.assertIn(str(level), str(error))

    def test_a_reservation_that_conflicts_once_is_tried_again(self):
        level = next(iter(self.space))
        conflicts = [errors.Conflict('taken')]
        insert = allocation_rows.insert

        def conflict_first(*args, **kwargs):
            if conflicts:
                raise conflicts.pop()
            insert(*args, **kwargs)

        with mock.patch.object(allocation_rows, 'insert', conflict_first):
            reserved = self.allocator.reserve(level, 'why')
        self.assertEqual(reserved, self.allocator.find(level))
        self.assertEqual('why', reserved.note)

    def test_a_release_whose_answer_was_lost_has_succeeded(self):
        level = next(iter(self.space))
        self.allocator.reserve(level, '')
        write = self.allocator._store.write

        def lost(work):
            write(work)
            return write(work)

        with mock.patch.object(self.allocator._store, 'write', lost):
            self.allocator.release(level)
        self.assertIsNone(self.allocator.find(level))


class UsageTest(AllocationCase):
    """What needs a clock that goes on."""

    def test_the_forecast_goes_on_as_since_the_first_level(self):
        self.acquire()
        self.store.pass_time(2 * 86400)
        self.fill(9)
        usage = self.allocator.usage()
        # Nine came in two days.
        self.assertAlmostEqual(4.5, usage.per_day, places=2)
        left = usage.full_at - datetime.datetime.now(datetime.UTC)
        self.assertAlmostEqual(35 / 4.5, left.total_seconds() / 86400, delta=1)

    def test_a_level_counts_while_it_cools_and_no_longer(self):
        gone = self.acquire()
        self.allocator.give_back(gone.instance_uuid, 'a')
        self.store.pass_time(600)
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        hour = datetime.timedelta(hours=1)

        def used(moment, cooling):
            return self.allocator._store.read(
                lambda c: history_rows.count_used(c, moment, cooling)
            )

        self.assertEqual(1, used(now, hour))
        self.assertEqual(0, used(now, hour / 60))
        self.assertEqual(0, used(now - hour, hour))
        self.assertEqual(0, used(now + hour, hour))

    def test_without_growth_there_is_no_end(self):
        self.acquire()
        self.store.pass_time(2 * 86400)
        usage = self.allocator.usage()
        self.assertEqual(0, usage.per_day)
        self.assertIsNone(usage.full_at)

    def test_levels_that_came_free_count_for_the_time_that_they_were_held(
        self,
    ):
        gone = self.acquire()
        self.store.pass_time(60)
        self.acquire()
        self.store.pass_time(86400)
        self.allocator.give_back(gone.instance_uuid, 'a')
        self.store.pass_time(86400)
        self.allocator.tidy()
        # There were two when the remaining one came.
        usage = self.allocator.usage()
        self.assertAlmostEqual(-0.5, usage.per_day, places=2)
        self.assertIsNone(usage.full_at)
