# SPDX-License-Identifier: Apache-2.0

import collections
import itertools
import math
from unittest import mock

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


class BitmapTest(testtools.TestCase):
    """The bitmap of ranks that are believed taken."""

    @given(st.integers(1, 200))
    def test_picks_each_rank_once(self, size):
        bitmap = candidates.Bitmap(range(size), 1)
        picked = [bitmap.pick() for _ in range(size)]
        self.assertEqual(list(range(1, size + 1)), sorted(picked))
        self.assertIsNone(bitmap.pick())

    @given(st.integers(1, 200), st.data())
    def test_picks_only_what_is_free(self, size, data):
        taken = data.draw(st.sets(st.integers(1, size)))
        bitmap = candidates.Bitmap(range(size), 1)
        bitmap.load(taken)
        picked = {bitmap.pick() for _ in range(size - len(taken))}
        self.assertEqual(set(range(1, size + 1)) - taken, picked)
        self.assertIsNone(bitmap.pick())

    @given(st.sets(st.integers(0, 40), min_size=3), st.integers(1, 3))
    def test_picks_only_sets_of_its_categories(self, categories, size):
        bitmap = candidates.Bitmap(categories, size)
        expected = {
            ranking.rank(chosen)
            for chosen in itertools.combinations(categories, size)
        }
        self.assertEqual(
            expected, {bitmap.pick() for _ in range(len(expected))}
        )
        self.assertIsNone(bitmap.pick())
        self.assertEqual(1, bitmap.fill)

    def test_the_fill_counts_each_level_of_the_space_once(self):
        bitmap = candidates.Bitmap(range(10), 1)
        self.assertEqual(0, bitmap.fill)
        bitmap.load([1, 2, 3, 5_000_000, 0])
        self.assertAlmostEqual(0.3, bitmap.fill)
        rank = bitmap.pick()
        self.assertAlmostEqual(0.4, bitmap.fill)
        bitmap.release(rank)
        bitmap.release(rank)
        self.assertAlmostEqual(0.3, bitmap.fill)

    def test_a_load_forgets_what_was_believed(self):
        bitmap = candidates.Bitmap(range(9), 1)
        for _ in range(9):
            bitmap.pick()
        bitmap.load([n for n in range(1, 10) if n != 8])
        self.assertEqual(8, bitmap.pick())

    def test_a_released_level_is_picked_again(self):
        bitmap = candidates.Bitmap(range(100), 1)
        bitmap.load(range(1, 101))
        bitmap.release(42)
        self.assertEqual(42, bitmap.pick())
        self.assertIsNone(bitmap.pick())

    def test_picks_at_random(self):
        # Two processes that picked in the same order would meet each time.
        bitmap = candidates.Bitmap(range(1000), 1)
        picked = [bitmap.pick() for _ in range(100)]
        self.assertNotEqual(sorted(picked), picked)
        quarters = collections.Counter((rank - 1) // 250 for rank in picked)
        self.assertGreater(min(quarters[n] for n in range(4)), 5)

    def test_the_first_collision_asks_for_a_load(self):
        bitmap = candidates.Bitmap(range(10), 1)
        self.assertTrue(bitmap.collide())
        bitmap.load([])
        self.assertFalse(bitmap.collide())

    def test_many_collisions_ask_for_a_load_however_rare(self):
        bitmap = candidates.Bitmap(range(10), 1)
        bitmap.load([])
        self.assertIn(True, [bitmap.collide() for _ in range(1000)])
        bitmap.load([])
        self.assertFalse(bitmap.collide())


class ProbeTest(testtools.TestCase):
    """The stand-in for large spaces."""

    def test_a_space_too_large_for_a_bitmap_is_probed(self):
        self.assertIsInstance(
            candidates.of_sets(range(1024), 2), candidates.Bitmap
        )
        probe = candidates.of_sets(range(1024), 3)
        self.assertIsInstance(probe, candidates.RandomProbe)
        self.assertFalse(probe.is_loadable)

    def test_a_bitmap_is_as_large_as_is_allowed(self):
        sets = math.comb(20, 2)
        for most, kind in (
            (sets, candidates.Bitmap),
            (sets - 1, candidates.RandomProbe),
        ):
            with mock.patch.object(candidates, 'MAX_BITS', most):
                self.assertIs(kind, type(candidates.of_sets(range(20), 2)))

    def test_only_collisions_are_failures(self):
        probe = candidates.RandomProbe(range(1024), 3)
        probe.succeed()
        self.assertEqual(0, probe.failure_rate)
        probe.collide()
        self.assertGreater(probe.failure_rate, 0)

    def test_picks_sets_of_its_categories(self):
        probe = candidates.RandomProbe([3, 5, 8], 2)
        self.assertEqual(
            {frozenset({3, 5}), frozenset({3, 8}), frozenset({5, 8})},
            {ranking.unrank(probe.pick()) for _ in range(1000)},
        )


class CandidateCacheTest(testtools.TestCase):
    def test_the_parts_that_were_used_last_are_remembered(self):
        space = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')
        cache = candidates.CandidateCache(space_rows.Stored(space, 1, True))
        old, used, new = (
            levels.Level(frozenset(pair))
            for pair in ((10, 11), (10, 12), (10, 13))
        )
        with mock.patch.object(candidates, '_MAX_BITMAPS', 2):
            first = cache.of_part(used)
            forgotten = cache.of_part(old)
            self.assertIs(first, cache.of_part(used))
            newest = cache.of_part(new)
            self.assertIs(first, cache.of_part(used))
            self.assertIs(newest, cache.of_part(new))
            self.assertIsNot(forgotten, cache.of_part(old))
