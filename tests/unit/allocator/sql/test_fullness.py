# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import time

import testtools

from svirt_nova.allocator.sql import fullness
from svirt_nova.allocator.sql.tables import free_queries

NOW = datetime.datetime(2026, 11, 1)
SECOND = datetime.timedelta(seconds=1)
MARKS = free_queries.Marks(3, 2, (7, 5))


class FullnessTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        began = time.monotonic()
        self.full = fullness.Fullness(
            MARKS, NOW + 10 * SECOND, None, began, began
        )

    def test_it_holds_until_the_first_level_has_cooled(self):
        self.assertTrue(self.full.holds(MARKS, NOW))
        self.assertTrue(self.full.holds(MARKS, NOW + 9 * SECOND))
        self.assertFalse(self.full.holds(MARKS, NOW + 10 * SECOND))

    def test_it_ends_when_a_level_comes_free_elsewhere(self):
        for change in (
            {'generation': 4},
            {'reserved': 1},
            {'freed': (8, 5)},
            {'freed': (7, 6)},
            {'freed': None},
        ):
            marks = dataclasses.replace(MARKS, **change)
            self.assertFalse(self.full.holds(marks, NOW), change)

    def test_it_ends_after_a_minute_whatever_the_marks_are(self):
        old = dataclasses.replace(self.full, seen_at=time.monotonic() - 61)
        self.assertFalse(old.holds(MARKS, NOW))
