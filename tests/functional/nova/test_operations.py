# SPDX-License-Identifier: Apache-2.0
"""Levels and claims through what Nova's own libvirt tests do not do."""

from __future__ import annotations

import os
from unittest import mock

import nova.conf
from nova import exception as nova_exception

from svirt_nova import exception
from tests.functional.nova import confined_host
from tests.functional.nova import two_hosts

CONF = nova.conf.CONF
_ALLOCATOR = 'svirt_nova.allocator.sql.sql_allocator.SqlAllocator'


class ResizeTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self._make_instances_movable()

    def test_a_confirmed_migration_leaves_the_destinations_claim(self):
        server = self._boot()
        self._migrate_server(server)
        self._assert_held(server, 'here', 'there')
        self._assert_runs_at_its_level(server, 'there')

        self._confirm_resize(server)

        self._assert_held(server, 'there')

    def test_a_reverted_migration_leaves_the_sources_claim(self):
        server = self._boot()
        self._migrate_server(server)

        self._revert_resize(server)

        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')

    def test_deleting_a_resized_server_cools_the_level_on_both_hosts(self):
        server = self._boot()
        self._migrate_server(server)

        self._delete_server(server)

        self._assert_cooling(server)

    def test_a_resize_on_one_host_keeps_level_and_claim(self):
        self.flags(allow_resize_to_same_host=True)
        server = self._boot()
        self.api.put_service(self._service('there'), {'status': 'disabled'})

        self._resize_server(server, self._create_flavor(vcpu=1))
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')
        self._confirm_resize(server)

        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')

    def test_a_resize_on_one_host_that_is_reverted_keeps_them_too(self):
        self.flags(allow_resize_to_same_host=True)
        server = self._boot()
        self.api.put_service(self._service('there'), {'status': 'disabled'})

        self._resize_server(server, self._create_flavor(vcpu=1))
        self._revert_resize(server)

        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')

    def test_a_migration_that_does_not_start_leaves_both_claims(self):
        server = self._boot()
        with confined_host.no_domain_starts():
            self.api.post_server_action(
                server['id'],
                {'migrate': None},
                check_response_status=[202, 500],
            )
            self._wait_for_state_change(server, 'ERROR')
            self._wait_for_migration_status(server, ['error'])

        # The disk of the source is kept, and its domain.
        self._assert_held(server, 'here', 'there')
        self.assertIn(server['id'], self._domains('here'))
        self._reconcile_host('here')
        self.assertIn('here', self.allocator.get(server['id']).hosts)


class ShelveTest(two_hosts.TwoHosts):
    def _unshelve_to(self, server, host, state='ACTIVE'):
        self.api.post_server_action(server['id'], {'unshelve': {'host': host}})
        return self._wait_for_state_change(server, state)

    def _offloaded(self):
        server = self._boot()
        self._shelve_server(server)
        self._assert_held(server)
        return server

    def test_an_unshelved_server_has_its_level_on_another_host(self):
        server = self._offloaded()

        self._unshelve_to(server, 'there')

        self._assert_held(server, 'there')
        self._assert_runs_at_its_level(server, 'there')

    def test_the_reaper_retires_a_server_deleted_while_offloaded(self):
        server = self._offloaded()

        self._delete_server(server)

        # No host was told.
        self._assert_held(server)
        self._reap()
        self._assert_cooling(server)

    def test_a_failed_unshelve_leaves_no_claim(self):
        server = self._offloaded()
        with confined_host.no_domain_starts():
            self.api.post_server_action(
                server['id'],
                {'unshelve': {'host': 'there'}},
                check_response_status=[202, 500],
            )
            self._wait_for_instance_action_event(
                server, 'unshelve', 'compute_unshelve_instance', 'error'
            )
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None}
        )

        self._reconcile_host('there')

        self._assert_held(server)


class SpawnTest(two_hosts.TwoHosts):
    def test_a_rescheduled_server_is_claimed_by_its_last_host_alone(self):
        original = confined_host.Domain.createWithFlags
        failures = [nova_exception.NovaException('no start')]

        def launch(domain, flags):
            if failures:
                raise failures.pop()
            return original(domain, flags)

        with mock.patch.object(
            confined_host.Domain, 'createWithFlags', launch
        ):
            server = self._boot(host=None)

        host = self.api.get_server(server['id'])['OS-EXT-SRV-ATTR:host']
        self._assert_held(server, host)
        self._assert_runs_at_its_level(server, host)

    def test_the_level_of_a_build_that_failed_everywhere_is_reaped(self):
        with confined_host.no_domain_starts():
            server = self._boot(host=None, expected_state='ERROR')
        self._assert_held(server)

        self._delete_server(server)

        self._reap()
        self._assert_cooling(server)


class DeleteTest(two_hosts.TwoHosts):
    def test_a_server_deleted_while_its_host_is_down_keeps_its_level(self):
        self.flags(
            running_deleted_instance_timeout=0,
            running_deleted_instance_action='reap',
        )
        server = self._boot()
        self._go_down('here')
        self._delete_server(server)
        self._reap()
        self._assert_held(server, 'here')

        self._come_back('here')
        self._run_task('here', '_cleanup_running_deleted_instances')

        self.assertNotIn(server['id'], self._domains('here'))
        self._assert_cooling(server)

    def test_the_files_alone_are_cleaned_up_after_a_host_returns(self):
        server = self._boot()
        self._go_down('here')
        self._delete_server(server)
        # The host was booted anew, and had no domain defined.
        domain = self._domains('here')[server['id']]
        domain.destroy()
        domain.undefine()

        self._come_back('here')
        self._run_task('here', '_run_pending_deletes')

        self._assert_cooling(server)

    def test_soft_delete_keeps_the_level_until_it_is_reclaimed(self):
        self.flags(reclaim_instance_interval=1)
        server = self._boot()
        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')
        self._assert_held(server, 'here')
        self.api.post_server_action(server['id'], {'restore': {}})
        self._wait_for_state_change(server, 'ACTIVE')
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')

        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')
        with mock.patch(
            'nova.compute.manager.ComputeManager._deleted_old_enough',
            return_value=True,
        ):
            self._run_task('here', '_reclaim_queued_deletes')

        self._assert_cooling(server)

    def test_a_claim_that_could_not_be_dropped_is_dropped_later(self):
        server = self._boot()
        with mock.patch(
            f'{_ALLOCATOR}.give_back',
            side_effect=exception.StoreUnreachable('away'),
        ):
            self._delete_server(server)
        self._assert_held(server, 'here')

        self._reconcile_host('here')

        self._assert_cooling(server)

    def test_a_server_that_its_host_shall_only_stop_keeps_its_level(self):
        """Nova fails at it: it gives power_off its context first."""
        self.flags(
            running_deleted_instance_timeout=0,
            running_deleted_instance_action='shutdown',
        )
        server = self._boot()
        self._go_down('here')
        self._delete_server(server)

        self._come_back('here')
        self._run_task('here', '_cleanup_running_deleted_instances')

        self.assertIn(server['id'], self._domains('here'))
        self._reconcile_host('here')
        self._reap()
        self.assertIn('here', self.allocator.get(server['id']).hosts)

    def test_a_host_that_was_purged_claims_again_when_it_returns(self):
        server = self._boot()
        self._go_down('here')
        self.allocator.unclaim(server['id'], 'here')
        self._assert_held(server)

        self._come_back('here')
        self._reconcile_host('here')

        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')

    def test_a_purged_host_that_returns_gets_back_the_level_of_a_deleted(
        self,
    ):
        server = self._boot()
        self._go_down('here')
        self._delete_server(server)
        self.allocator.unclaim(server['id'], 'here')
        self._reap()
        self._assert_cooling(server)

        self._come_back('here')
        self._reconcile_host('here')

        # Its guest runs: the level is nobody else's before it is gone.
        allocation = self.allocator.get(server['id'])
        self.assertEqual(self.level, allocation.level)
        self.assertEqual({'here'}, set(allocation.hosts))


class RescueTest(two_hosts.TwoHosts):
    def test_a_rescued_server_runs_behind_its_level(self):
        server = self._boot()
        os.mkdir(os.path.join(CONF.instances_path, server['id']))

        self._rescue_server(server)
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')
        self._unrescue_server(server)

        self._assert_held(server, 'here')
