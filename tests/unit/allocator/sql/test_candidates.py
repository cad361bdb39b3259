# SPDX-License-Identifier: Apache-2.0

import collections
from unittest import mock

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import own_levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


def make(number):
    """Candidates with as many levels: those of one category."""
    return candidates.Candidates(own_levels.OwnLevels(range(number), 1))


def rank_of(level):
    return None if level is None else ranking.rank(level.categories)


class WindowsTest(testtools.TestCase):
    @given(st.integers(1, 100), st.integers(1, 40))
    def test_each_level_is_in_exactly_one_window(self, number, size):
        with mock.patch.object(candidates, 'WINDOW', size):
            found = [*candidates.windows(number)]
        self.assertTrue(all(0 < b - a <= size for a, b in found))
        self.assertEqual(
            [*range(number)], sorted(n for a, b in found for n in range(a, b))
        )

    def test_each_level_is_as_likely_in_the_first_window(self):
        # The last window has half as many levels as the others.
        with mock.patch.object(candidates, 'WINDOW', 20):
            first = collections.Counter(
                next(candidates.windows(90)) for _ in range(9000)
            )
        self.assertAlmostEqual(2000, first[0, 20], delta=300)
        self.assertAlmostEqual(2000, first[60, 80], delta=300)
        self.assertAlmostEqual(1000, first[80, 90], delta=200)


class BlindTest(testtools.TestCase):
    """Before the first collision."""

    def test_each_level_is_a_candidate(self):
        pool = make(10)
        picked = {rank_of(pool.pick()) for _ in range(1000)}
        self.assertEqual(set(range(1, 11)), picked)
        self.assertEqual(0, pool.fill)

    def test_levels_of_a_project_have_its_part(self):
        part = levels.Level(frozenset({2, 30}))
        pool = candidates.Candidates(
            own_levels.OwnLevels(range(10, 20), 2, part)
        )
        for _ in range(50):
            level = pool.pick()
            self.assertEqual(4, len(level.categories))
            self.assertLess(part.categories, level.categories)

    def test_after_a_collision_a_window_is_to_be_looked_at(self):
        pool = make(10)
        pool.collide()
        self.assertIsNone(pool.pick())

    def test_a_level_that_is_taken_back_does_not_end_it(self):
        pool = make(10)
        pool.release(pool.pick())
        self.assertLess(1, len({rank_of(pool.pick()) for _ in range(100)}))


class LearntTest(testtools.TestCase):
    """After a window was looked at."""

    @given(st.sets(st.integers(1, 100)))
    def test_only_what_was_free_is_picked_and_once(self, free):
        pool = make(100)
        picked = [rank_of(pool.learn((0, 100), sorted(free)))]
        while picked[-1] is not None:
            picked.append(rank_of(pool.pick()))
        picked.pop()
        self.assertEqual(len(picked), len({*picked}))
        self.assertLessEqual({*picked}, free)
        self.assertEqual(min(6, len(free)), min(6, len(picked)))

    def test_a_part_of_a_window_is_kept(self):
        for free, kept in ((2, 2), (6, 6), (40, 6), (160, 10), (4096, 64)):
            pool = make(5000)
            picked = {rank_of(pool.learn((0, 4096), range(1, free + 1)))}
            while (level := pool.pick()) is not None:
                picked.add(rank_of(level))
            self.assertEqual(kept, len(picked))
            # They are from all over the window.
            self.assertLessEqual(max(picked), free)
        self.assertGreater(max(picked) - min(picked), 2000)

    def test_after_a_full_window_one_that_had_more_is_looked_at(self):
        pool = make(100_000)
        pool.learn((100, 200), range(101, 151))
        pool.learn((300, 400), [])
        self.assertEqual((100, 200), pool.window())
        pool.learn((100, 200), [101])
        pool.learn((300, 400), [])
        self.assertNotEqual((100, 200), pool.window())

    def test_windows_become_full_at_about_the_same_time(self):
        """One process that fills a space leaves free levels all over it."""
        free = dict.fromkeys(range(0, 100_000, 1000), 1000)
        pool = make(100_000)
        left = sum(free.values())
        with mock.patch.object(candidates, 'WINDOW', 1000):
            while left > 5_000:
                window = pool.window()
                level = pool.learn(window, range(free[window[0]]))
                while level is not None:
                    free[window[0]] -= 1
                    left -= 1
                    level = pool.pick()
        full = sum(not number for number in free.values())
        self.assertLess(full, 30)

    def test_two_processes_pick_different_levels(self):
        picked = []
        for _ in range(2):
            pool = make(5000)
            level = pool.learn((0, 5000), range(1, 5001))
            picked.append([])
            while level is not None:
                picked[-1].append(rank_of(level))
                level = pool.pick()
        self.assertNotEqual(*map(set, picked))
        for each in picked:
            self.assertNotEqual(sorted(each), each)

    def test_one_collision_leaves_the_others_and_two_do_not(self):
        pool = make(100)
        pool.learn((0, 100), range(1, 101))
        pool.collide()
        self.assertIsNotNone(pool.pick())
        pool.succeed()
        pool.collide()
        self.assertIsNotNone(pool.pick())
        pool.collide()
        self.assertIsNone(pool.pick())

    def test_a_released_level_is_picked_again(self):
        pool = make(100)
        pool.learn((0, 100), [])
        pool.release(levels.Level(frozenset({41})))
        self.assertEqual(42, rank_of(pool.pick()))
        self.assertIsNone(pool.pick())

    def test_preferred_windows_are_looked_at_first_and_once(self):
        pool = make(10 * candidates.WINDOW)
        preferred = [(0, 5), (7, 9), (20, 30)]
        pool.prefer(preferred)
        self.assertEqual(preferred, sorted(pool.window() for _ in range(3)))
        start, stop = pool.window()
        self.assertEqual(candidates.WINDOW, stop - start)


class FillTest(testtools.TestCase):
    def test_the_fill_is_exact_where_one_window_has_all_levels(self):
        pool = make(10)
        pool.learn((0, 10), range(4, 11))
        # Three were taken, and one has been picked.
        self.assertAlmostEqual(0.4, pool.fill)
        level = pool.pick()
        self.assertAlmostEqual(0.5, pool.fill)
        pool.release(level)
        self.assertAlmostEqual(0.4, pool.fill)
        pool.learn((0, 10), [])
        self.assertEqual(1, pool.fill)

    def test_the_fill_of_a_large_space_is_that_of_its_windows(self):
        pool = make(100_000)
        pool.learn((0, 1000), range(1, 101))
        self.assertAlmostEqual(0.9, pool.fill)
        # One window more does not change it by much.
        pool.learn((0, 1000), range(1, 201))
        self.assertAlmostEqual(0.88, pool.fill)
        for _ in range(50):
            pool.learn((0, 1000), range(1, 201))
        self.assertAlmostEqual(0.8, pool.fill, places=3)

    def test_a_window_that_is_full_does_not_make_the_space_full(self):
        pool = make(100_000)
        pool.learn((0, 1000), [])
        self.assertLess(pool.fill, 1)


class PickSetTest(testtools.TestCase):
    @given(
        st.sets(st.integers(0, 12), min_size=2),
        st.integers(1, 5),
        st.data(),
    )
    def test_a_set_that_is_not_taken_is_found(self, categories, size, data):
        number = own_levels.OwnLevels(categories, 1).number
        every = sorted(ranking.rank({one}) for one in categories)
        taken = data.draw(st.sets(st.sampled_from(every)))
        with mock.patch.object(candidates, 'WINDOW', size):
            rank = candidates.pick_set(categories, 1, taken)
        self.assertEqual(number, len(every))
        if taken == {*every}:
            self.assertIsNone(rank)
        else:
            self.assertIn(rank, {*every} - taken)


class CandidateCacheTest(testtools.TestCase):
    def test_the_parts_that_were_used_last_are_remembered(self):
        space = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')
        cache = candidates.CandidateCache(space_rows.Stored(space, 1, True))
        old, used, new = (
            levels.Level(frozenset(pair))
            for pair in ((10, 11), (10, 12), (10, 13))
        )
        with mock.patch.object(candidates, '_MOST_OWNERS', 2):
            first = cache.of_part(used)
            forgotten = cache.of_part(old)
            self.assertIs(first, cache.of_part(used))
            newest = cache.of_part(new)
            self.assertIs(first, cache.of_part(used))
            self.assertIs(newest, cache.of_part(new))
            self.assertIsNot(forgotten, cache.of_part(old))
