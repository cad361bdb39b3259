# SPDX-License-Identifier: Apache-2.0
"""Evacuation and live migration: the claim goes with the guest."""

from __future__ import annotations

from unittest import mock

from nova import context
from nova import objects
from nova.tests.functional.libvirt import base

from svirt_nova.allocator import types
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.virt import extension
from tests import samples
from tests.functional.nova import confined_host
from tests.functional.nova import two_hosts


class EvacuateTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.host_fixture._patch(
            'nova.virt.libvirt.driver.LibvirtDriver.instance_on_disk',
            lambda driver, instance: True,
        )

    def _evacuated(self):
        server = self._boot()
        self._go_down('here')
        server = self._evacuate_server(
            server, expected_host='there', expected_state='SHUTOFF'
        )
        self._assert_held(server, 'here', 'there')
        return server

    def test_the_source_drops_its_claim_when_it_is_back(self):
        server = self._evacuated()

        self._come_back('here')

        self.assertNotIn(server['id'], self._domains('here'))
        self._assert_held(server, 'there')

    def test_the_source_keeps_the_level_of_a_deleted_server(self):
        server = self._evacuated()
        self._delete_server(server)
        allocation = self.allocator.get(server['id'])
        self.assertIs(types.State.RETIRED, allocation.state)
        self.assertEqual({'here'}, set(allocation.hosts))

        self._come_back('here')

        self._assert_cooling(server)

    def test_a_failed_evacuation_leaves_the_sources_claim(self):
        server = self._boot()
        self._go_down('here')
        with confined_host.no_domain_starts():
            self.api.post_server_action(
                server['id'],
                {'evacuate': {}},
                check_response_status=[200, 500],
            )
            self._wait_for_migration_status(server, ['failed'])
            self._wait_for_server_parameter(
                server, {'status': 'ERROR', 'OS-EXT-STS:task_state': None}
            )

        # Nova tells the destination nothing.
        self._reconcile_host('there')
        self._assert_held(server, 'here')
        self._come_back('here')
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')


class LiveMigrationTest(base.LibvirtMigrationMixin, two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.src = self.computes['here']
        self.dest = self.computes['there']
        self.arriving = lambda: None
        self.fails = False

    def _migrate_stub(self, domain, destination, params, flags):
        self.arriving()
        if self.fails:
            domain.fail_job()
            return
        super()._migrate_stub(domain, destination, params, flags)
        # As VIR_MIGRATE_UNDEFINE_SOURCE asks.
        domain.destroy()
        domain.undefine()

    def test_the_claim_moves_with_the_guest(self):
        self.server = self._boot()
        seen = []
        self.arriving = lambda: seen.append(
            self.allocator.get(self.server['id']).hosts
        )

        self._live_migrate(self.server)

        self.assertEqual([{'here', 'there'}], [set(h) for h in seen])
        self._assert_runs_at_its_level(self.server, 'there')
        self._assert_held(self.server, 'there')

    def test_a_rolled_back_migration_leaves_the_sources_claim(self):
        self.server = self._boot()
        self.fails = True

        self._live_migrate(self.server, migration_expected_state='failed')

        # On shared storage Nova does not tell the destination.
        self._reconcile_host('there')
        self._assert_held(self.server, 'here')
        self._assert_runs_at_its_level(self.server, 'here')

    def test_a_migration_that_begins_at_the_drop_keeps_its_claim(self):
        """The destination drops the claim that a failed one has left.

        Its lock keeps Nova from the whole of the next migration, but not the
        driver from what is first done there.
        """
        self.server = self._boot()
        self.fails = True
        self._live_migrate(self.server, migration_expected_state='failed')
        self._assert_held(self.server, 'here', 'there')
        unclaim = sql_allocator.SqlAllocator.unclaim
        late = []

        def hold_back(allocator, uuid, host, *arguments):
            if host == 'there' and not late:
                late.append((allocator, uuid, host, *arguments))
                self.dest.driver._extension.claims.claim(
                    objects.Instance.get_by_uuid(
                        context.get_admin_context(),
                        uuid,
                        expected_attrs=['system_metadata'],
                    )
                )
            return unclaim(allocator, uuid, host, *arguments)

        with mock.patch.object(
            sql_allocator.SqlAllocator, 'unclaim', hold_back
        ):
            self._reconcile_host('there')

        self._assert_held(self.server, 'here', 'there')
        # The drop comes once more.
        [drop] = late
        unclaim(*drop)
        self._assert_held(self.server, 'here', 'there')
        # This one has not begun either.
        self._reconcile_host('there')
        self._assert_held(self.server, 'here')

    def test_a_destination_that_is_told_of_a_rollback_drops_its_claim(self):
        self.host_fixture._patch(
            'nova.virt.libvirt.driver.LibvirtDriver'
            '._check_shared_storage_test_file',
            lambda *args: False,
        )
        self.server = self._boot()
        self.fails = True

        self._live_migrate(self.server, migration_expected_state='failed')

        self._assert_held(self.server, 'here')
        self._assert_runs_at_its_level(self.server, 'here')

    def test_deleting_a_server_that_migrates_cools_its_level(self):
        self.server = self._boot()

        def delete():
            self.api.delete_server(self.server['id'])
            self._wait_until_deleted(self.server)

        self.arriving = delete
        self.fails = True
        self.api.post_server_action(
            self.server['id'],
            {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        )
        self._wait_until_deleted(self.server)

        self._run_task('there', '_cleanup_incomplete_migrations')
        self._reconcile_host('there')

        self._assert_cooling(self.server)

    def test_restarting_the_destination_keeps_its_claim(self):
        self.server = self._boot()

        def restart():
            self.dest = self.restart_compute_service('there')
            self._reconcile_host('there')
            claimed.append(self.allocator.get(self.server['id']).hosts)

        claimed = []
        self.arriving = restart

        self._live_migrate(self.server)

        self.assertEqual([{'here', 'there'}], [set(h) for h in claimed])
        self._assert_held(self.server, 'there')

    def test_a_destination_without_a_claim_gets_nothing(self):
        self.server = self._boot()
        with mock.patch('svirt_nova.virt.extension.Claiming.guard_arrival'):
            self._live_migrate(self.server, migration_expected_state='failed')

        self.assertFalse(self.migrate_stub_ran)
        self._assert_held(self.server, 'here')

    def _check_refused_arrival(self):
        self.api.post_server_action(
            self.server['id'],
            {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        )
        self._wait_for_server_parameter(
            self.server,
            {
                'status': 'ERROR',
                'OS-EXT-STS:task_state': None,
                'OS-EXT-SRV-ATTR:host': 'there',
            },
        )
        self.assertTrue(self.migrate_stub_ran)
        domain = self._domains('there').get(self.server['id'])
        self.assertFalse(domain is not None and domain.isActive())

    def test_a_guest_that_arrives_without_a_label_is_stopped(self):
        """As from a source with Nova's own driver, or in mode disabled."""
        self.server = self._boot()
        self.src.driver._extension = extension.Extension()
        self._domains('here')[self.server['id']].seclabel = None
        self._check_refused_arrival()

    def test_a_guest_that_arrives_where_nothing_enforces_is_stopped(self):
        self.server = self._boot()

        def stop_enforcing():
            self.host_fixture.kernel.enforces = 0

        self.arriving = stop_enforcing
        self._check_refused_arrival()
        # So that the rest of the cloud works.
        self.host_fixture.kernel.enforces = 1

    def test_a_guest_that_runs_otherwise_than_nova_had_it_is_stopped(self):
        self.flags(on_violation='stop', group='svirt')
        self.server = self._boot()
        domain = self._domains('here')[self.server['id']]
        domain.process_label = f'{samples.PROCESS_TEXT}:c5,c6'
        self.src.driver._extension.running_guests.check()
        self.assertFalse(domain.isActive())
