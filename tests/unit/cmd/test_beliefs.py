# SPDX-License-Identifier: Apache-2.0

from unittest import mock

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import calls
from svirt_nova.cmd import beliefs

CREDENTIALS = '[svirt_nova_api]\nauth_type = none\nendpoint = http://nova\n'


class BeliefsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.host_flows.return_value = None

    def conf(self, text=''):
        path = self.useFixture(fixtures.TempDir()).join('nova.conf')
        with open(path, 'w') as file:
            file.write(text)
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf(['--config-file', path])
        return conf

    def give_back(self, conf):
        """What the service makes of a level that is given back."""
        endpoint = beliefs.compute_endpoint(conf, self.allocator)
        self.allocator.reset_mock()
        endpoint.give_back({'host': 'a'}, instance_uuid='u', host='a')
        call, *_ = self.allocator.mock_calls
        return call[0]

    def test_without_credentials_computes_are_believed_with_a_warning(self):
        conf = self.conf()
        self.assertFalse(beliefs.asks_nova(conf))
        beliefs.check(conf, self.allocator)
        self.assertIn('are believed of which project', self.log.output)
        self.assertIn('which frees its level', self.log.output)
        self.assertIn('[svirt_nova_api]', self.log.output)
        self.assertEqual('give_back_last', self.give_back(conf))

    def test_calls_without_a_signature_are_taken_with_a_warning(self):
        for callers, told in (
            ('any', 'speaks for every host'),
            ('enrolled', 'speaks for hosts that are not bound'),
            ('signed', 'must be signed'),
        ):
            conf = self.conf(
                f'{CREDENTIALS}[svirt_nova_allocator]\ncallers = {callers}\n'
            )
            log = self.useFixture(fixtures.FakeLogger())
            beliefs.check(conf, self.allocator)
            self.assertIn(told, log.output)

    def test_without_credentials_an_option_keeps_levels_from_coming_free(self):
        conf = self.conf('[svirt_nova_allocator]\ncomputes_retire = False\n')
        beliefs.check(conf, self.allocator)
        self.assertNotIn('frees its level', self.log.output)
        self.assertIn('only by "svirt-nova reap"', self.log.output)
        self.assertEqual('unclaim', self.give_back(conf))

    def test_with_credentials_no_compute_is_believed(self):
        for value in ('True', 'False'):
            conf = self.conf(
                f'{CREDENTIALS}[svirt_nova_allocator]\n'
                f'computes_retire = {value}\n'
            )
            self.assertTrue(beliefs.asks_nova(conf))
            beliefs.check(conf, self.allocator)
            self.assertEqual('unclaim', self.give_back(conf))
            self.allocator.reset_mock()
        self.assertNotIn('are believed', self.log.output)

    def test_with_credentials_nova_is_asked_about_a_new_instance(self):
        endpoint = beliefs.compute_endpoint(
            self.conf(CREDENTIALS), self.allocator
        )
        self.allocator.get.side_effect = exception.UnknownInstance('new')
        with mock.patch(
            'svirt_nova.lifecycle.compute_api.ComputeApi.find',
            return_value=None,
        ) as find:
            answer = endpoint.acquire(
                {'host': 'a'},
                instance_uuid='aaaaaaaa-0000-4000-8000-000000000001',
                project_id='p',
                host='a',
            )
        find.assert_called_once()
        self.assertEqual('NotAllowed', answer['error']['name'])
        self.assertNotIn(
            calls.ACQUIRE.name, [each[0] for each in self.allocator.mock_calls]
        )

    def test_question_is_given_up_within_the_time_of_a_call(self):
        servers = beliefs._servers(self.conf(CREDENTIALS))
        self.assertEqual(7.5, servers._client.session.timeout)

    def test_credentials_that_are_not_complete_are_refused(self):
        for text in (
            '[svirt_nova_api]\nauth_type = nothing\n',
            '[svirt_nova_api]\nauth_section = elsewhere\n',
        ):
            self.assertRaises(
                exception.InvalidOption,
                beliefs.check,
                self.conf(text),
                self.allocator,
            )
