# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova.allocator import space_change
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces


def against(space, *in_use):
    """What stands against a space, as texts.

    :param in_use: texts of levels, each with that of its project's part
    """
    found = space_change.levels_against(
        space,
        [
            (
                levels.Level.parse(level),
                None if part is None else levels.Level.parse(part),
            )
            for level, part in in_use
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
            [], against(PAIRS, ('s0:c1,c2', None), ('s0:c50,c51', None))
        )

    def test_levels_that_could_contain_one_of_the_space_stand_against_it(
        self,
    ):
        self.assertEqual(
            ['s0:c3', 's0:c1.c3'],
            against(PAIRS, ('s0:c1.c3', None), ('s0:c3', None)),
        )

    def test_a_part_that_the_space_lacks_stands_against_it_once(self):
        self.assertEqual(
            ['s0:c30,c31'],
            against(
                PROJECTS,
                ('s0:c50,c51,c30,c31', 's0:c30,c31'),
                ('s0:c50,c52,c30,c31', 's0:c30,c31'),
                ('s0:c1,c2,c20,c21', 's0:c20,c21'),
            ),
        )

    def test_a_part_stands_against_a_space_without_parts(self):
        self.assertEqual(
            ['s0:c20,c21'],
            against(
                spaces.LevelSpace.parse('c40.c49'),
                ('s0:c1,c2,c20,c21', 's0:c20,c21'),
            ),
        )
