# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova.allocator import space_change
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces


def against(space, *in_use):
    """What stands against a space, as texts.

    :param in_use: texts of levels, each with its project and the text of
        the project's part
    """
    found = space_change.levels_against(
        space,
        [
            (
                levels.Level.parse(level),
                project,
                None if part is None else levels.Level.parse(part),
            )
            for level, project, part in in_use
        ],
    )
    return [str(level) for level in found]


PAIRS = spaces.LevelSpace.parse('c0.c9')
PROJECTS = spaces.LevelSpace.parse('c0.c9', 2, '', 'c20.c29')


class LevelsAgainstTest(testtools.TestCase):
    def test_levels_of_the_space_and_apart_from_it_do_not_stand_against_it(
        self,
    ):
        self.assertEqual(
            [],
            against(PAIRS, ('s0:c1,c2', 'p', None), ('s0:c50,c51', 'p', None)),
        )

    def test_levels_that_could_contain_one_of_the_space_stand_against_it(
        self,
    ):
        self.assertEqual(
            ['s0:c3', 's0:c1.c3'],
            against(PAIRS, ('s0:c1.c3', 'p', None), ('s0:c3', None, None)),
        )

    def test_a_part_that_the_space_lacks_stands_against_it_once(self):
        self.assertEqual(
            ['s0:c30,c31'],
            against(
                PROJECTS,
                ('s0:c50,c51,c30,c31', 'p', 's0:c30,c31'),
                ('s0:c50,c52,c30,c31', 'p', 's0:c30,c31'),
                ('s0:c1,c2,c20,c21', 'q', 's0:c20,c21'),
            ),
        )

    def test_a_part_stands_against_a_space_without_parts(self):
        self.assertEqual(
            ['s0:c20,c21'],
            against(
                spaces.LevelSpace.parse('c40.c49'),
                ('s0:c1,c2,c20,c21', 'q', 's0:c20,c21'),
            ),
        )

    def test_an_instances_level_without_a_part_stands_against_it(self):
        level = 's0:c1,c2,c20,c21'
        self.assertEqual([level], against(PROJECTS, (level, 'p', None)))
        self.assertEqual([], against(PROJECTS, (level, 'p', 's0:c20,c21')))

    def test_a_reserved_level_without_a_part_does_not_stand_against_it(self):
        self.assertEqual(
            [], against(PROJECTS, ('s0:c1,c2,c20,c21', None, None))
        )
