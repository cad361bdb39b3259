# SPDX-License-Identifier: Apache-2.0
"""A compute that asks the allocator service, over oslo.messaging."""

from __future__ import annotations

import uuid

import nova.conf
from nova.tests.functional.libvirt import base

from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from tests.functional.nova import confined

CONF = nova.conf.CONF


class ServiceTest(confined.ConfinedMixin, base.ServersTestBase):
    api_major_version = 'v2.1'
    microversion = 'latest'
    STALE_CLAIMS = {
        'test_without_the_service_servers_reboot_and_none_is_built': 'calls '
        'that were not answered in time reach the service when it is back',
    }

    def setUp(self):
        super().setUp()
        self.flags(allocator='rpc', group='svirt')
        self.flags(
            transport_url='fake:/',
            topic=uuid.uuid4().hex,
            group='svirt_nova_allocator',
        )
        self.servers = []
        self._start_service()
        self.start_compute()
        asking = self.computes['compute1'].driver._extension._allocator
        self.assertIsInstance(asking, client.RpcAllocator)
        self.addCleanup(asking.close)

    def _start_service(self):
        bus = transport.connect(CONF, 'fake:/')
        for endpoint in (
            self._compute_endpoint(),
            endpoints.OperatorEndpoint(self.allocator),
        ):
            each = server.create(
                CONF,
                bus,
                'service',
                endpoint,
                authentication.Authentication(
                    CONF,
                    authentication.keys_of(CONF, self.allocator),
                    endpoint.topic,
                ),
            )
            each.start()
            self.servers.append(each)

    def _compute_endpoint(self):
        return endpoints.ComputeEndpoint(self.allocator)

    def _check_invariants(self):
        if not self.servers:
            self._start_service()
        try:
            super()._check_invariants()
        finally:
            self._stop_service()

    def _stop_service(self):
        while self.servers:
            each = self.servers.pop()
            each.stop()
            each.wait()

    def test_a_server_has_its_level_from_boot_to_deletion(self):
        created = self._create_server(networks='none')
        held = self.allocator.get(created['id'])
        self.assertEqual({'compute1'}, held.hosts)
        self._reboot_server(created, hard=True)
        self._delete_server(created)
        gone = self.allocator.get(created['id'])
        self.assertEqual(held.level, gone.level)
        self.assertIs(types.State.COOLING, gone.state)

    def test_without_the_service_servers_reboot_and_none_is_built(self):
        created = self._create_server(networks='none')
        self._stop_service()
        # Long enough where somebody answers, too long where nobody does.
        self.flags(
            call_timeout=1, call_retries=0, group='svirt_nova_allocator'
        )
        self._reboot_server(created, hard=True)
        refused = self._create_server(networks='none', expected_state='ERROR')
        fault = self.api.get_server(refused['id'])['fault']['message']
        self.assertIn('allocator service', fault)
        CONF.clear_override('call_timeout', 'svirt_nova_allocator')
        self._start_service()
        self._delete_server(created)
        self._delete_server(refused)
