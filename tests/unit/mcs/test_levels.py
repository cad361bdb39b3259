# SPDX-License-Identifier: Apache-2.0

import itertools

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.mcs import levels

categories = st.frozensets(st.integers(0, 1023), max_size=20)
made_levels = categories.map(levels.Level)


class LevelTest(testtools.TestCase):
    """Levels as texts, and how they compare."""

    def test_canonical_form(self):
        for text, canonical in (
            ('s0', 's0'),
            ('s0:c5', 's0:c5'),
            ('s0:c2,c1', 's0:c1,c2'),
            ('s0:c1,c1', 's0:c1'),
            ('s0:c7,c8,c9,c10', 's0:c7.c10'),
            ('s0:c7.c8', 's0:c7,c8'),
            ('s0:c1.c5,c3', 's0:c1.c5'),
            ('s0:c0.c1023', 's0:c0.c1023'),
            ('s0:c1,c3.c5,c7,c8', 's0:c1,c3.c5,c7,c8'),
        ):
            self.assertEqual(canonical, str(levels.Level.parse(text)))

    def test_what_the_kernel_rejects(self):
        for text in (
            '', 's', 's1', 'S0', 's00', ' s0', 's0 ', 's0:', 's0:c', 's0:1',
            's0:c1,', 's0:,c1', 's0:c1,,c2', 's0:c01', 's0:c1024', 's0:c-1',
            's0:c5.c5', 's0:c5.c2', 's0:c1.', 's0:.c1', 's0:c1.c2.c3',
            's0:c1:c2', 's0:c1-c2', 's0:c1 ,c2', 's0:C1', 's0:c\u0661',
            's0\n', 's0:c1\n', 's0-s0', 's0:c99999999999999999999',
        ):  # fmt: skip
            error = self.assertRaises(
                exception.InvalidLevel, levels.Level.parse, text
            )
            self.assertNotIn('\n', str(error))

    def test_the_error_tells_the_last_category(self):
        for text in ('s0:c01', 's0:c1024'):
            error = self.assertRaises(
                exception.InvalidLevel, levels.Level.parse, text
            )
            self.assertIn('c1023', str(error))
            self.assertNotIn(' c1024 ', str(error))

    def test_categories_that_do_not_exist(self):
        for number in (-1, 1024):
            self.assertRaises(
                exception.InvalidLevel, levels.Level, frozenset({number})
            )

    @given(made_levels)
    def test_text_and_back(self, level):
        self.assertEqual(level, levels.Level.parse(str(level)))

    @given(made_levels, made_levels, made_levels)
    def test_dominance_is_a_partial_order(self, a, b, c):
        self.assertTrue(a.dominates(a))
        self.assertEqual(a == b, a.dominates(b) and b.dominates(a))
        if a.dominates(b) and b.dominates(c):
            self.assertTrue(a.dominates(c))
        union = levels.Level(a.categories | b.categories)
        self.assertTrue(union.dominates(a) and union.dominates(b))
        self.assertEqual(a.is_comparable(b), a.dominates(b) or b.dominates(a))

    @given(st.lists(st.frozensets(st.integers(0, 5)).map(levels.Level)))
    def test_dominations_are_the_pairs_of_which_one_dominates(self, found):
        self.assertEqual(
            {
                (one, other)
                for one, other in itertools.permutations(found, 2)
                if one != other and one.dominates(other)
            },
            set(levels.dominations(found)),
        )

    def test_dominations_of_levels_with_many_categories_are_found(self):
        # To try the subsets of the first one would take forever.
        whole, half, pair = map(
            levels.Level.parse, ('s0:c0.c1023', 's0:c0.c511', 's0:c1,c900')
        )
        self.assertEqual(
            {(whole, half), (whole, pair)},
            set(levels.dominations([whole, half, pair])),
        )

    def test_dominations_of_many_levels_with_few_categories_are_found(self):
        many = [
            levels.Level(frozenset(chosen))
            for chosen in itertools.combinations(range(60), 2)
        ]
        triple, pair = map(levels.Level.parse, ('s0:c1,c2,c99', 's0:c1,c2'))
        self.assertEqual(
            [(triple, pair)], list(levels.dominations([triple, *many]))
        )

    @given(made_levels, made_levels)
    def test_a_range_is_read_if_its_high_level_dominates(self, a, b):
        text = f'{a}-{b}'
        if b.dominates(a):
            found = levels.LevelRange.parse(text)
            self.assertEqual((a, b), (found.low, found.high))
            self.assertEqual(found, levels.LevelRange.parse(str(found)))
        else:
            self.assertRaises(
                exception.InvalidLevel, levels.LevelRange.parse, text
            )

    def test_a_range_of_one_level_is_written_as_that(self):
        found = levels.LevelRange.parse('s0:c2,c1-s0:c1,c2')
        self.assertEqual('s0:c1,c2', str(found))
        self.assertEqual(levels.LevelRange.parse('s0:c1,c2'), found)

    def test_ranges_that_are_none(self):
        for text in ('s0-', '-s0', 's0:c1-', 's0-s0-s0', 's0:c1-s0:c2'):
            self.assertRaises(
                exception.InvalidLevel, levels.LevelRange.parse, text
            )
