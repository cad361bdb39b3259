# SPDX-License-Identifier: Apache-2.0
"""What Nova's own API answers the reaper, and what it makes of that."""

from __future__ import annotations

import time
import uuid
from typing import Any
from unittest import mock

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from nova import exception as nova_exception
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import policy as policy_fixture

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import compute_api
from svirt_nova.lifecycle import reaper
from tests.functional.nova import two_hosts

OTHER_PROJECT = str(uuid.uuid4())


class ReaperTest(two_hosts.TwoHosts):
    def _servers(
        self,
        user: str = 'admin',
        project: str | None = None,
        url: str | None = None,
    ) -> compute_api.ComputeApi:
        """Nova's API with somebody's credentials.

        :param user: the admin, or any other name
        """
        auth = token_endpoint.Token(url or self.api.base_url, 'token')
        roles = ['reader', 'member'] + ['admin'] * (user == 'admin')
        headers = {
            'X-Auth-User': user,
            'X-User-Id': user,
            'X-Auth-Project-Id': project or self.api.project_id,
            'X-Roles': ','.join(roles),
        }
        return compute_api.ComputeApi(
            adapter.Adapter(
                session.Session(
                    auth=auth,
                    additional_headers=headers,
                    timeout=60,
                ),
                service_type='compute',
            )
        )

    def _reap_really(self, **options: Any) -> None:
        reaper.retire(
            self.allocator,
            reaper.find(
                self.allocator,
                options.pop('servers', None) or self._servers(),
                interval=0,
                sleep=lambda seconds: None,
                **options,
            ),
        )

    def _refuse(self, servers: compute_api.ComputeApi, asked: str) -> str:
        return str(
            self.assertRaises(exception.ComputeApiError, servers.exists, asked)
        )

    def test_administrator_learns_hosts_and_instances(self) -> None:
        server = self._boot()
        servers = self._servers()
        cloud = servers.check()
        self.assertEqual({'here', 'there'}, cloud.hosts)
        self.assertEqual({'here', 'there'}, cloud.hosts_up)
        self.assertEqual(2, len({each.uuid for each in cloud.services}))
        self.assertIn(self.api.base_url, cloud.name)
        self.assertTrue(servers.exists(server['id']))
        self.assertFalse(servers.exists(str(uuid.uuid4())))

    def test_lost_level_is_retired_and_no_other(self) -> None:
        kept = self._boot()
        lost = str(uuid.uuid4())
        self.allocator.acquire(lost, self.api.project_id, 'here')
        self.allocator.unclaim(lost, 'here')
        self._reap_really()
        self.assertIs(types.State.COOLING, self.allocator.get(lost).state)
        self.assertIs(types.State.HELD, self.allocator.get(kept['id']).state)
        self.assertEqual(
            ['here', 'there'],
            [each.name for each in self.allocator.show_cloud().hosts],
        )

    def test_user_of_another_project_is_refused(self) -> None:
        server = self._boot()
        servers = self._servers('somebody', OTHER_PROJECT)
        # In Nova's own words, as for an instance that is gone.
        self.assertFalse(servers.exists(server['id']))
        self.assertRaises(exception.ComputeApiError, servers.check)

    def test_policies_make_no_administrator(self) -> None:
        server = self._boot()
        policy = self.useFixture(policy_fixture.RealPolicyFixture())
        policy.set_rules(
            {
                f'os_compute_api:{name}': '@'
                for name in (
                    'os-services:list',
                    'servers:index',
                    'servers:index:get_all_tenants',
                    'servers:show',
                )
            },
            overwrite=False,
        )
        servers = self._servers('somebody', OTHER_PROJECT)
        self.assertFalse(servers.exists(server['id']))
        error = self.assertRaises(exception.ComputeApiError, servers.check)
        self.assertIn('administrator of all', str(error))

    def test_cell_that_is_down_denies_nothing(self) -> None:
        server = self._boot()
        servers = self._servers()
        with nova_fixtures.DownCellFixture():
            self._refuse(servers, server['id'])
            self.assertRaises(exception.ComputeApiError, servers.check)
        self.assertTrue(servers.exists(server['id']))

    def test_what_nova_misses_at_an_instance_denies_nothing(self) -> None:
        server = self._boot()
        missing = nova_exception.FlavorNotFound(flavor_id='7')
        with mock.patch(
            'nova.api.openstack.compute.views.servers.ViewBuilder.show',
            side_effect=missing,
        ):
            said = self._refuse(self._servers(), server['id'])
        self.assertIn('answered 500', said)

    def test_endpoint_of_the_old_api_is_refused(self) -> None:
        url = self.api.base_url.replace('/v2.1', '/v2')
        said = self._refuse(self._servers(url=url), str(uuid.uuid4()))
        self.assertIn("Nova's API v2.1", said)

    def test_another_path_of_nova_is_refused(self) -> None:
        url = f'{self.api.base_url}/flavors'
        self._refuse(self._servers(url=url), str(uuid.uuid4()))

    def test_soft_deleted_instance_exists(self) -> None:
        self.flags(reclaim_instance_interval=3600)
        server = self._boot()
        self.api.api_delete(f'/servers/{server["id"]}')
        self._wait_for_state_change(server, 'SOFT_DELETED')
        self.assertTrue(self._servers().exists(server['id']))

    def test_shelved_instance_keeps_its_level(self) -> None:
        self.flags(shelved_offload_time=0)
        server = self._boot()
        other = self._boot()
        self._shelve_server(server)
        until = time.monotonic() + 60
        while self.allocator.get(server['id']).hosts:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)
        self._reap_really()
        self.assertIs(types.State.HELD, self.allocator.get(server['id']).state)
        self.assertTrue(self._servers().exists(other['id']))
