# SPDX-License-Identifier: Apache-2.0

import testtools

from tests import time_limit


class TimeLimitTest(testtools.TestCase):
    def test_every_test_has_a_limit(self):
        suite = time_limit.suite('functional')

        self.assertEqual([], time_limit.without_limit(suite))
