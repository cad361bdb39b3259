# SPDX-License-Identifier: Apache-2.0
"""Servers of Nova's API get, keep and give back levels."""

from __future__ import annotations

import contextlib
import os
from unittest import mock

import nova.conf
from nova import context
from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base as nova_base
from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.virt import claims
from tests import samples
from tests.functional.nova import confined
from tests.functional.nova import confined_host

CONF = nova.conf.CONF
_ALL = (
    fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
    | fakelibvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
)
_ALLOCATOR = 'svirt_nova.allocator.sql.sql_allocator.SqlAllocator'
_ACQUIRE = f'{_ALLOCATOR}.acquire'


@contextlib.contextmanager
def _store_away():
    with contextlib.ExitStack() as stack:
        for name in ('acquire', 'get', 'list', 'unclaim', 'give_back'):
            stack.enter_context(
                mock.patch(
                    f'{_ALLOCATOR}.{name}',
                    side_effect=exception.StoreUnreachable('away'),
                )
            )
        yield


class _Base(confined.ConfinedMixin, nova_base.ServersTestBase):
    api_major_version = 'v2.1'
    microversion = 'latest'

    def _domain(self, server, host='compute1'):
        connection = self.computes[host].driver._host.get_connection()
        return connection.lookupByUUIDString(server['id'])

    def _boot(self, **kwargs):
        return self._create_server(networks='none', **kwargs)

    def _fault(self, server):
        return self.api.get_server(server['id'])['fault']['message']


class BootTest(_Base):
    def setUp(self):
        super().setUp()
        self.start_compute()

    def test_each_server_runs_behind_its_own_level(self):
        first, second = self._boot(), self._boot()

        labels = [
            domain_xml.read(self._domain(server).given_xml)
            for server in (first, second)
        ]
        held = [self.allocator.get(server['id']) for server in (first, second)]

        self.assertEqual(
            [a.level for a in held], [label.label.level for label in labels]
        )
        self.assertFalse(held[0].level.is_comparable(held[1].level))
        self.assertTrue(all(label.is_static for label in labels))
        self.assertEqual([{'compute1'}] * 2, [set(a.hosts) for a in held])

    def test_files_carry_the_level_before_the_guest_starts(self):
        seen = {}

        def launch(domain, flags):
            seen.update(self.host_fixture.files.labels)
            return original(domain, flags)

        self.flags(force_config_drive=True)
        original = confined_host.Domain.createWithFlags
        with mock.patch.object(
            confined_host.Domain, 'createWithFlags', launch
        ):
            server = self._boot()

        level = self.allocator.get(server['id']).level
        names = {os.path.basename(path) for path in seen}
        self.assertIn('disk.config', names)
        self.assertIn('disk', names)
        self.assertEqual({level}, {c.level for c in seen.values()})

    def test_the_config_drive_is_behind_the_level_of_its_instance(self):
        self.flags(force_config_drive=True)

        server = self._boot()

        disks = domain_xml.disks(self._domain(server).given_xml)
        drives = [d for d in disks if d.path.endswith('disk.config')]

        self.assertEqual([domain_xml.DiskLabel.OWN], [d.label for d in drives])

    def test_a_deleted_server_gives_its_level_back(self):
        server = self._boot()

        self._delete_server(server)

        allocation = self.allocator.get(server['id'])
        self.assertEqual(types.State.COOLING, allocation.state)
        self.assertEqual(frozenset(), allocation.hosts)

    def test_a_hard_reboot_keeps_level_and_claim(self):
        server = self._boot()
        before = self.allocator.get(server['id'])
        old = self._domain(server)

        with (
            mock.patch(f'{_ALLOCATOR}.unclaim') as unclaim,
            mock.patch(f'{_ALLOCATOR}.give_back') as give_back,
        ):
            self._reboot_server(server, hard=True)

        # It was really rebooted: another domain runs.
        new = self._domain(server)
        self.assertIsNot(old, new)
        self.assertTrue(new.isActive())
        self._wait_for_instance_action_event(
            server, 'reboot', 'compute_reboot_instance', 'success'
        )
        unclaim.assert_not_called()
        give_back.assert_not_called()
        self.assertEqual(before, self.allocator.get(server['id']))
        label = domain_xml.read(new.given_xml)
        self.assertEqual(before.level, label.label.level)

    def test_a_stopped_server_keeps_level_and_claim(self):
        server = self._boot()
        before = self.allocator.get(server['id'])

        server = self._stop_server(server)
        self.assertEqual(before, self.allocator.get(server['id']))
        self._start_server(server)

        self.assertEqual(before, self.allocator.get(server['id']))

    def test_a_rebuilt_server_keeps_its_level(self):
        server = self._boot()
        before = self.allocator.get(server['id'])

        self._rebuild_server(server, '155d900f-4e14-4e4c-a73d-069cbf4541e6')

        after = self.allocator.get(server['id'])
        self.assertEqual(before.level, after.level)
        self.assertEqual(types.State.HELD, after.state)
        self.assertEqual({'compute1'}, set(after.hosts))

    def test_a_suspended_server_resumes_behind_its_level(self):
        server = self._boot()
        before = self.allocator.get(server['id'])

        self._suspend_server(server)
        self.api.post_server_action(server['id'], {'resume': None})
        self._wait_for_state_change(server, 'ACTIVE')

        self.assertEqual(before, self.allocator.get(server['id']))

    def test_the_level_is_remembered_in_the_system_metadata(self):
        server = self._boot()

        level = self.allocator.get(server['id']).level
        record = objects.Instance.get_by_uuid(
            context.get_admin_context(),
            server['id'],
            expected_attrs=['system_metadata'],
        )
        self.assertEqual(str(level), record.system_metadata[claims.LEVEL_KEY])


class FaultTest(_Base):
    """Where there is no level, no guest starts, and the user learns why."""

    def setUp(self):
        super().setUp()
        self.start_compute('compute1')
        self.start_compute('compute2')

    def _assert_nothing_left(self, server):
        for host in ('compute1', 'compute2'):
            connection = self.computes[host].driver._host.get_connection()
            self.assertEqual([], connection.listAllDomains(_ALL))
        held = self.allocator.list(states=frozenset([types.State.HELD]))
        self.assertEqual([], [a for a in held if a.hosts])

    def test_a_full_space_aborts_the_build_on_the_first_host(self):
        with mock.patch(
            _ACQUIRE, side_effect=exception.SpaceFull('no level is free')
        ) as acquire:
            server = self._boot(expected_state='ERROR')

        self.assertIn('no level is free', self._fault(server))
        self.assertEqual(1, acquire.call_count)
        self._assert_nothing_left(server)

    def test_an_unreachable_store_is_named_in_the_fault(self):
        with mock.patch(
            _ACQUIRE,
            side_effect=exception.StoreUnreachable('no answer from store'),
        ):
            server = self._boot(expected_state='ERROR')

        self.assertIn('no answer from store', self._fault(server))
        self._assert_nothing_left(server)

    def test_a_file_that_takes_no_label_stops_the_spawn(self):
        self.host_fixture.files.refused.add('disk')

        server = self._boot(expected_state='ERROR')

        self.assertIn('carries no SELinux labels', self._fault(server))
        self._assert_nothing_left(server)

    def test_a_process_at_another_level_is_stopped(self):
        def launch(domain, flags):
            original(domain, flags)
            domain.process_label = f'{samples.PROCESS_TEXT}:c1,c2,c3'

        original = confined_host.Domain.createWithFlags
        with mock.patch.object(
            confined_host.Domain, 'createWithFlags', launch
        ):
            server = self._boot(expected_state='ERROR')

        self.assertIn('c1.c3', self._fault(server))
        self._assert_nothing_left(server)

    def test_storage_that_drops_the_label_stops_the_spawn(self):
        def launch(domain, flags):
            original(domain, flags)
            self.host_fixture.files.labels.clear()

        original = confined_host.Domain.createWithFlags
        with mock.patch.object(
            confined_host.Domain, 'createWithFlags', launch
        ):
            server = self._boot(expected_state='ERROR')

        self.assertIn('carries no SELinux labels', self._fault(server))
        self._assert_nothing_left(server)

    def test_a_failed_build_can_be_deleted_with_the_store_away(self):
        with _store_away():
            server = self._boot(expected_state='ERROR')
            self._delete_server(server)


class OutageTest(_Base):
    """What a host claims goes on there while the store is away."""

    def setUp(self):
        super().setUp()
        self.start_compute()
        self.server = self._boot()
        self.before = self.allocator.get(self.server['id'])

    def _check(self):
        self.assertEqual(self.before, self.allocator.get(self.server['id']))
        label = domain_xml.read(self._domain(self.server).XMLDesc(0))
        self.assertEqual(self.before.level, label.label.level)
        self.assertTrue(label.is_static)

    def test_a_server_reboots(self):
        with _store_away():
            self._reboot_server(self.server, hard=True)

        self._check()

    def test_a_server_stops_and_starts(self):
        with _store_away():
            self._stop_server(self.server)
            self._start_server(self.server)

        self._check()

    def test_a_server_suspends_and_resumes(self):
        with _store_away():
            self._suspend_server(self.server)
            self._resume_server(self.server)

        self._check()

    def test_a_server_is_rescued_and_unrescued(self):
        os.mkdir(os.path.join(CONF.instances_path, self.server['id']))
        with _store_away():
            self._rescue_server(self.server)
            self._unrescue_server(self.server)

        self._check()

    def test_a_server_is_deleted_and_its_level_comes_free_later(self):
        with _store_away():
            self._delete_server(self.server)
        self.assertEqual(self.before, self.allocator.get(self.server['id']))

        self._reconcile(self.host_fixture.drivers)

        after = self.allocator.get(self.server['id'])
        self.assertIs(types.State.COOLING, after.state)


class ModeTest(_Base):
    def test_enforcing_refuses_a_host_without_selinux(self):
        with mock.patch('selinux.security_getenforce', lambda: 0):
            error = self.assertRaises(
                nova_exception.InternalError, self.start_compute
            )
        self.assertIn('setenforce 1', str(error))

    def test_enforcing_refuses_a_libvirt_without_the_selinux_driver(self):
        with (
            mock.patch(
                'nova.tests.fixtures.libvirt.Connection.getCapabilities',
                lambda connection: '<capabilities><host/></capabilities>',
            ),
            mock.patch.object(libvirt_driver.LibvirtDriver, 'init_host'),
        ):
            error = self.assertRaises(
                nova_exception.InternalError, self.start_compute
            )
        self.assertIn('security_driver', str(error))

    def test_permissive_starts_guests_and_says_that_they_are_not_isolated(
        self,
    ):
        self.flags(mode='permissive', group='svirt')
        self.start_compute()
        self.host_fixture.files.refused.add('disk')

        server = self._boot()

        self.assertIn('NOT isolated', self.stdlog.logger.output)
        self.assertEqual(
            {'compute1'}, set(self.allocator.get(server['id']).hosts)
        )

    def test_permissive_works_on_a_host_without_selinux(self):
        self.flags(mode='permissive', group='svirt')
        with mock.patch('selinux.security_getenforce', lambda: 0):
            self.start_compute()

        server = self._boot()

        self.assertIsNone(domain_xml.read(self._domain(server).given_xml))
        self.allocator.get(server['id'])

    def test_disabled_is_exactly_novas_driver(self):
        self.flags(mode='disabled', group='svirt')
        with (
            mock.patch(
                'svirt_nova.allocator.base.load', side_effect=AssertionError
            ),
            mock.patch('selinux.security_getenforce', lambda: 0),
        ):
            self.start_compute()
            server = self._boot()
            self.assertIsNone(domain_xml.read(self._domain(server).given_xml))
            self._reboot_server(server, hard=True)
            self._delete_server(server)
