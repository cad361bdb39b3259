# SPDX-License-Identifier: Apache-2.0

import collections

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator.sql import hint


class BitmapTest(testtools.TestCase):
    """The bitmap of ranks that are believed taken."""

    @given(st.integers(1, 200))
    def test_picks_each_rank_once(self, size):
        bitmap = hint.Bitmap(size)
        picked = [bitmap.pick() for _ in range(size)]
        self.assertEqual(list(range(size)), sorted(picked))
        self.assertIsNone(bitmap.pick())

    @given(st.integers(1, 200), st.data())
    def test_picks_only_what_is_free(self, size, data):
        taken = data.draw(st.sets(st.integers(0, size - 1)))
        bitmap = hint.Bitmap(size)
        bitmap.load(taken)
        picked = {bitmap.pick() for _ in range(size - len(taken))}
        self.assertEqual(set(range(size)) - taken, picked)
        self.assertIsNone(bitmap.pick())

    def test_a_load_forgets_what_was_believed(self):
        bitmap = hint.Bitmap(9)
        for _ in range(9):
            bitmap.pick()
        bitmap.load([n for n in range(9) if n != 8])
        self.assertEqual(8, bitmap.pick())

    def test_released(self):
        bitmap = hint.Bitmap(100)
        bitmap.load(range(100))
        bitmap.release(42)
        self.assertEqual(42, bitmap.pick())
        self.assertIsNone(bitmap.pick())

    def test_picks_at_random(self):
        # Two processes that picked in the same order would meet each time.
        bitmap = hint.Bitmap(1000)
        picked = [bitmap.pick() for _ in range(100)]
        self.assertNotEqual(sorted(picked), picked)
        quarters = collections.Counter(rank // 250 for rank in picked)
        self.assertGreater(min(quarters[n] for n in range(4)), 5)

    def test_the_first_wrong_guess_is_worth_a_load(self):
        bitmap = hint.Bitmap(10)
        self.assertEqual(1, bitmap.patience)
        bitmap.load([])
        self.assertGreater(bitmap.patience, 1)


class ProbeTest(testtools.TestCase):
    """The stand-in for large spaces."""

    def test_kinds(self):
        self.assertIsInstance(hint.for_size(1 << 24), hint.Bitmap)
        probe = hint.for_size((1 << 24) + 1)
        self.assertIsInstance(probe, hint.Probe)
        self.assertFalse(probe.remembers)

    def test_picks_in_range(self):
        probe = hint.Probe(10)
        self.assertEqual(set(range(10)), {probe.pick() for _ in range(1000)})
