# SPDX-License-Identifier: Apache-2.0

import testtools

from tests.lab import comparison
from tests.lab.comparison import Comparison
from tests.lab.comparison import Outcome

PAUSE = 'tempest.api.compute.servers.test_actions.ActionsTest.test_pause'
RESCUE = 'tempest.api.compute.servers.test_rescue.RescueTest.test_rescue'
ATTACH = 'tempest.api.volume.test_actions.VolumesTest.test_attach'
OWN = 'svirt_nova.tempest.test_levels.LevelsTest.test_unique'

PASSED = Outcome(comparison.PASSED, 2.0)
FAILED = Outcome(comparison.FAILED, 3.0, 'AssertionError: no')
SKIPPED = Outcome(comparison.SKIPPED, 0.0, 'no such feature')


class ComparisonTest(testtools.TestCase):
    def test_a_regression_passes_with_novas_driver_alone(self):
        compared = Comparison(
            [PAUSE, RESCUE, ATTACH],
            {PAUSE: PASSED, RESCUE: PASSED, ATTACH: FAILED},
            {PAUSE: PASSED, RESCUE: FAILED, ATTACH: FAILED},
        )

        self.assertEqual([RESCUE], compared.regressions())

    def test_a_test_that_is_skipped_with_ours_alone_is_one(self):
        compared = Comparison([PAUSE], {PAUSE: PASSED}, {PAUSE: SKIPPED})

        self.assertEqual([PAUSE], compared.regressions())

    def test_a_test_that_fails_with_novas_driver_alone_is_none(self):
        compared = Comparison([PAUSE], {PAUSE: FAILED}, {PAUSE: PASSED})

        self.assertEqual([], compared.regressions())

    def test_a_test_that_never_ran_failed(self):
        compared = Comparison([PAUSE], {PAUSE: PASSED}, {})

        self.assertEqual([PAUSE], compared.regressions())
        self.assertEqual(
            {
                comparison.PASSED: 0,
                comparison.FAILED: 1,
                comparison.SKIPPED: 0,
            },
            compared.counts()['ours'],
        )

    def test_a_test_ends_as_the_set_up_of_its_class(self):
        fixture = f'setUpClass ({PAUSE.rpartition(".")[0]})'

        compared = Comparison([PAUSE], {fixture: SKIPPED}, {fixture: FAILED})

        self.assertEqual({PAUSE: (SKIPPED, FAILED)}, compared.pairs())

    def test_a_clean_up_that_fails_with_ours_alone_is_a_regression(self):
        fixture = f'tearDownClass ({PAUSE.rpartition(".")[0]})'

        compared = Comparison(
            [PAUSE], {PAUSE: PASSED}, {PAUSE: PASSED, fixture: FAILED}
        )

        self.assertEqual([fixture], compared.regressions())
        self.assertEqual(1, compared.counts()['ours'][comparison.PASSED])

    def test_enough_must_pass_with_both(self):
        ours = {PAUSE: PASSED, RESCUE: PASSED}
        compared = Comparison(
            [PAUSE, RESCUE], {PAUSE: PASSED, RESCUE: SKIPPED}, ours
        )

        self.assertEqual([], compared.faults(1))
        self.assertEqual(1, len(compared.faults(2)))
        self.assertEqual(2, len(compared.faults(3)))

    def test_what_passes_with_neither_is_a_fault_and_no_regression(self):
        for outcome in (FAILED, SKIPPED):
            compared = Comparison(
                [PAUSE, RESCUE],
                {PAUSE: PASSED, RESCUE: FAILED},
                {PAUSE: PASSED, RESCUE: outcome},
            )

            self.assertEqual([], compared.regressions())
            [fault] = compared.faults(1)
            self.assertIn('test_rescue', fault)

    def test_a_regression_is_a_fault(self):
        compared = Comparison(
            [PAUSE, RESCUE],
            {PAUSE: PASSED, RESCUE: PASSED},
            {PAUSE: PASSED, RESCUE: FAILED},
        )

        [fault] = compared.faults(1)
        self.assertIn('RescueTest.test_rescue', fault)

    def test_the_projects_own_tests_have_to_pass(self):
        compared = Comparison(
            [PAUSE], {PAUSE: PASSED}, {PAUSE: PASSED, OWN: FAILED}, [OWN]
        )

        self.assertEqual([], compared.regressions())
        [fault] = compared.faults(1)
        self.assertIn('test_unique', fault)
        self.assertEqual(1, compared.counts()['plugin'][comparison.FAILED])

    def test_the_projects_own_tests_are_skipped_only_where_they_may_be(self):
        compared = Comparison(
            [PAUSE], {PAUSE: PASSED}, {PAUSE: PASSED, OWN: SKIPPED}, [OWN]
        )

        [fault] = compared.faults(1)
        self.assertIn('test_unique', fault)
        self.assertEqual([], compared.faults(1, {'test_unique'}))

    def test_a_class_that_is_skipped_as_a_whole_is_seen(self):
        fixture = f'setUpClass ({OWN.rpartition(".")[0]})'
        compared = Comparison(
            [PAUSE], {PAUSE: PASSED}, {PAUSE: PASSED, fixture: SKIPPED}, [OWN]
        )

        self.assertEqual(1, len(compared.faults(1)))

    def test_the_table_has_a_row_for_each_test_and_the_reasons(self):
        text = Comparison(
            [PAUSE, RESCUE],
            {PAUSE: PASSED, RESCUE: PASSED},
            {PAUSE: PASSED, RESCUE: FAILED},
        ).table()

        self.assertRegex(
            text,
            r'compute\.servers\.ActionsTest\.test_pause +passed +2 +passed +2',
        )
        self.assertRegex(text, r'test_rescue +passed.*failed.*REGRESSION')
        self.assertIn('AssertionError: no', text)
        self.assertIn('regressions: 1', text)

    def test_the_figures_say_the_same(self):
        figures = Comparison([PAUSE], {PAUSE: PASSED}, {}).figures()

        self.assertEqual([PAUSE], figures['regressions'])
        self.assertEqual(
            {
                'name': PAUSE,
                'nova': {'status': 'passed', 'seconds': 2.0, 'detail': ''},
                'ours': {
                    'status': 'failed',
                    'seconds': 0.0,
                    'detail': 'did not run',
                },
            },
            figures['tests'][0],
        )


class TextTest(testtools.TestCase):
    def test_short_names_keep_area_class_and_method(self):
        self.assertEqual(
            'compute.servers.ActionsTest.test_pause', comparison.short(PAUSE)
        )
        self.assertEqual(
            'volume.VolumesTest.test_attach', comparison.short(ATTACH)
        )

    def test_attributes_are_no_part_of_a_name(self):
        self.assertEqual(
            PAUSE, comparison.without_attributes(f'{PAUSE}[id-1,smoke]')
        )
        self.assertEqual(PAUSE, comparison.without_attributes(PAUSE))

    def test_the_last_line_is_the_last_that_says_something(self):
        self.assertEqual(
            'ValueError: x',
            comparison.last_line('Traceback:\n  a\nValueError: x\n\n'),
        )
        self.assertEqual(
            'BuildError: in ERROR',
            comparison.last_line('BuildError: in ERROR\nDetails: \n'),
        )
        self.assertEqual('', comparison.last_line('\n'))
