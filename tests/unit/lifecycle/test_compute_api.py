# SPDX-License-Identifier: Apache-2.0

import requests
import requests_mock
import testtools
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.lifecycle import compute_api

URL = 'http://nova.test/v2.1'
UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'


class ComputeApiTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        auth = token_endpoint.Token(URL, 'token')
        self.api = compute_api.ComputeApi(
            adapter.Adapter(session.Session(auth=auth), service_type='compute')
        )
        self.requests = requests_mock.Mocker()
        self.requests.start()
        self.addCleanup(self.requests.stop)

    def _server(self, **kwargs):
        self.requests.get(f'{URL}/servers/{UUID}', **kwargs)

    def test_a_server_that_nova_shows_exists(self):
        self._server(json={'server': {'id': UUID}})
        self.assertTrue(self.api.exists(UUID))

    def test_it_is_asked_below_the_microversion_of_false_absences(self):
        self._server(json={'server': {'id': UUID}})
        self.api.exists(UUID)
        headers = self.requests.last_request.headers
        self.assertEqual('compute 2.68', headers['OpenStack-API-Version'])

    def test_novas_own_not_found_is_absence(self):
        self._server(
            status_code=404,
            json={
                'itemNotFound': {'code': 404, 'message': 'Instance not found'}
            },
        )
        self.assertFalse(self.api.exists(UUID))

    def test_no_other_answer_is_absence(self):
        for answer in (
            {'status_code': 404, 'text': 'no such page'},
            {'status_code': 404, 'json': {'error': 'not found'}},
            {'status_code': 404, 'json': []},
            {'status_code': 500, 'json': {'computeFault': {}}},
            {'status_code': 503, 'text': ''},
            {'status_code': 403, 'json': {'forbidden': {}}},
            {'status_code': 200, 'json': {}},
            {'status_code': 410, 'json': {'itemNotFound': {}}},
            {'exc': requests.exceptions.ConnectTimeout},
        ):
            self._server(**answer)
            self.assertRaises(exception.ComputeApiError, self.api.exists, UUID)

    def test_who_is_no_administrator_is_told(self):
        self.requests.get(
            f'{URL}/os-services?binary=nova-compute',
            status_code=403,
            json={'forbidden': {}},
        )
        error = self.assertRaises(exception.ComputeApiError, self.api.check)
        self.assertIn('administrator', str(error))

    def test_a_nova_with_computes_passes_the_check(self):
        self.requests.get(
            f'{URL}/os-services?binary=nova-compute',
            json={'services': [{'host': 'c'}]},
        )
        self.api.check()


class LoadTest(testtools.TestCase):
    def test_without_credentials_it_is_said_where_to_give_them(self):
        conf = cfg.ConfigOpts()
        conf([])
        error = self.assertRaises(
            exception.InvalidOption, compute_api.load, conf
        )
        self.assertIn('[svirt_nova_api]', str(error))
