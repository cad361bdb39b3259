# SPDX-License-Identifier: Apache-2.0
"""The selection that runs beside the older release covers the lifecycle."""

import pathlib

import testtools

from svirt_nova.lifecycle import table
from tests import time_limit
from tests.functional import soak_list
from tools import run_stestr

LIST = pathlib.Path(__file__).with_name('older-release.list')

#: Rows that no test of this directory goes through: only the state of the
#: instance tells them apart from others, and tests/unit/lifecycle has it.
WITHOUT_TEST = {
    'the same, soft-deleted meanwhile',
    'delete that was interrupted after its state was saved',
}


class OlderReleaseTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.entries = run_stestr.entries(LIST.read_text())

    def test_every_name_is_that_of_a_test(self):
        there = set(soak_list.ids(time_limit.suite('functional/nova')))

        self.assertEqual(set(), self.entries.keys() - there)

    def test_every_row_of_the_lifecycle_is_covered(self):
        rows = {
            row
            for comment in self.entries.values()
            for row in comment.partition(' -- ')[0].split('; ')
            if not row.startswith('also ')
        }

        self.assertEqual(set(), rows & WITHOUT_TEST)
        self.assertEqual(
            {row.operation for row in table.ROWS}, rows | WITHOUT_TEST
        )

    def test_every_entry_has_a_reason(self):
        for name, comment in self.entries.items():
            self.assertRegex(comment.partition(' -- ')[2], r'\w.*\.$', name)
