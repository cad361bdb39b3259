# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import itertools
import random
import threading
import time
from unittest import mock

import fixtures
import sqlalchemy as sa
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import free_search
from svirt_nova.allocator.sql.tables import free_queries
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests import quick_store

PAIRS = spaces.LevelSpace.parse('c0.c23')
"""276 levels, in windows of 10."""

PROJECTS = spaces.LevelSpace.parse('c10.c33', 2, '', 'c0.c3,c40', 1)
"""276 levels for each of five projects, whose categories are on both
sides."""


class SearchCase(testtools.TestCase):
    space = PAIRS

    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f'{candidates.__name__}.WINDOW', 10)
        )
        self.store = self.useFixture(quick_store.QuickStore(self.space))
        self.allocator = self.store.make()

    def acquire(self, allocator=None, uuid=None, project='p', host='a'):
        return (allocator or self.allocator).acquire(
            uuid or contract.new_uuid(), project, host
        )

    def fill(self, number, project='p'):
        return [self.acquire(project=project) for _ in range(number)]

    def count(self, name):
        """Count the calls of a query."""
        found = getattr(free_queries, name)
        return self.useFixture(
            fixtures.MockPatchObject(free_queries, name, side_effect=found)
        ).mock


class WindowTest(SearchCase):
    def test_the_first_level_of_a_process_needs_few_rows(self):
        taken = random.sample([*self.space], 226)
        for level in taken:
            self.allocator.reserve(level, '')
        found, survey = [], self.count('survey')
        look = self.count('taken')
        look.side_effect = lambda *arguments, call=look.side_effect: (
            found.append(call(*arguments)) or found[-1]
        )
        for _ in range(10):
            self.acquire(self.store.make())
        survey.assert_not_called()
        self.assertTrue(all(len(each) <= 10 for each in found))
        # Nearly all windows of 10 have a level of the 50 that are free.
        self.assertLess(len(found), 30)

    def test_ranks_that_a_server_cuts_short_are_read_one_by_one(self):
        self.fill(30)
        ranks = sorted(
            ranking.rank(one.level.categories) for one in self.allocator.list()
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{free_queries.__name__}._RANKS_AS_TEXT',
                sa.literal(f'{ranks[0]},{ranks[1]},1'),
            )
        )
        found = self.allocator._store.read(
            lambda c: free_queries.taken(
                c, free_queries.Owner(), ranks[0], ranks[-1]
            )
        )
        self.assertEqual({*ranks}, found)

    def test_the_last_levels_are_found_and_then_none(self):
        survey = self.count('survey')
        got = {found.level for found in self.fill(276)}
        self.assertEqual({*self.space}, got)
        self.assertRaises(exception.SpaceFull, self.acquire)
        # What was counted once is used until it is used up.
        self.assertLess(survey.call_count, 28)

    def test_the_last_level_is_found_however_it_lies(self):
        held = self.fill(276)
        for one in random.sample(held, 5):
            self.store.make(cooling_time=0).give_back(one.instance_uuid, 'a')
            self.store.make(cooling_time=0).tidy()
            self.assertEqual(one.level, self.acquire(self.store.make()).level)

    def test_levels_that_have_cooled_are_freed_when_they_are_needed(self):
        held = self.fill(276)
        for one in held[:30]:
            self.allocator.give_back(one.instance_uuid, 'a')
        with testtools.ExpectedException(exception.SpaceFull):
            self.acquire(self.store.make())
        self.store.pass_time(3601)
        other = self.store.make()
        got = {self.acquire(other).level for _ in range(30)}
        self.assertEqual({one.level for one in held[:30]}, got)
        self.assertRaises(exception.SpaceFull, self.acquire, other)

    def test_reserved_levels_are_not_free(self):
        reserved = random.sample([*self.space], 96)
        for level in reserved:
            self.allocator.reserve(level, '')
        got = {found.level for found in self.fill(180)}
        self.assertEqual({*self.space} - {*reserved}, got)
        self.assertRaises(exception.SpaceFull, self.acquire)
        self.allocator.release(reserved[0])
        self.assertEqual(reserved[0], self.acquire().level)

    def test_a_change_of_the_space_is_noticed_where_all_was_full(self):
        self.fill(276)
        self.assertRaises(exception.SpaceFull, self.acquire)
        wider = spaces.LevelSpace.parse('c0.c24')
        self.store.make().set_space(wider)
        self.assertNotIn(self.acquire().level, self.space)

    def test_levels_outside_the_space_do_not_count(self):
        held = self.fill(60)
        smaller = spaces.LevelSpace.parse('c0.c19', excluded='c3,c7')
        outside = [one for one in held if one.level not in smaller]
        self.allocator.set_space(smaller)
        inside = 18 * 17 // 2 - (60 - len(outside))
        got = {found.level for found in self.fill(inside)}
        self.assertEqual(inside, len(got))
        self.assertTrue(all(level in smaller for level in got))
        self.assertRaises(exception.SpaceFull, self.acquire)

    def test_windows_are_narrowed_where_there_are_many(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{free_search.__name__}._MOST_COUNTED', 3)
        )
        got = {found.level for found in self.fill(276)}
        self.assertEqual({*self.space}, got)
        self.assertRaises(exception.SpaceFull, self.acquire)


class ProjectTest(SearchCase):
    space = PROJECTS

    def test_a_project_gets_all_levels_with_its_part(self):
        own = {found.level for found in self.fill(276, 'one')}
        self.assertEqual(276, len(own))
        error = self.assertRaises(
            exception.SpaceFull, self.acquire, project='one'
        )
        self.assertIn('project one uses all 276', str(error))
        self.assertEqual(276, len({f.level for f in self.fill(276, 'two')}))

    def test_reserved_levels_with_its_part_are_not_free(self):
        part = self.acquire(project='one').project_level
        chosen = itertools.combinations(range(20, 30), 2)
        reserved = [
            levels.Level(part.categories.union(pair)) for pair in chosen
        ]
        taken = 0
        for level in reserved:
            try:
                self.allocator.reserve(level, '')
            except exception.LevelTaken:
                taken += 1
        got = {f.level for f in self.fill(275 - 45 + taken, 'one')}
        self.assertEqual(275 - 45 + taken, len(got))
        self.assertRaises(exception.SpaceFull, self.acquire, project='one')
        self.allocator.release(
            next(
                each
                for each in reserved
                if self.allocator.find(each).instance_uuid is None
            )
        )
        self.acquire(project='one')
        self.assertRaises(exception.SpaceFull, self.acquire, project='one')

    def test_a_part_that_another_project_has_by_now_is_given_up(self):
        held = self.fill(276, 'one')
        self.assertRaises(exception.SpaceFull, self.acquire, project='one')
        other = self.store.make(cooling_time=0)
        for one in held:
            other.give_back(one.instance_uuid, 'a')
        other.tidy()
        for number in range(5):
            self.acquire(other, project=f'new {number}')
        other.give_back(self.of_project(other, 'new 3'), 'a')
        other.tidy()
        got = self.acquire(project='one')
        self.assertNotEqual(
            got.project_level,
            other.list(project_id='new 1')[0].project_level,
        )

    def of_project(self, allocator, project):
        return allocator.list(project_id=project)[0].instance_uuid


class FullSpaceTest(SearchCase):
    """Refusals, once the space was seen to be full."""

    def setUp(self):
        super().setUp()
        self.held = self.fill(276)
        self.assertRaises(exception.SpaceFull, self.acquire)

    def test_the_levels_are_not_counted_for_each_who_is_refused(self):
        survey, taken = self.count('survey'), self.count('taken')
        errors = [
            str(self.assertRaises(exception.SpaceFull, self.acquire))
            for _ in range(20)
        ]
        survey.assert_not_called()
        taken.assert_not_called()
        self.assertIn('of its 276 levels 276 are held', errors[-1])

    def test_a_known_instance_is_answered_without_a_look(self):
        names = ('survey', 'taken', 'marks')
        counted = [self.count(name) for name in names]
        with self.allocator._allocation._search._turn:
            # It does not wait for those who are refused, either.
            for host in ('a', 'b', 'b'):
                again = self.acquire(
                    uuid=self.held[7].instance_uuid, host=host
                )
                self.assertEqual(self.held[7].level, again.level)
        for each in counted:
            each.assert_not_called()

    def test_a_level_that_another_process_frees_is_found(self):
        other = self.store.make(cooling_time=0)
        other.give_back(self.held[7].instance_uuid, 'a')
        other.tidy()
        self.assertEqual(self.held[7].level, self.acquire().level)
        self.assertRaises(exception.SpaceFull, self.acquire)

    def test_a_level_that_has_cooled_since_is_found(self):
        self.allocator.give_back(self.held[7].instance_uuid, 'a')
        other = self.store.make()
        self.assertRaises(exception.SpaceFull, self.acquire, other)
        # As if the time had passed on the clock of the database.
        hour = datetime.timedelta(hours=1)
        self.store.pass_time(hour.total_seconds())
        pool = other._space.cache().of_part(None)
        pool.full = dataclasses.replace(
            pool.full, until=pool.full.until - hour
        )
        self.assertEqual(self.held[7].level, self.acquire(other).level)
        self.assertRaises(exception.SpaceFull, self.acquire, other)

    def test_it_is_looked_through_again_after_a_time(self):
        pool = self.allocator._space.cache().of_part(None)
        survey = self.count('survey')
        with mock.patch.object(
            time, 'monotonic', lambda real=time.monotonic: real() + 61
        ):
            self.assertRaises(exception.SpaceFull, self.acquire)
        self.assertEqual(1, survey.call_count)
        self.assertIsNotNone(pool.full)

    def test_it_is_full_until_the_first_of_those_that_cool_has_cooled(self):
        self.allocator.give_back(self.held[0].instance_uuid, 'a')
        self.store.pass_time(3000)
        self.allocator.give_back(self.held[1].instance_uuid, 'a')
        other = self.store.make()
        self.assertRaises(exception.SpaceFull, self.acquire, other)
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        left = other._space.cache().of_part(None).full.until - now
        self.assertAlmostEqual(600, left.total_seconds(), delta=60)

    def test_one_at_a_time_is_refused(self):
        """And others that wait are refused by what it has found."""
        search = self.allocator._allocation._search
        self.useFixture(
            fixtures.MonkeyPatch(f'{free_search.__name__}._PAUSE', 0)
        )
        marks = self.count('marks')
        refused = []

        def try_one():
            try:
                self.acquire()
            except exception.SpaceFull:
                refused.append(1)

        threads = [threading.Thread(target=try_one) for _ in range(8)]
        with search._turn:
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 30
            while search._waiting < 8 and time.monotonic() < deadline:
                time.sleep(0.01)
            marks.assert_not_called()
        for thread in threads:
            thread.join()
        self.assertEqual(8, len(refused))
        self.assertEqual(1, marks.call_count)

    def test_a_turn_that_does_not_come_is_given_up_in_time(self):
        search = self.allocator._allocation._search
        cache = self.allocator._space.cache()
        with search._turn:
            error = self.assertRaises(
                exception.StoreUnreachable,
                search.find_last,
                cache,
                'p',
                None,
                time.monotonic(),
            )
        self.assertIn('nearly full', str(error))
        self.assertIn('try again', str(error))
