# SPDX-License-Identifier: Apache-2.0

import requests
import requests_mock
import testtools
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.lifecycle import compute_api

SERVICE = {
    'id': '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b',
    'binary': 'nova-compute',
    'host': 'c',
    'state': 'up',
}
URL = 'http://nova.test/v2.1'
VERSION = {'OpenStack-API-Version': 'compute 2.68'}
UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'


class ComputeApiTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        auth = token_endpoint.Token(URL, 'token')
        self.api = compute_api.ComputeApi(
            adapter.Adapter(
                session.Session(auth=auth),
                service_type='compute',
                region_name='RegionTwo',
            )
        )
        self.requests = requests_mock.Mocker()
        self.requests.start()
        self.addCleanup(self.requests.stop)

    def _server(self, **kwargs):
        self.requests.get(
            f'{URL}/servers/{UUID}', **{'headers': VERSION, **kwargs}
        )

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
                'itemNotFound': {
                    'code': 404,
                    'message': f'Instance {UUID} could not be found.',
                }
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
        ):
            self._server(**answer)
            self.assertRaises(exception.ComputeApiError, self.api.exists, UUID)
        self.requests.get(
            f'{URL}/servers/{UUID}', exc=requests.exceptions.ConnectTimeout
        )
        self.assertRaises(exception.ComputeApiError, self.api.exists, UUID)

    def test_it_is_asked_in_novas_spelling(self):
        self._server(json={'server': {'id': UUID}})
        for spelling in (UUID.upper(), UUID.replace('-', ''), f'{{{UUID}}}'):
            self.assertTrue(self.api.exists(spelling))

    def test_what_is_no_uuid_is_not_asked_for(self):
        for name in ('', 'detail', '../os-services', f'{UUID}/x'):
            self.assertRaises(exception.ComputeApiError, self.api.exists, name)
        self.assertEqual(0, self.requests.call_count)

    def test_an_answer_in_another_spelling_is_told_as_such(self):
        self._server(json={'server': {'id': UUID.upper()}})
        error = self.assertRaises(
            exception.ComputeApiError, self.api.exists, UUID
        )
        self.assertIn('spells in another way', str(error))

    def test_an_endpoint_without_microversions_is_told_as_such(self):
        self._server(json={'server': {'id': UUID}}, headers={})
        error = self.assertRaises(
            exception.ComputeApiError, self.api.exists, UUID
        )
        self.assertIn("Nova's API v2.1", str(error))

    def _services(self, **kwargs):
        self.requests.get(
            f'{URL}/os-services?binary=nova-compute',
            **{'headers': VERSION, **kwargs},
        )

    def _deleted(self, **kwargs):
        self.requests.get(
            f'{URL}/servers?all_tenants=1&status=deleted&limit=1',
            **{'headers': VERSION, **kwargs},
        )

    def test_who_is_no_administrator_is_told(self):
        self._services(status_code=403, json={'forbidden': {}})
        error = self.assertRaises(exception.ComputeApiError, self.api.check)
        self.assertIn('administrator', str(error))

    def test_who_sees_one_project_is_told(self):
        self._services(json={'services': [SERVICE]})
        for answer in (
            {'status_code': 403, 'json': {'forbidden': {}}},
            {'json': {}},
        ):
            self._deleted(**answer)
            error = self.assertRaises(
                exception.ComputeApiError, self.api.check
            )
            self.assertIn('administrator of all', str(error))

    def test_a_nova_with_computes_passes_the_check(self):
        self._services(
            json={
                'services': [
                    SERVICE,
                    {**SERVICE, 'host': 'd', 'state': 'down'},
                ]
            }
        )
        self._deleted(json={'servers': []})
        self.assertEqual(
            clouds.Cloud(
                f'{URL} (region RegionTwo)',
                (
                    clouds.ComputeService('c', UUID, True),
                    clouds.ComputeService('d', UUID, False),
                ),
            ),
            self.api.check(),
        )

    def test_compute_services_without_sense_are_refused(self):
        for change in (
            {'id': 7},
            {'id': None},
            {'host': ''},
            {'host': 7},
            {'state': 'UP'},
            {'state': None},
            {'binary': 'nova-conductor'},
        ):
            self._services(json={'services': [SERVICE, {**SERVICE, **change}]})
            self._deleted(json={'servers': []})
            error = self.assertRaises(
                exception.ComputeApiError, self.api.check
            )
            self.assertIn('lists a compute service', str(error))


class LoadTest(testtools.TestCase):
    def test_without_credentials_it_is_said_where_to_give_them(self):
        conf = cfg.ConfigOpts()
        conf([])
        error = self.assertRaises(
            exception.InvalidOption, compute_api.load, conf
        )
        self.assertIn('[svirt_nova_api]', str(error))
