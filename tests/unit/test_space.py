# SPDX-License-Identifier: Apache-2.0

import itertools
import math
import random
import time

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import space as spaces

PAIRS = spaces.LevelSpace.parse('c0.c1023')
TRIPLES = spaces.LevelSpace.parse('c0.c1023', 3)


class LevelSpaceTest(testtools.TestCase):
    """Sizes, ranks, and what is in a space."""

    def test_sizes(self):
        self.assertEqual(523_776, PAIRS.size)
        self.assertEqual(178_433_024, TRIPLES.size)
        self.assertEqual(
            math.comb(7, 2),
            spaces.LevelSpace.parse('c0.c9', 2, 'c1,c3.c4').size,
        )

    def test_the_ends(self):
        for space, first, last in (
            (PAIRS, 's0:c0,c1', 's0:c1022,c1023'),
            (TRIPLES, 's0:c0.c2', 's0:c1021.c1023'),
        ):
            self.assertEqual(first, str(space.unrank(0)))
            self.assertEqual(last, str(space.unrank(space.size - 1)))
            self.assertEqual(0, space.rank(levels.Level.parse(first)))
            self.assertEqual(
                space.size - 1, space.rank(levels.Level.parse(last))
            )
            for rank in (-1, space.size):
                self.assertRaises(exception.NotInSpace, space.unrank, rank)

    def test_a_bijection_in_colexicographic_order(self):
        for text, per_level, excluded in (
            ('c0.c9', 1, ''),
            ('c0.c9', 2, ''),
            ('c0.c9', 3, 'c0,c4'),
            ('c3,c90,c1000.c1007', 4, ''),
            ('c0.c5', 5, ''),
        ):
            space = spaces.LevelSpace.parse(text, per_level, excluded)
            found = [space.unrank(rank) for rank in range(space.size)]
            expected = sorted(
                itertools.combinations(sorted(space.categories), per_level),
                key=lambda subset: subset[::-1],
            )
            self.assertEqual(
                expected, [tuple(sorted(f.categories)) for f in found]
            )
            self.assertEqual(
                list(range(space.size)), [space.rank(f) for f in found]
            )

    @given(st.integers(0, TRIPLES.size - 1))
    def test_rank_is_the_inverse(self, rank):
        for space in (TRIPLES, PAIRS):
            level = space.unrank(rank % space.size)
            self.assertIn(level, space)
            self.assertEqual(rank % space.size, space.rank(level))

    @given(st.integers(0, math.comb(100, 2) - 1))
    def test_a_range_that_grows_keeps_its_ranks(self, rank):
        small = spaces.LevelSpace.parse('c0.c99')
        self.assertEqual(small.unrank(rank), PAIRS.unrank(rank))

    def test_what_is_not_in_it(self):
        space = spaces.LevelSpace.parse('c0.c9', 2, 'c5')
        for text in ('s0', 's0:c1', 's0:c1,c5', 's0:c1,c10', 's0:c1.c3'):
            level = levels.Level.parse(text)
            self.assertNotIn(level, space)
            self.assertRaises(exception.NotInSpace, space.rank, level)

    def test_impossible_spaces(self):
        for arguments in (
            ('c0.c1024',),
            ('',),
            ('c1',),
            ('c0,c1', 2),
            ('c0.c9', 0),
            ('c0.c9', -1),
            ('c0.c9', 10),
            ('c0.c9', 2, 'c0.c8'),
            ('c0.c9', 2, 'x'),
        ):
            self.assertRaises(
                exception.InvalidSpace, spaces.LevelSpace.parse, *arguments
            )

    def test_numbers_that_are_no_categories(self):
        self.assertRaises(
            exception.InvalidSpace,
            spaces.LevelSpace,
            frozenset({1, 2, 5000}),
        )

    def test_speed(self):
        chance = random.Random(2)
        for space in (PAIRS, TRIPLES):
            ranks = [chance.randrange(space.size) for _ in range(100_000)]
            # The processor's time: other programs are not our cost.
            start = time.process_time()
            back = [space.rank(space.unrank(rank)) for rank in ranks]
            took = time.process_time() - start
            self.assertEqual(ranks, back)
            self.assertLess(took, 2)
