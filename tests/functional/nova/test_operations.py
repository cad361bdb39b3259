# SPDX-License-Identifier: Apache-2.0
"""Levels and claims through what Nova's own libvirt tests do not do."""

from __future__ import annotations

import os
from unittest import mock

import nova.conf
from nova import context
from nova import exception as nova_exception
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from svirt_nova import exception
from svirt_nova import lifecycle
from svirt_nova import seclabel
from svirt_nova.allocator import base as allocators
from tests.functional.nova import confined

CONF = nova.conf.CONF
_ALL = (fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        | fakelibvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE)
_ALLOCATOR = 'svirt_nova.allocator.sql.driver.SqlAllocator'


class _Base(confined.ConfinedMixin, base.ServersTestBase):
    api_major_version = 'v2.1'
    microversion = 'latest'
    ADMIN_API = True

    def setUp(self):
        super().setUp()
        # Nova compares the instance's host with the one in its
        # configuration, which is that of the last to start.
        self.start_compute('there')
        self.start_compute('here')

    def _boot(self, host='here', **kwargs):
        server = self._create_server(
            networks='none', host=host, **kwargs)
        self.level = self.allocator.get(server['id']).level
        return server

    def _domains(self, host):
        connection = self.computes[host].driver._host.get_connection()
        return {d.UUIDString(): d for d in connection.listAllDomains(_ALL)}

    def _assert_held(self, server, *hosts):
        """The level is the first, and these hosts alone claim it."""
        held = self.allocator.get(server['id'])
        self.assertEqual(self.level, held.level)
        self.assertIs(allocators.State.HELD, held.state)
        self.assertEqual(set(hosts), set(held.hosts))

    def _assert_runs_at_its_level(self, server, host):
        label = seclabel.read(self._domains(host)[server['id']].XMLDesc(0))
        self.assertEqual(self.level, label.label.level)
        self.assertTrue(label.is_static)

    def _assert_cooling(self, server):
        allocation = self.allocator.get(server['id'])
        self.assertEqual(self.level, allocation.level)
        self.assertIs(allocators.State.COOLING, allocation.state)

    def _reconcile_host(self, host):
        claims = self.computes[host].driver._claims
        claims._stale = lifecycle.StaleClaims(0)
        claims.reconcile()

    def _run_task(self, host, name):
        getattr(self.computes[host].manager, name)(
            context.get_admin_context())

    def _service(self, host):
        return self.api.get_services(
            host=host, binary='nova-compute')[0]['id']

    def _force_down(self, host, is_down):
        self.api.put_service_force_down(self._service(host), is_down)

    def _go_down(self, host):
        self.computes[host].stop()
        self._force_down(host, True)

    def _come_back(self, host):
        self.restart_compute_service(host)
        self._force_down(host, False)


class ResizeTest(_Base):

    def setUp(self):
        super().setUp()

        def power_off(driver, context, instance, *args, **kwargs):
            driver._destroy(instance)
            return '{}'

        for name, new in (
            ('migrate_disk_and_power_off', power_off),
            ('_is_path_shared_with', lambda *args: False),
        ):
            self.host_fixture._patch(
                f'nova.virt.libvirt.driver.LibvirtDriver.{name}', new)

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
        self.api.put_service(
            self._service('there'), {'status': 'disabled'})

        self._resize_server(server, self._create_flavor(vcpu=1))
        self._assert_held(server, 'here')
        self._confirm_resize(server)

        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')


class ShelveTest(_Base):

    def _unshelve_to(self, server, host, state='ACTIVE'):
        self.api.post_server_action(
            server['id'], {'unshelve': {'host': host}})
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
        with mock.patch.object(
            confined.Domain, 'createWithFlags',
            side_effect=nova_exception.NovaException('no start')
        ):
            self.api.post_server_action(
                server['id'], {'unshelve': {'host': 'there'}},
                check_response_status=[202, 500])
            self._wait_for_instance_action_event(
                server, 'unshelve', 'compute_unshelve_instance', 'error')
        self._wait_for_server_parameter(
            server, {'OS-EXT-STS:task_state': None})

        self._reconcile_host('there')

        self._assert_held(server)


class SpawnTest(_Base):

    def test_a_rescheduled_server_is_claimed_by_its_last_host_alone(self):
        original = confined.Domain.createWithFlags
        failures = [nova_exception.NovaException('no start')]

        def launch(domain, flags):
            if failures:
                raise failures.pop()
            return original(domain, flags)

        with mock.patch.object(confined.Domain, 'createWithFlags', launch):
            server = self._boot(host=None)

        host = self.api.get_server(server['id'])['OS-EXT-SRV-ATTR:host']
        self._assert_held(server, host)
        self._assert_runs_at_its_level(server, host)

    def test_the_level_of_a_build_that_failed_everywhere_is_reaped(self):
        with mock.patch.object(
            confined.Domain, 'createWithFlags',
            side_effect=nova_exception.NovaException('no start')
        ):
            server = self._boot(host=None, expected_state='ERROR')
        self._assert_held(server)

        self._delete_server(server)

        self._reap()
        self._assert_cooling(server)


class DeleteTest(_Base):

    def test_a_server_deleted_while_its_host_is_down_keeps_its_level(self):
        self.flags(running_deleted_instance_timeout=0,
                   running_deleted_instance_action='reap')
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
        self._domains('here')[server['id']].undefine()

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
            return_value=True
        ):
            self._run_task('here', '_reclaim_queued_deletes')

        self._assert_cooling(server)

    def test_a_claim_that_could_not_be_dropped_is_dropped_later(self):
        server = self._boot()
        with mock.patch(
            f'{_ALLOCATOR}.give_back',
            side_effect=exception.StoreUnreachable('away')
        ):
            self._delete_server(server)
        self._assert_held(server, 'here')

        self._reconcile_host('here')

        self._assert_cooling(server)


class RescueTest(_Base):

    def test_a_rescued_server_runs_behind_its_level(self):
        server = self._boot()
        os.mkdir(os.path.join(CONF.instances_path, server['id']))

        self._rescue_server(server)
        self._assert_held(server, 'here')
        self._assert_runs_at_its_level(server, 'here')
        self._unrescue_server(server)

        self._assert_held(server, 'here')


class EvacuateTest(_Base):

    def setUp(self):
        super().setUp()
        self.host_fixture._patch(
            'nova.virt.libvirt.driver.LibvirtDriver.instance_on_disk',
            lambda driver, instance: True)

    def _evacuated(self):
        server = self._boot()
        self._go_down('here')
        server = self._evacuate_server(
            server, expected_host='there', expected_state='SHUTOFF')
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
        self.assertIs(allocators.State.RETIRED, allocation.state)
        self.assertEqual({'here'}, set(allocation.hosts))

        self._come_back('here')

        self._assert_cooling(server)


class LiveMigrationTest(base.LibvirtMigrationMixin, _Base):

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
            self.allocator.get(self.server['id']).hosts)

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
        with mock.patch(
            'svirt_nova.virt.driver.SvirtLibvirtDriver._level',
        ):
            self._live_migrate(
                self.server, migration_expected_state='failed')

        self.assertFalse(self.migrate_stub_ran)
        self._assert_held(self.server, 'here')
