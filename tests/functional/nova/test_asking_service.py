# SPDX-License-Identifier: Apache-2.0
"""A service that asks Nova's own API, rather than believe a compute."""

from __future__ import annotations

import uuid
from typing import Any

import nova.conf
from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import admission
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.lifecycle import compute_api
from svirt_nova.lifecycle import dropped_claims
from tests.functional.nova import test_service

CONF = nova.conf.CONF


class AskingServiceTest(test_service.ServiceTest):
    """The tests of the service, with credentials for Nova."""

    def setUp(self) -> None:
        # Nova's API runs once the fixtures of Nova do.
        self._admin: compute_api.ComputeApi | None = None
        super().setUp()

    def _compute_endpoint(self) -> endpoints.ComputeEndpoint:
        return endpoints.ComputeEndpoint(
            self.allocator,
            retires=False,
            admits=admission.Admission(self.allocator, self._servers(), 30.0),
        )

    def _servers(self) -> compute_api.ComputeApi:
        """Nova's API with the credentials of an administrator."""
        if self._admin is None:
            headers = {
                'X-Auth-User': 'admin',
                'X-User-Id': 'admin',
                'X-Auth-Project-Id': self.api.project_id,
                'X-Roles': 'admin,member,reader',
            }
            auth = token_endpoint.Token(self.api.base_url, 'token')
            self._admin = compute_api.ComputeApi(
                adapter.Adapter(
                    session.Session(
                        auth=auth, additional_headers=headers, timeout=60
                    ),
                    service_type='compute',
                )
            )
        return self._admin

    def test_a_server_has_its_level_from_boot_to_deletion(self) -> None:
        stays = self._create_server(networks='none')
        created = self._create_server(networks='none')
        held = self.allocator.get(created['id'])
        self.assertEqual({'compute1'}, held.hosts)
        now = [0.0]

        def sleep(seconds: float) -> None:
            now[0] += seconds

        dropped = dropped_claims.DroppedClaims(
            self.allocator, self._servers(), clock=lambda: now[0], sleep=sleep
        )
        dropped.look()
        self._reboot_server(created, hard=True)
        self._delete_server(created)
        gone = self.allocator.get(created['id'])
        self.assertEqual(frozenset(), gone.hosts)
        self.assertIs(types.State.HELD, gone.state)
        for _ in range(3):
            dropped.look()
            sleep(2)
        gone = self.allocator.get(created['id'])
        self.assertEqual(held.level, gone.level)
        self.assertIs(types.State.COOLING, gone.state)
        kept = self.allocator.get(stays['id'])
        self.assertIs(types.State.HELD, kept.state)

    def test_made_up_instance_gets_no_level(self) -> None:
        created = self._create_server(networks='none')
        found = self._servers().find(created['id'])
        assert found is not None
        self.assertEqual(self.api.project_id, found.project_id)
        self.assertEqual('compute1', found.host)
        asking: Any = self.computes['compute1'].driver._extension._allocator
        for instance, project in (
            (str(uuid.uuid4()), self.api.project_id),
            (created['id'], 'another'),
        ):
            self.assertRaises(
                exception.NotAllowed,
                asking.acquire,
                instance,
                project,
                'compute1',
            )
        self.assertEqual(1, len(self.allocator.list()))
