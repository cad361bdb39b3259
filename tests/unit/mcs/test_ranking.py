# SPDX-License-Identifier: Apache-2.0

import itertools
import random
import sys
import time

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.mcs import ranking

SETS = st.frozensets(st.integers(0, 1023), max_size=7)


class RankingTest(testtools.TestCase):
    """One number for each set of categories."""

    def test_sets_are_ordered_by_size_and_then_colexicographically(self):
        expected = [
            subset
            for size in (0, 1, 2)
            for subset in sorted(
                itertools.combinations(range(1024), size),
                key=lambda subset: subset[::-1],
            )
        ]
        self.assertEqual(1 + 1024 + 523_776, len(expected))
        self.assertEqual(ranking.first(3), len(expected))
        for rank in (*range(2000), *range(520_000, len(expected), 7)):
            self.assertEqual(frozenset(expected[rank]), ranking.unrank(rank))

    @given(SETS)
    def test_unrank_is_the_inverse(self, categories):
        rank = ranking.rank(categories)
        self.assertEqual(categories, ranking.unrank(rank))
        # A signed 64-bit column holds it.
        self.assertLess(rank, 1 << 63)

    @given(SETS, SETS)
    def test_no_two_sets_have_one_rank(self, one, other):
        self.assertEqual(
            one == other, ranking.rank(one) == ranking.rank(other)
        )

    def test_what_has_no_rank(self):
        self.assertRaises(exception.NotInSpace, ranking.rank, range(8))
        for rank in (-1, ranking.first(8)):
            self.assertRaises(exception.NotInSpace, ranking.unrank, rank)
        self.assertEqual(
            frozenset(range(1017, 1024)), ranking.unrank(ranking.first(8) - 1)
        )

    @given(st.frozensets(st.integers(0, 60), max_size=12), st.integers(0, 3))
    def test_mask_has_the_sets_of_the_categories(self, categories, size):
        bits = ranking.mask(categories, size)
        expected = {
            ranking.rank(chosen)
            for chosen in itertools.combinations(categories, size)
        }
        found = {
            ranking.first(size) + n
            for n in range(bits.bit_length())
            if bits >> n & 1
        }
        self.assertEqual(expected, found)

    def test_ranking_takes_microseconds(self):
        chance = random.Random(2)
        for size in (2, 3):
            first, end = ranking.first(size), ranking.first(size + 1)
            ranks = [chance.randrange(first, end) for _ in range(100_000)]
            # The processor's time: other programs are not our cost.
            start = time.process_time()
            back = [ranking.rank(ranking.unrank(rank)) for rank in ranks]
            took = time.process_time() - start
            self.assertEqual(ranks, back)
            # A tracer, such as coverage's, costs more than the code.
            if sys.gettrace() is None:
                self.assertLess(took, 2)
