# SPDX-License-Identifier: Apache-2.0
"""The claims of a host are compared with what the host has."""

from __future__ import annotations

from unittest import mock

import fixtures
import testtools
from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import rules
from svirt_nova.virt import reconcile
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID

GRACE = 600


class _Case(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level

    def reconcile(self, host='A', grace=0):
        with self.cloud.processes.on(host):
            reconciler = self.driver(host)._extension.reconciler
            reconciler._stale = rules.StaleClaims(grace)
            reconciler.reconcile()

    def forget(self, host='A'):
        """Take from a host all that it has."""
        self.cloud.hosts[host].put(UUID, None)
        self.cloud.storage.remove(f'/{host}/instances/{UUID}')


class MissingClaimTest(_Case):
    def test_a_domain_without_a_claim_is_claimed(self):
        self.allocator.unclaim(UUID, 'A')
        self.reconcile()
        self.assertEqual({'A'}, self.claimants())
        self.assertIn(f'something of instance {UUID}', self.log.output)

    def test_a_directory_without_a_claim_is_claimed(self):
        for suffix in ('', '_resize', '_del'):
            self.allocator.unclaim(UUID, 'A')
            self.forget()
            self.cloud.storage.make_directory(f'/A/instances/{UUID}{suffix}')
            self.reconcile()
            self.assertEqual({'A'}, self.claimants(), suffix)
            self.cloud.storage.remove(f'/A/instances/{UUID}{suffix}')

    def test_a_retired_level_of_what_is_here_is_taken_back(self):
        self.allocator.give_back(UUID, 'A')
        self.reconcile()
        self.assertEqual({'A'}, self.claimants())
        self.assertIs(types.State.HELD, self.allocator.get(UUID).state)

    def test_instance_that_too_many_claim_keeps_no_other_from_its_claim(self):
        """Somebody makes up hosts."""
        self.api.boot(OTHER, ('A',))
        for uuid in (UUID, OTHER):
            self.allocator.unclaim(uuid, 'A')
        project = self.allocator.get(UUID).project_id
        for number in range(types.MOST_CLAIMS):
            self.allocator.acquire(UUID, project, f'evil{number}')
        self.reconcile()
        self.assertEqual({'A'}, self.allocator.get(OTHER).hosts)
        self.assertNotIn('A', self.claimants())
        self.assertIn(f'instance {UUID}, and cannot claim', self.log.output)

    def test_what_is_claimed_is_not_claimed_again(self):
        self.done()
        self.reconcile()
        self.assertEqual([], self.done('acquire', 'adopt', 'unclaim'))

    def _lose(self):
        """The store is restored from before the instance was built."""
        del self.levels._store.allocations[self.level]

    def test_a_level_that_the_store_lost_is_recorded_again(self):
        self._lose()
        self.reconcile()
        found = self.allocator.get(UUID)
        self.assertEqual(self.level, found.level)
        self.assertEqual({'A'}, found.hosts)
        self.assertIn('did not know the level', self.log.output)

    def test_a_level_that_libvirt_drew_is_not_recorded(self):
        self._lose()
        live = self.record().live.replace('static', 'dynamic')
        self.redefine('A', live=live)
        self.reconcile()
        self.assertRaises(exception.UnknownInstance, self.allocator.get, UUID)

    def test_a_level_that_another_has_by_now_is_told(self):
        self._lose()
        self.allocator.adopt(OTHER, 'project', 'B', self.level)
        self.reconcile()
        self.assertIn('another instance may get it', self.log.output)
        self.assertRaises(exception.UnknownInstance, self.allocator.get, UUID)

    def test_a_level_of_a_deleted_instance_is_told_and_not_recorded(self):
        self._lose()
        self.instance().destroy()
        self.reconcile()
        self.assertIn('another instance may get it', self.log.output)
        self.assertRaises(exception.UnknownInstance, self.allocator.get, UUID)

    def test_a_directory_of_an_unknown_instance_is_left_alone(self):
        self.cloud.storage.make_directory(f'/A/instances/{OTHER}')
        self.reconcile()
        self.assertRaises(exception.UnknownInstance, self.allocator.get, OTHER)


class StaleClaimTest(_Case):
    """B claims the instance, and has nothing of it."""

    def setUp(self):
        super().setUp()
        self.driver('B')
        self.allocator.acquire(UUID, 'project', 'B')

    def _check(self, *hosts):
        self.reconcile('B')
        self.assertEqual(set(hosts), self.claimants())

    def test_a_claim_of_a_host_that_has_nothing_is_dropped(self):
        self._check('A')
        self.assertIs(types.State.HELD, self.allocator.get(UUID).state)

    def test_a_claim_must_be_stale_for_the_grace_time(self):
        with self.cloud.processes.on('B'):
            reconciler = self.driver('B')._extension.reconciler
            reconciler._stale = rules.StaleClaims(GRACE)
            for seconds, hosts in (
                (0, {'A', 'B'}),
                (GRACE - 1, {'A', 'B'}),
                (1, {'A'}),
            ):
                self.cloud.now += seconds
                reconciler.reconcile()
                self.assertEqual(hosts, self.claimants(), seconds)

    def test_a_claim_on_an_instance_that_is_worked_on_stays(self):
        instance = self.instance()
        instance.task_state = 'migrating'
        instance.save()
        self._check('A', 'B')

    def test_a_claim_of_the_instances_host_stays(self):
        instance = self.instance()
        instance.host = 'B'
        instance.save()
        self._check('A', 'B')

    def test_a_claim_on_a_deleted_instance_gives_the_level_back(self):
        self.instance().destroy()
        self.forget()
        self.allocator.unclaim(UUID, 'A')
        self.reconcile('B')
        self.assertIs(types.State.COOLING, self.allocator.get(UUID).state)

    def test_a_claim_on_an_instance_that_the_cell_lost_is_dropped(self):
        """It may live in another cell, so that its level stays."""
        instance = self.instance()
        instance.unknown_to = ['B']
        instance.save()
        self._check('A')
        self.assertIs(types.State.HELD, self.allocator.get(UUID).state)
        self.assertIn('this cell does not know', self.log.output)

    def _migrate(self, status, source='A', dest='B'):
        self.cloud.database.migrate(
            UUID,
            migration_type='migration',
            source_compute=source,
            dest_compute=dest,
            status=status,
        )

    def test_a_claim_stays_while_a_migration_names_the_host(self):
        for number, (source, dest) in enumerate([('A', 'B'), ('B', 'A')]):
            self._migrate('running', source, dest)
            self._check('A', 'B')
            [found] = self.cloud.database.migrations(id=f'{number:06}')
            self.cloud.database.set_status(found, 'completed')
        self._check('A')

    def test_a_migration_between_other_hosts_does_not_keep_a_claim(self):
        self._migrate('running', 'A', 'C')
        self._check('A')

    def test_an_instance_whose_lock_is_held_is_looked_at_later(self):
        with self.cloud.compute('B').locked(UUID):
            self._check('A', 'B')
        self._check('A')

    def test_a_claim_that_cannot_be_dropped_stays(self):
        self.cloud.faults.next.extend(['none', 'away'])
        self._check('A', 'B')

    def test_a_store_that_is_away_is_an_error(self):
        self.cloud.faults.is_away = True
        self.assertRaises(exception.StoreUnreachable, self.reconcile, 'B')


class ResourcesTest(_Case):
    def test_a_host_reconciles_where_it_reports_its_resources(self):
        self.allocator.unclaim(UUID, 'A')
        self.cloud.restart('A')
        self.assertEqual({'A'}, self.claimants())

    def test_a_header_that_nova_cannot_read_does_not_stop_it(self):
        """A QEMU that was taken over writes one into its own disk.

        Nova adds up the sizes of all disks (LibvirtDriver.
        _get_disk_over_committed_size_total), and fails at the first that
        qemu-img does not know.
        """

        def fail(*args):
            raise nova_exception.InvalidDiskInfo(reason='qemu-img failed')

        driver = self.driver()
        driver._extension._schedule = mock.Mock()
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.driver.LibvirtDriver'
                '.get_available_resource',
                fail,
            )
        )
        self.assertRaises(
            nova_exception.InvalidDiskInfo,
            driver.get_available_resource,
            'A',
        )
        driver._extension._schedule.run_if_due.assert_called_once()


class ScheduleTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.now = 1000.0
        clock = mock.patch.object(
            reconcile, 'time', mock.Mock(monotonic=lambda: self.now)
        )
        clock.start()
        self.addCleanup(clock.stop)
        self.reconciler = mock.Mock()

    def _make(self, interval):
        self.schedule = reconcile.Schedule(
            self.reconciler.reconcile, interval, GRACE
        )

    def _runs_after(self, seconds):
        self.now += seconds
        before = self.reconciler.reconcile.call_count
        self.schedule.run_if_due()
        return self.reconciler.reconcile.call_count - before

    def test_it_runs_at_once_and_then_at_every_interval(self):
        self._make(60)
        self.assertEqual(
            [1, 0, 0, 1, 0, 1],
            [self._runs_after(each) for each in (0, 0, 59, 1, 59, 100)],
        )

    def test_without_an_interval_it_runs_twice(self):
        """The first finds out what may be stale, the second that it is."""
        self._make(0)
        self.assertEqual(
            [1, 0, 0, 1, 0, 0],
            [
                self._runs_after(each)
                for each in (0, 1, GRACE - 1, 1, GRACE + 1, 10 * GRACE)
            ],
        )

    def test_no_failure_reaches_nova(self):
        self._make(60)
        for error in (
            exception.StoreUnreachable('away'),
            nova_exception.InternalError('libvirt'),
            reconcile.oslo_messaging.MessagingTimeout('conductor'),
            OSError('disk'),
        ):
            self.reconciler.reconcile.side_effect = error
            self.assertEqual(1, self._runs_after(60))

    def test_a_mistake_is_not_hidden(self):
        self._make(60)
        self.reconciler.reconcile.side_effect = TypeError
        self.assertRaises(TypeError, self.schedule.run_if_due)
