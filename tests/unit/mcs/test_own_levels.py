# SPDX-License-Identifier: Apache-2.0

import itertools

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.mcs import levels
from svirt_nova.mcs import own_levels
from svirt_nova.mcs import ranking


@st.composite
def owners(draw):
    """Categories, how many a level has of them, and a project's part."""
    categories = draw(st.sets(st.integers(0, 30), min_size=2, max_size=12))
    size = draw(st.integers(1, min(4, len(categories) - 1)))
    rest = sorted(set(range(32)) - categories)
    part = draw(st.sets(st.sampled_from(rest), max_size=3))
    return categories, size, part


class OwnLevelsTest(testtools.TestCase):
    @given(owners(), st.data())
    def test_the_positions_are_in_the_order_of_ranks(self, owner, data):
        categories, size, part = owner
        expected = sorted(
            ranking.rank({*chosen, *part})
            for chosen in itertools.combinations(categories, size)
        )
        own = own_levels.OwnLevels(
            categories, size, levels.Level(frozenset(part)) if part else None
        )
        self.assertEqual(len(expected), own.number)
        start = data.draw(st.integers(0, own.number - 1))
        stop = data.draw(st.integers(start, own.number))
        self.assertEqual(expected[start:stop], [*own.ranks(start, stop)])
        self.assertEqual(expected[start], own.rank(start))

    def test_the_default_space_needs_no_list(self):
        own = own_levels.OwnLevels(range(1024), 2)
        self.assertEqual(523_776, own.number)
        self.assertIsInstance(own.ranks(0, own.number), range)

    def test_a_position_in_a_large_space_is_found_at_once(self):
        own = own_levels.OwnLevels(range(1024), 7)
        last = own.rank(own.number - 1)
        self.assertEqual(frozenset(range(1017, 1024)), ranking.unrank(last))
        self.assertEqual([last], [*own.ranks(own.number - 1, own.number)])
