# SPDX-License-Identifier: Apache-2.0

import testtools

from tools import run_checks


class RunChecksTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.reports = []
        self.patch(
            run_checks,
            'report',
            lambda what, counts, told=(): self.reports.append(
                (what, tuple(counts), list(told))
            ),
        )

    def run_checks(self, **checks):
        self.patch(run_checks, 'CHECKS', checks)
        return run_checks.run(list(checks))

    def test_each_check_counts_as_one(self):
        self.assertTrue(self.run_checks(one=['true'], two=['true']))

        self.assertEqual(
            [('one', (1, 0, 0), []), ('two', (1, 0, 0), [])], self.reports
        )

    def test_what_a_failed_check_says_is_told(self):
        failing = ['sh', '-c', 'echo wrong; exit 3']

        self.assertFalse(self.run_checks(one=failing, two=['true']))

        self.assertEqual(('one', (0, 1, 0), ['wrong']), self.reports[0])
        self.assertEqual(2, len(self.reports))

    def test_a_check_that_cannot_run_has_failed(self):
        self.assertFalse(self.run_checks(one=['/no/such/program']))

        [(_, counts, told)] = self.reports
        self.assertEqual((0, 1, 0), counts)
        self.assertIn('No such file', told[0])
