# SPDX-License-Identifier: Apache-2.0

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.cmd import instance_names
from svirt_nova.lifecycle import compute_api
from tests.unit.cmd import test_avc


class InstanceNamesTest(test_avc.AvcCase):
    """Nova is asked for names where it can be."""

    def setUp(self):
        super().setUp()
        self.asked = []
        self.answer = clouds.Server('p1', 'c', 'ann\x1b[2J')

        class Api:
            @staticmethod
            def find(uuid):
                self.asked.append(uuid)
                if isinstance(self.answer, Exception):
                    raise self.answer
                return self.answer

        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.lifecycle.compute_api.load',
                lambda conf, wait: Api(),
            )
        )
        self.configured = self.useFixture(
            fixtures.MockPatch(
                'svirt_nova.conf.compute_api.is_configured', return_value=True
            )
        ).mock

    def test_each_instance_is_asked_for_once_and_its_name_is_shown(self):
        rows = self.rows(test_avc.line(), test_avc.line())
        for row in rows:
            self.assertEqual('ann\x1b[2J', row['Source']['then']['name'])
            self.assertEqual('ann\x1b[2J', row['Target']['now']['name'])
        self.assertEqual(len(set(self.asked)), len(self.asked))
        _, out, _ = self.program('avc', test_avc.line())
        self.assertIn('ann\\x1b', out)
        self.assertNotIn('\x1b', out)

    def test_without_credentials_nova_is_not_asked(self):
        self.configured.return_value = False
        [row] = self.rows(test_avc.line())
        self.assertIsNone(row['Source']['then']['name'])
        self.assertEqual([], self.asked)

    def test_an_instance_that_nova_does_not_know_has_no_name(self):
        self.answer = None
        [row] = self.rows(test_avc.line())
        self.assertIsNone(row['Source']['then']['name'])

    def test_a_nova_that_does_not_answer_is_asked_no_more(self):
        self.answer = exception.ComputeApiError('no answer')
        for row in self.rows(test_avc.line(), test_avc.line()):
            self.assertEqual('cross-project', row['Verdict'])
            self.assertIsNone(row['Source']['then']['name'])
        self.assertEqual(1, len(self.asked))

    def test_why_names_are_left_out_is_told_to_who_wants_to_know(self):
        self.answer = exception.ComputeApiError('no answer\x1b[2J')
        told = []
        names = instance_names.InstanceNames(None, told.append)
        names.of('u')
        self.assertEqual(
            ['The names of instances are left out: no answer\\x1b[2J'],
            told,
        )

    def test_no_more_than_some_names_are_asked_for(self):
        names = instance_names.InstanceNames(None, self.fail)
        for number in range(500):
            names.of(str(number))
        self.assertEqual(200, len(self.asked))

    def test_the_name_is_that_of_novas_answer(self):
        found = compute_api._read_server(
            'u', {'server': {'id': 'u', 'name': 'web', 'tenant_id': 'p'}}
        )
        self.assertEqual('web', found.name)
