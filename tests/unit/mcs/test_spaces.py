# SPDX-License-Identifier: Apache-2.0

import itertools
import math

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

PAIRS = spaces.LevelSpace.parse('c0.c1023')
TRIPLES = spaces.LevelSpace.parse('c0.c1023', 3)


class LevelSpaceTest(testtools.TestCase):
    """Sizes, ranks, and what is in a space."""

    def test_the_size_is_the_number_of_sets(self):
        self.assertEqual(523_776, PAIRS.size)
        self.assertEqual(178_433_024, TRIPLES.size)
        self.assertEqual(
            math.comb(7, 2),
            spaces.LevelSpace.parse('c0.c9', 2, 'c1,c3.c4').size,
        )

    def test_all_levels_of_a_space(self):
        for text, per_level, excluded in (
            ('c0.c9', 1, ''),
            ('c0.c9', 2, ''),
            ('c0.c9', 3, 'c0,c4'),
            ('c3,c90,c1000.c1007', 4, ''),
        ):
            space = spaces.LevelSpace.parse(text, per_level, excluded)
            found = list(space)
            self.assertEqual(space.size, len(found))
            self.assertEqual(
                {
                    frozenset(chosen)
                    for chosen in itertools.combinations(
                        space.categories, per_level
                    )
                },
                {level.categories for level in found},
            )
            self.assertTrue(all(level in space for level in found))

    def test_what_is_not_in_it(self):
        space = spaces.LevelSpace.parse('c0.c9', 2, 'c5')
        for text in ('s0', 's0:c1', 's0:c1,c5', 's0:c1,c10', 's0:c1.c3'):
            level = levels.Level.parse(text)
            self.assertNotIn(level, space)
            self.assertRaises(exception.NotInSpace, space.check, level)

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


class ProjectSpaceTest(testtools.TestCase):
    """The scheme in which levels of a project have a common part."""

    SMALL = spaces.LevelSpace.parse('c4.c7', 2, '', 'c0.c3')

    def test_the_size_is_that_of_all_projects(self):
        space = spaces.LevelSpace.parse('c256.c1023', 2, '', 'c0.c255')
        self.assertIs(spaces.Scheme.PROJECT, space.scheme)
        self.assertEqual(32_640, space.projects)
        self.assertEqual(294_528, space.per_owner)
        self.assertEqual(32_640 * 294_528, space.size)

    def test_its_levels_form_an_antichain(self):
        found = list(self.SMALL)
        self.assertEqual(36, len(found))
        for one, other in itertools.combinations(found, 2):
            self.assertFalse(one.is_comparable(other))

    def test_a_projects_part_opens_to_its_levels_alone(self):
        for one, other in itertools.product(self.SMALL, repeat=2):
            part = self.SMALL.project_part(other)
            self.assertTrue(self.SMALL.has_part(part))
            self.assertEqual(
                self.SMALL.project_part(one) == part, one.dominates(part)
            )

    def test_impossible_spaces(self):
        for arguments in (
            ('c4.c7', 2, '', 'c7.c9'),
            ('c4.c7', 2, 'c0', 'c0,c1'),
            ('c4.c9', 4, '', 'c10.c19', 4),
            ('c4.c9', 2, '', 'c10.c19', 0),
            ('c4.c9', 2, '', '', 2),
        ):
            self.assertRaises(
                exception.InvalidSpace, spaces.LevelSpace.parse, *arguments
            )


CATEGORIES = st.frozensets(st.integers(0, 9), min_size=3, max_size=7)


@st.composite
def small_spaces(draw):
    categories = draw(CATEGORIES)
    projects = draw(CATEGORIES) - categories
    if len(projects) < 2 or draw(st.booleans()):
        return spaces.LevelSpace(categories, draw(st.integers(1, 2)))
    return spaces.LevelSpace(categories, draw(st.integers(1, 2)), projects, 1)


class ClashTest(testtools.TestCase):
    """Levels beside which a space cannot be used."""

    def test_a_level_that_could_contain_one_of_the_space_clashes(self):
        space = spaces.LevelSpace.parse('c512.c1023')
        for text, clash in (
            ('s0:c600,c700', False),
            ('s0:c1,c2', False),
            ('s0:c1,c600', False),
            ('s0:c600', True),
            ('s0:c1', False),
            ('s0', True),
            ('s0:c1,c600,c700', True),
        ):
            self.assertEqual(
                clash, space.clashes(levels.Level.parse(text)), text
            )

    @given(small_spaces(), st.frozensets(st.integers(0, 11), max_size=6))
    def test_a_clash_is_a_process_that_opens_anothers_file(
        self, space, categories
    ):
        other = levels.Level(categories)
        files = set(space) | {
            part
            for level in space
            if (part := space.project_part(level)) is not None
        }
        opens = any(other.dominates(file) for file in files)
        opened = any(level.dominates(other) for level in space)
        self.assertEqual(
            other not in space and (opens or opened), space.clashes(other)
        )

    @given(small_spaces(), st.frozensets(st.integers(0, 11), max_size=6))
    def test_the_levels_that_a_level_can_meet(self, space, categories):
        other = levels.Level(categories)
        expected = {level for level in space if level.is_comparable(other)}
        self.assertEqual(expected, set(space.meeting(other, 10_000)))

    def test_too_many_to_name(self):
        space = spaces.LevelSpace.parse('c0.c1023')
        self.assertEqual(
            1023, len(space.meeting(levels.Level.parse('s0:c5'), 5000))
        )
        error = self.assertRaises(
            exception.InvalidSpace,
            space.meeting,
            levels.Level.parse('s0:c5'),
            1000,
        )
        self.assertIn('--exclude', str(error))
