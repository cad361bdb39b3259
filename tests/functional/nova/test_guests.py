# SPDX-License-Identifier: Apache-2.0
"""What is done to a guest where it is leaves it its level."""

from __future__ import annotations

from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from tests.functional.nova import two_hosts


class GuestTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.server = self._boot()

    def _act(self, action, state='ACTIVE', **arguments):
        self.api.post_server_action(
            self.server['id'], {action: arguments or None}
        )
        self._wait_for_server_parameter(
            self.server, {'status': state, 'OS-EXT-STS:task_state': None}
        )

    def _check(self):
        self._reconcile_host('here')
        self._assert_held(self.server, 'here')
        self._assert_runs_at_its_level(self.server, 'here')

    def test_a_paused_server_keeps_its_level(self):
        self._act('pause', 'PAUSED')
        self._check()
        self._act('unpause')
        self._check()

    def test_a_suspended_server_keeps_its_level(self):
        self._suspend_server(self.server)
        self._check()
        self._resume_server(self.server)
        self._check()

    def test_a_soft_reboot_keeps_the_level(self):
        self.flags(wait_soft_reboot_seconds=1, group='libvirt')
        self._act('reboot', type='SOFT')
        self._check()

    def test_another_interface_leaves_the_server_its_level(self):
        self.neutron.create_port({'port': self.neutron.port_2})
        port = self.neutron.port_2['id']
        self._attach_interface(self.server, port)
        self._check()
        self._detach_interface(self.server, port)
        self._check()

    def test_a_volume_leaves_the_server_its_level(self):
        volume = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL
        self._attach_volume(self.server, volume)
        self._check()
        self.api.delete_server_volume(self.server['id'], volume)
        self._wait_for_volume_detach(self.server['id'], volume)
        self._check()

    def test_a_server_that_boots_from_a_volume_has_its_level(self):
        volume = nova_fixtures.CinderFixture.IMAGE_BACKED_VOL
        body = self._build_server(networks='none', image_uuid='')
        body['block_device_mapping_v2'] = [
            {
                'boot_index': 0,
                'uuid': volume,
                'source_type': 'volume',
                'destination_type': 'volume',
            }
        ]
        body['host'] = 'here'
        created = self.api.post_server({'server': body})
        self.server = self._wait_for_state_change(created, 'ACTIVE')
        self.level = self.allocator.get(self.server['id']).level
        self._check()
        self._delete_server(self.server)
        self._assert_cooling(self.server)

    def test_a_server_that_starts_with_its_host_has_its_level(self):
        self.flags(resume_guests_state_on_host_boot=True)
        for domain in self._domains('here').values():
            domain._state = fakelibvirt.VIR_DOMAIN_SHUTOFF
        self.restart_compute_service('here')
        self._wait_for_state_change(self.server, 'ACTIVE')
        self._check()


class AbortTest(base.LibvirtMigrationMixin, two_hosts.TwoHosts):
    """A live migration that is aborted while it runs."""

    CAST_AS_CALL = False

    def setUp(self):
        super().setUp()
        self.src = self.computes['here']
        self.dest = self.computes['there']

    def _migrate_stub(self, domain, destination, params, flags):
        """Leave it running, until it is aborted."""
        connection = self.src.driver._host.get_connection()
        found = connection.lookupByUUIDString(self.server['id'])
        found._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED

    def test_a_failed_arrival_leaves_the_sources_claim(self):
        def abort(domain):
            domain._job_type = fakelibvirt.VIR_DOMAIN_JOB_CANCELLED

        self.host_fixture._patch(
            'nova.tests.fixtures.libvirt.Domain.abortJob', abort
        )
        self.server = self._boot()
        self.api.post_server_action(
            self.server['id'],
            {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        )
        migration = self._wait_for_migration_status(self.server, ['running'])
        held = self.allocator.get(self.server['id'])
        self.assertEqual({'here', 'there'}, held.hosts)

        self.api.api_delete(
            f'/servers/{self.server["id"]}/migrations/{migration["id"]}'
        )
        self._wait_for_migration_status(self.server, ['cancelled'])
        self._wait_for_state_change(self.server, 'ACTIVE')

        # On shared storage Nova does not tell the destination.
        self._reconcile_host('there')
        self._assert_held(self.server, 'here')
        self._assert_runs_at_its_level(self.server, 'here')
