# SPDX-License-Identifier: Apache-2.0

import re

import testtools

from tests.functional import soak_list
from tests.functional.nova import test_older_release
from tools import run_stestr


class SoakListTest(soak_list.SoakListMixin, testtools.TestCase):
    DIRECTORY = 'functional/nova'
    ENTRY = re.compile(r'\^tests\\\.functional\\\.nova\\')

    def test_all_rows_of_the_lifecycle_run_beside_the_newest_release(self):
        # Each row has its tests there, which it names.
        rows = run_stestr.entries(test_older_release.LIST.read_text())
        for entry in self.entries:
            self.assertEqual(
                rows.keys(), soak_list.without(entry, rows), entry
            )
