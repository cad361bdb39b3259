# SPDX-License-Identifier: Apache-2.0

import logging

import fixtures
import testtools

from svirt_nova.allocator.sql import fill_warnings
from svirt_nova.mcs import spaces

SPACE = spaces.LevelSpace.parse('c0.c9')
PROJECTS = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')


class FillWarningsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(
            fixtures.FakeLogger(level=logging.WARNING, format='%(message)s')
        )
        self.warnings = fill_warnings.FillWarnings([95, 80])
        self.told = 0

    def check(self, fill, *arguments, space=SPACE, **options):
        """Tell a fill; the lines that it makes."""
        self.warnings.check(space, fill, *arguments, **options)
        lines = self.log.output.splitlines()[self.told :]
        self.told += len(lines)
        return lines

    def test_a_threshold_that_is_passed_is_told_once(self):
        self.assertEqual([], self.check(0.79))
        [line] = self.check(0.80)
        self.assertIn('"2 of c0.c9" is 80 % full: 45 levels', line)
        self.assertEqual([], self.check(0.94))

    def test_the_highest_of_several_that_are_passed_at_once_is_told(self):
        [line] = self.check(0.99)
        self.assertIn('95 % full', line)

    def test_a_threshold_of_nothing_is_told_at_once(self):
        self.warnings = fill_warnings.FillWarnings([0])
        [line] = self.check(0.0)
        self.assertIn('0 % full', line)
        self.assertEqual([], self.check(0.0))

    def test_a_threshold_is_told_again_after_a_fall_below_it(self):
        self.assertEqual(1, len(self.check(0.80)))
        self.assertEqual([], self.check(0.76))
        self.assertEqual([], self.check(0.81))
        self.assertEqual([], self.check(0.74))
        self.assertEqual(1, len(self.check(0.81)))

    def test_a_fall_to_a_lower_threshold_tells_the_higher_one_again(self):
        self.assertEqual(1, len(self.check(0.95)))
        self.assertEqual([], self.check(0.85))
        [line] = self.check(0.96)
        self.assertIn('95 % full', line)

    def test_what_was_counted_and_what_is_believed_are_told_apart(self):
        self.assertEqual(1, len(self.check(0.80)))
        self.assertEqual([], self.check(0.10, is_counted=True))
        self.assertEqual([], self.check(0.80))
        self.assertEqual(1, len(self.check(0.80, is_counted=True)))

    def test_each_project_is_told_of_its_own_levels(self):
        for project in ('p', 'q'):
            [line] = self.check(0.85, project, space=PROJECTS)
            self.assertIn(f'for project {project}: 6 levels', line)

    def test_another_space_is_told_of_anew(self):
        self.assertEqual(1, len(self.check(0.85)))
        self.assertEqual(1, len(self.check(0.85, space=PROJECTS)))
        self.assertEqual(1, len(self.check(0.85)))

    def test_without_thresholds_nothing_is_told(self):
        self.warnings = fill_warnings.FillWarnings([])
        self.assertEqual([], self.check(1.0))
