# SPDX-License-Identifier: Apache-2.0

import testtools

from tests.lab import selection
from tests.lab.progress import LabError
from tests.lab.selection import Selection

PAUSE = 'tempest.api.compute.servers.test_actions.ActionsTest.test_pause'
NOVNC = 'tempest.api.compute.servers.test_novnc.NoVNCTest.test_novnc'
TOKENS = 'tempest.api.identity.v3.test_tokens.TokensTest.test_validate'


class SelectionTest(testtools.TestCase):
    def test_each_test_in_scope_is_listed_or_left_out(self):
        chosen = Selection(
            {'native': [PAUSE]}, {r'test_novnc\.': 'no consoles'}
        )

        self.assertEqual([], chosen.faults([PAUSE, NOVNC, TOKENS]))

    def test_a_test_that_nobody_thought_of_is_a_fault(self):
        [fault] = Selection({'native': [PAUSE]}, {}).faults([PAUSE, NOVNC])

        self.assertIn(NOVNC, fault)

    def test_a_listed_test_that_is_not_there_is_a_fault(self):
        [fault] = Selection({'native': [PAUSE], 'lab': []}, {}).faults([])

        self.assertIn('no such test', fault)

    def test_a_pattern_that_leaves_nothing_out_is_a_fault(self):
        [fault] = Selection({}, {'test_gone': 'old'}).faults([])

        self.assertIn('leaves nothing out', fault)

    def test_a_reason_is_that_of_the_entries_below(self):
        self.assertEqual(
            {
                'a': 'first reason',
                'b': 'first reason',
                'c': 'own',
                'd': 'next',
            },
            selection.entries(
                '# first\n# reason\na\nb\nc  # own\n\n# next\nd\n'
            ),
        )

    def test_own_tests_are_those_of_a_prefix(self):
        known = ['svirt_nova.tempest.api.a.T.x', 'svirt_nova.tempest.b.T.y']

        self.assertEqual(
            known[:1], selection.own('svirt_nova.tempest.api.', known)
        )
        self.assertRaises(LabError, selection.own, 'svirt_nova.c.', known)


class TreeTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.chosen = selection.read(['native', 'lab'])

    def test_all_lists_are_in_scope(self):
        for names in self.chosen.lists.values():
            for name in names:
                self.assertRegex(name, selection.SCOPE)

    def test_there_are_enough_tests(self):
        self.assertGreaterEqual(len(self.chosen.lists['native']), 60)
        self.assertGreaterEqual(len(self.chosen.lists['lab']), 25)

    def test_each_pattern_has_a_reason(self):
        for pattern, reason in self.chosen.left_out.items():
            self.assertTrue(reason, pattern)
            self.assertNotIn('SPDX', reason)

    def test_nothing_that_is_listed_is_left_out(self):
        self.assertEqual([], self.chosen.contradictions())
