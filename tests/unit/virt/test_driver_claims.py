# SPDX-License-Identifier: Apache-2.0
"""When the driver claims, and when it lets go."""

from __future__ import annotations

import os
from unittest import mock

import fixtures
from nova import exception as nova_exception
from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova import exception
from svirt_nova.host import mounts
from svirt_nova.mcs import levels
from svirt_nova.virt import outages
from tests import samples
from tests.unit.virt import case


class SettleTest(case.DriverTestCase):
    def _cleanup(self):
        self.driver.cleanup('context', self.instance, None)

    def _assert_kept(self):
        self.allocator.unclaim.assert_not_called()
        self.allocator.give_back.assert_not_called()

    def test_a_deletion_gives_the_level_back(self):
        self.instance.task_state = 'deleting'
        self._cleanup()
        self.allocator.give_back.assert_called_once_with(
            'uuid', 'here', case.CLAIM
        )

    def test_leaving_a_host_drops_the_claim_alone(self):
        self.instance.task_state = 'shelving_offloading'
        self._cleanup()
        self.allocator.unclaim.assert_called_once_with(
            'uuid', 'here', case.CLAIM
        )
        self.allocator.give_back.assert_not_called()

    def test_any_directory_of_the_instance_keeps_the_claim(self):
        self.instance.task_state = 'deleting'
        for name in ('uuid', 'uuid_resize', 'uuid_del'):
            path = os.path.join(self.instances, name)
            os.mkdir(path)
            self._cleanup()
            self._assert_kept()
            os.rmdir(path)

    def test_a_domain_keeps_the_claim(self):
        self.instance.task_state = 'deleting'
        self.driver._host.get_guest.side_effect = None
        self._cleanup()
        self._assert_kept()

    def test_a_libvirt_that_does_not_answer_keeps_the_claim(self):
        self.instance.task_state = 'deleting'
        self.driver._host.get_guest.side_effect = nova_exception.InternalError(
            'libvirt is away'
        )
        self._cleanup()
        self._assert_kept()

    def test_a_cleanup_that_failed_keeps_the_claim(self):
        self.instance.task_state = 'deleting'
        self.calls.cleanup.side_effect = OSError('disk')
        self.assertRaises(OSError, self._cleanup)
        self._assert_kept()

    def test_the_destroy_inside_a_hard_reboot_keeps_the_claim(self):
        with self.extension.restarting(self.instance):
            self._cleanup()
        self._assert_kept()

    def test_a_store_that_is_away_does_not_fail_the_deletion(self):
        self.instance.task_state = 'deleting'
        self.allocator.give_back.side_effect = exception.StoreUnreachable(
            'away'
        )
        self._cleanup()

    def test_a_confirmed_resize_drops_the_sources_claim_alone(self):
        self.instance.task_state = 'deleting'
        self.instance.host = 'there'
        self.driver.confirm_migration('context', None, self.instance, None)
        self.allocator.unclaim.assert_called_once_with(
            'uuid', 'here', case.CLAIM
        )
        self.allocator.give_back.assert_not_called()

    def test_files_of_a_deleted_instance_that_are_gone_free_the_level(self):
        self.instance.deleted = True
        self.calls.delete_instance_files.return_value = True
        self.assertTrue(self.driver.delete_instance_files(self.instance))
        self.allocator.give_back.assert_called_once_with(
            'uuid', 'here', case.CLAIM
        )

    def test_files_that_could_not_be_deleted_keep_it(self):
        self.instance.deleted = True
        self.calls.delete_instance_files.return_value = False
        self.assertFalse(self.driver.delete_instance_files(self.instance))
        self._assert_kept()

    def test_what_was_not_asked_does_not_prolong_an_outage(self):
        allocator, host_claims = self.allocator, self.extension.claims
        now = 1000.0
        self.useFixture(
            fixtures.MockPatchObject(
                outages, 'time', mock.Mock(monotonic=lambda: now)
            )
        )
        allocator.unclaim.side_effect = exception.StoreUnreachable('away')
        self.instance.host = 'there'
        self.assertFalse(host_claims.settle(self.instance))
        now += 40
        self.assertFalse(host_claims.settle(self.instance))
        self.assertEqual(1, allocator.unclaim.call_count)

        allocator.unclaim.side_effect = None
        now += 40
        self.assertTrue(host_claims.settle(self.instance))


class GuestFromBeforeTest(case.DriverTestCase):
    """Guests that were started without a level are not cut off."""

    def _prepare(self):
        data = mock.Mock(is_shared_instance_path=True)
        self.driver.pre_live_migration(
            'context', self.instance, {}, [], None, data
        )

    def test_its_live_migration_is_refused(self):
        self.allocator.get.side_effect = exception.UnknownInstance(
            'instance uuid has no level'
        )
        error = self.assertRaises(
            nova_exception.InternalError,
            self._prepare,
        )
        self.assertIn('hard-reboot', str(error))
        self.allocator.acquire.assert_not_called()
        self.calls.pre_live_migration.assert_not_called()

    def test_a_guest_with_a_level_is_claimed_by_the_destination_first(self):
        self._prepare()
        self.allocator.acquire.assert_called_with(
            'uuid', 'project', 'here', None, number=mock.ANY
        )
        self.calls.pre_live_migration.assert_called_once()

    def test_its_memory_image_is_not_started(self):
        guest = mock.Mock()
        guest.get_xml_desc.return_value = samples.DOMAIN % ''
        self.driver._host.get_guest.side_effect = [guest]
        error = self.assertRaises(
            nova_exception.InternalError,
            self.driver.resume,
            'context',
            self.instance,
            None,
        )
        self.assertIn('not started at the level s0:c1,c2', str(error))
        self.calls.resume.assert_not_called()


class AdoptionTest(case.DriverTestCase):
    """What nova-compute does at its start with guests from before."""

    def setUp(self):
        super().setUp()
        self.xml = samples.labelled_domain()
        gone = mock.Mock()
        gone.get_xml_desc.side_effect = libvirt_driver.libvirt.libvirtError(
            'gone'
        )
        guest = mock.Mock()
        guest.get_xml_desc.return_value = self.xml
        self.driver._host.list_guests.return_value = [gone, guest]
        self.useFixture(
            fixtures.MockPatchObject(libvirt_driver.LibvirtDriver, 'init_host')
        )
        for name, new in (
            ('allocator.base.load', lambda conf: self.allocator),
            (
                'virt.confinement.of_host',
                lambda *args: self.confined,
            ),
            ('virt.startup._warn_of_foreign_levels', lambda *args: None),
            ('virt.store_scope.check', lambda *args: None),
        ):
            self.useFixture(fixtures.MonkeyPatch(f'svirt_nova.{name}', new))
        self._flag('adopt_running_guests', True, group='svirt')
        self.log = self.useFixture(fixtures.FakeLogger())

    def test_it_records_the_levels_of_running_guests(self):
        self.driver.init_host('here')
        self.driver._host.list_guests.assert_called_once_with(
            only_running=True
        )
        self.allocator.adopt.assert_called_once_with(
            samples.INSTANCE_UUID, 'p', 'here', levels.Level.parse('s0:c4,c9')
        )

    def test_a_clash_is_told_and_does_not_stop_it(self):
        self.allocator.adopt.side_effect = exception.LevelTaken('in use')
        self.driver.init_host('here')
        self.assertIn(samples.INSTANCE_UUID, self.log.output)
        self.assertIn('hard-reboot', self.log.output)

    def test_a_store_that_is_away_does_not_stop_it(self):
        self.allocator.adopt.side_effect = exception.StoreUnreachable('away')
        self.driver.init_host('here')
        self.assertIn('cannot be reached', self.log.output)

    def test_a_mount_on_which_old_disks_may_come_back_is_told(self):
        for caches_names in (False, True):
            self.useFixture(
                fixtures.MockPatchObject(
                    mounts,
                    'file_system',
                    lambda path, caches=caches_names: mounts.FileSystem(
                        'nfs4', path, caches_names=caches
                    ),
                )
            )
            self.driver.init_host('here')
            self.assertIs(caches_names, 'lookupcache=none' in self.log.output)
        self.assertIn(f'nfs4 at {self.instances}', self.log.output)

    def test_no_level_is_recorded_where_that_is_not_configured(self):
        self._flag('adopt_running_guests', False, group='svirt')
        self.driver.init_host('here')
        self.allocator.adopt.assert_not_called()
