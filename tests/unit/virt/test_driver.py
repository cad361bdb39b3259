# SPDX-License-Identifier: Apache-2.0
"""When the driver labels volumes, drops claims and refuses to go on.

Whole operations are under tests/functional/nova.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from unittest import mock

from cinderclient import exceptions as cinder_exception
import fixtures
from keystoneauth1 import exceptions as ks_exception
from nova import exception as nova_exception
import nova.conf
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.volume import iscsi
from nova.virt.libvirt.volume import nfs
import testtools

from svirt_nova import conf as svirt_conf
from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import seclabel
from svirt_nova import space as spaces
from svirt_nova.allocator import base as allocators
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import driver
from tests.unit import test_adoption
from tests.unit import test_seclabel

CONF = nova.conf.CONF
INSTANCES = spaces.LevelSpace.parse('c0.c9')
LEVEL = levels.Level.parse('s0:c1,c2')
VOLUME = {
    'driver_volume_type': 'nfs',
    'data': {'device_path': '/mnt/hash/volume-1'},
}


class _Base(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_conf.register_opts(CONF)
        self.instances = self.useFixture(fixtures.TempDir()).path
        self._flag('instances_path', self.instances)
        self.driver = driver.SvirtLibvirtDriver.__new__(
            driver.SvirtLibvirtDriver
        )
        self.driver._svirt_host = 'here'
        self.driver._restarting = {}
        self.driver._migrating = {}
        self.driver._allocator = mock.create_autospec(
            allocators.Allocator, instance=True
        )
        self.held(LEVEL)
        self.driver._confinement = confinement.Confinement(
            process=test_seclabel.PROCESS, image=test_seclabel.IMAGE
        )
        self.driver._host = mock.Mock()
        self.driver._volume_api = mock.Mock()
        self.driver._claims = claims.HostClaims(
            self.driver._allocator, 'here', self.driver._host, 600
        )
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.volume_driver = mock.Mock(spec=nfs.LibvirtNFSVolumeDriver)
        self.driver._get_volume_driver = lambda info: self.volume_driver
        self.calls = mock.Mock()
        for name in ('label', 'restore'):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'svirt_nova.files.{name}', getattr(self.calls, name)
                )
            )
        for name in (
            '_connect_volume',
            '_disconnect_volume',
            '_get_volume_config',
            'cleanup',
            'pre_live_migration',
            'live_migration',
            '_live_migration_operation',
            'resume',
            'confirm_migration',
            'delete_instance_files',
        ):
            self.useFixture(
                fixtures.MockPatchObject(
                    libvirt_driver.LibvirtDriver,
                    name,
                    getattr(self.calls, name),
                )
            )
        self.instance = SimpleNamespace(
            uuid='uuid',
            project_id='project',
            host='here',
            deleted=False,
            vm_state='active',
            task_state=None,
            system_metadata={},
        )

    def held(self, own, project=None):
        found = self.driver._allocator.acquire.return_value
        found.level, found.project_level = own, project
        found.levels = allocators.InstanceLevels(own, project)

    def disk_of(self, info, **attributes):
        """What the driver makes of the disk that Nova makes of a volume.

        :returns: its configuration, and how its label is understood
        """
        config = libvirt_config.LibvirtConfigGuestDisk()
        config.source_type = 'file'
        config.source_path = '/mnt/hash/volume-1'
        config.target_dev, config.target_bus = 'vdb', 'virtio'
        for name, value in attributes.items():
            setattr(config, name, value)
        self.calls._get_volume_config.return_value = config
        found = self.driver._get_volume_config(info, {})
        [disk] = seclabel.disks(
            f'<domain><devices>{found.to_xml()}</devices></domain>'
        )
        return found, disk

    def _flag(self, name, value, group=None):
        CONF.set_override(name, value, group=group)
        self.addCleanup(CONF.clear_override, name, group=group)

    def _names(self):
        return [call[0] for call in self.calls.mock_calls]


class VolumeTest(_Base):
    def _connect(self, info=VOLUME):
        self.driver._connect_volume('context', info, self.instance)

    def _disconnect(self, info=VOLUME):
        self.driver._disconnect_volume(
            'context', info, self.instance, encryption=None
        )

    def test_a_file_is_labelled_once_it_is_connected(self):
        self._connect()
        self.assertEqual(['_connect_volume', 'label'], self._names())
        self.calls.label.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', LEVEL
        )

    def test_a_file_is_put_back_while_it_is_still_connected(self):
        self._disconnect()
        self.assertEqual(['restore', '_disconnect_volume'], self._names())
        self.calls.restore.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', []
        )

    def test_a_file_is_put_back_from_what_the_instance_was_given(self):
        part = levels.Level.parse('s0:c3,c4')
        self.held(LEVEL, part)
        self._connect()
        self._disconnect()
        self.calls.restore.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', [LEVEL, part]
        )

    def test_volumes_that_are_no_files_are_left_alone(self):
        self.volume_driver = mock.Mock(spec=iscsi.LibvirtISCSIVolumeDriver)
        self._connect()
        self._disconnect()
        self.assertEqual(
            ['_connect_volume', '_disconnect_volume'], self._names()
        )

    def test_a_multiattach_volume_is_libvirts_where_projects_share_nothing(
        self,
    ):
        self.driver._allocator.space.return_value = INSTANCES
        info = dict(VOLUME, multiattach=True)
        self._connect(info)
        self.assertEqual(['_connect_volume'], self._names())
        config = self.driver._get_volume_config(info, {})
        self.assertIs(self.calls._get_volume_config.return_value, config)

    def test_nothing_is_relabelled_under_a_migrating_guest(self):
        self.instance.task_state = 'migrating'
        self._connect()
        self._disconnect()
        self.assertEqual(
            ['_connect_volume', '_disconnect_volume'], self._names()
        )

    def test_a_volume_whose_instance_lives_elsewhere_keeps_its_label(self):
        self.instance.host = 'there'
        self._disconnect()
        self.assertEqual(['_disconnect_volume'], self._names())

    def test_storage_that_takes_no_label_is_refused_and_disconnected(self):
        self.calls.label.side_effect = exception.LabelNotApplied('no label')
        error = self.assertRaises(nova_exception.InternalError, self._connect)
        self.assertIn('no label', str(error))
        self.assertEqual(
            ['_connect_volume', 'label', '_disconnect_volume'], self._names()
        )

    def test_permissive_attaches_it_all_the_same(self):
        self._flag('mode', 'permissive', group='svirt')
        self.calls.label.side_effect = exception.LabelNotApplied('no label')
        self._connect()
        self.assertEqual(['_connect_volume', 'label'], self._names())

    def test_a_label_that_cannot_be_put_back_does_not_keep_the_volume(self):
        self.calls.restore.side_effect = exception.LabelNotApplied('no')
        self._disconnect()
        self.assertEqual(['restore', '_disconnect_volume'], self._names())


class MultiattachTest(_Base):
    """A volume of a project whose levels share a part."""

    PROJECT = levels.Level.parse('s0:c1')

    def setUp(self):
        super().setUp()
        self.held(LEVEL, self.PROJECT)
        self.driver._volume_api = self.calls.volumes
        self.attachments = [{'instance': 'uuid'}]
        self.calls.volumes.attachment_get_all.return_value = self.attachments
        self.info = dict(VOLUME, multiattach=True, serial='volume-1')

    def _connect(self):
        self.driver._connect_volume('context', self.info, self.instance)

    def _disconnect(self):
        self.driver._disconnect_volume(
            'context', self.info, self.instance, encryption=None
        )

    def _disk(self):
        return self.disk_of(self.info, shareable=True)

    def test_its_file_carries_what_the_project_shares(self):
        self._connect()
        self.calls.label.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', self.PROJECT
        )

    def test_its_disk_is_not_opened_to_all(self):
        self._connect()
        config, disk = self._disk()
        self.assertIs(seclabel.DiskLabel.PROJECT, disk.label)
        self.assertIn(
            str(test_seclabel.IMAGE.at(self.PROJECT)), config.to_xml()
        )
        # Also when it is written twice, as by a guest that is defined.
        self.assertEqual(1, config.to_xml().count('<seclabel'))
        self.assertEqual(
            {'driver_volume_type', 'data', 'multiattach', 'serial'},
            self.info.keys(),
        )

    def test_its_device_is_not_opened_to_all(self):
        self.volume_driver = mock.Mock(spec=iscsi.LibvirtISCSIVolumeDriver)
        self._connect()
        self.calls.label.assert_not_called()
        _, disk = self._disk()
        self.assertIs(seclabel.DiskLabel.PROJECT, disk.label)

    def test_the_last_to_let_go_puts_the_label_back(self):
        for other in (
            {'instance': 'another', 'connection_info': {}},
            {'connection_info': {'instance': 'another'}},
        ):
            self.attachments.append(other)
            self._disconnect()
            self.calls.restore.assert_not_called()
            self.attachments.pop()
        self._disconnect()
        self.calls.restore.assert_called_once()

    def test_a_cinder_that_does_not_answer_leaves_the_label(self):
        for error in (
            nova_exception.VolumeNotFound(volume_id='volume-1'),
            cinder_exception.ClientException(503),
            ks_exception.ConnectFailure('refused'),
        ):
            self.calls.volumes.attachment_get_all.side_effect = error
            self._disconnect()
        self.calls.restore.assert_not_called()
        self.assertEqual(3, self.calls._disconnect_volume.call_count)

    def test_an_instance_without_a_part_of_its_project_is_refused(self):
        self.held(LEVEL)
        self.driver._allocator.space.return_value = spaces.LevelSpace.parse(
            'c10.c19', 2, '', 'c0.c9'
        )
        error = self.assertRaises(nova_exception.InternalError, self._connect)
        self.assertIn('no part', str(error))
        self.calls._disconnect_volume.assert_called_once()
        # Also while the store is away, from what was heard last.
        away = exception.StoreUnreachable('away')
        self.driver._allocator.space.side_effect = away
        self.assertRaises(nova_exception.InternalError, self._connect)

    def test_an_unknown_scheme_is_refused(self):
        self.held(LEVEL)
        self.driver._allocator.space.side_effect = exception.StoreUnreachable(
            'away'
        )
        self.assertRaises(nova_exception.InternalError, self._connect)
        self.calls.label.assert_not_called()

    def test_the_part_is_remembered(self):
        self._connect()
        self.assertEqual(
            str(self.PROJECT),
            self.instance.system_metadata[claims.PROJECT_KEY],
        )
        self.held(LEVEL)
        self.driver._allocator.space.return_value = INSTANCES
        self._connect()
        self.assertNotIn(claims.PROJECT_KEY, self.instance.system_metadata)


class SettleTest(_Base):
    def _cleanup(self):
        self.driver.cleanup('context', self.instance, None)

    def _assert_kept(self):
        self.driver._allocator.unclaim.assert_not_called()
        self.driver._allocator.give_back.assert_not_called()

    def test_a_deletion_gives_the_level_back(self):
        self.instance.task_state = 'deleting'
        self._cleanup()
        self.driver._allocator.give_back.assert_called_once_with(
            'uuid', 'here'
        )

    def test_leaving_a_host_drops_the_claim_alone(self):
        self.instance.task_state = 'shelving_offloading'
        self._cleanup()
        self.driver._allocator.unclaim.assert_called_once_with('uuid', 'here')
        self.driver._allocator.give_back.assert_not_called()

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
        self.driver._restarting['uuid'] = LEVEL, 1
        self._cleanup()
        self._assert_kept()

    def test_a_store_that_is_away_does_not_fail_the_deletion(self):
        self.instance.task_state = 'deleting'
        self.driver._allocator.give_back.side_effect = (
            exception.StoreUnreachable('away')
        )
        self._cleanup()

    def test_a_confirmed_resize_drops_the_sources_claim_alone(self):
        self.instance.task_state = 'deleting'
        self.instance.host = 'there'
        self.driver.confirm_migration('context', None, self.instance, None)
        self.driver._allocator.unclaim.assert_called_once_with('uuid', 'here')
        self.driver._allocator.give_back.assert_not_called()

    def test_files_of_a_deleted_instance_that_are_gone_free_the_level(self):
        self.instance.deleted = True
        self.calls.delete_instance_files.return_value = True
        self.assertTrue(self.driver.delete_instance_files(self.instance))
        self.driver._allocator.give_back.assert_called_once_with(
            'uuid', 'here'
        )

    def test_files_that_could_not_be_deleted_keep_it(self):
        self.instance.deleted = True
        self.calls.delete_instance_files.return_value = False
        self.assertFalse(self.driver.delete_instance_files(self.instance))
        self._assert_kept()


class GuestFromBeforeTest(_Base):
    """Guests that were started without a level are not cut off."""

    def test_its_live_migration_is_refused(self):
        self.driver._allocator.get.side_effect = exception.UnknownInstance(
            'instance uuid has no level'
        )
        error = self.assertRaises(
            nova_exception.InternalError,
            self.driver.pre_live_migration,
            'context',
            self.instance,
        )
        self.assertIn('hard-reboot', str(error))
        self.driver._allocator.acquire.assert_not_called()
        self.calls.pre_live_migration.assert_not_called()

    def test_a_guest_with_a_level_is_claimed_by_the_destination_first(self):
        self.driver.pre_live_migration('context', self.instance)
        self.driver._allocator.acquire.assert_called_once_with(
            'uuid', 'project', 'here'
        )
        self.calls.pre_live_migration.assert_called_once()

    def test_its_memory_image_is_not_started(self):
        guest = mock.Mock()
        guest.get_xml_desc.return_value = test_seclabel.DOMAIN % ''
        self.driver._host.get_guest.side_effect = [guest]
        error = self.assertRaises(
            nova_exception.InternalError,
            self.driver.resume,
            'context',
            self.instance,
            None,
        )
        self.assertIn('started before', str(error))
        self.calls.resume.assert_not_called()


class LiveMigrationTest(_Base):
    def setUp(self):
        super().setUp()
        held = self.driver._allocator.get.return_value
        held.level, held.hosts = LEVEL, {'here', 'there'}
        held.levels = allocators.InstanceLevels(LEVEL, None)
        self.guest = mock.Mock()
        self.running(LEVEL)
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = self.guest

    def running(self, level):
        self.guest.get_xml_desc.return_value = seclabel.confine(
            test_seclabel.DOMAIN % '',
            test_seclabel.PROCESS.at(level),
            test_seclabel.IMAGE.at(level),
        )

    def _migrate(self):
        self.driver.live_migration(
            'context',
            self.instance,
            'there',
            None,
            self.calls.recover,
            migrate_data='data',
        )

    def _assert_refused(self):
        self._migrate()
        self.calls.live_migration.assert_not_called()
        self.calls.recover.assert_called_once_with(
            'context', self.instance, 'there', migrate_data='data'
        )

    def test_a_guest_moves_to_a_host_that_claimed_it(self):
        self._migrate()
        self.calls.live_migration.assert_called_once()
        self.calls.recover.assert_not_called()

    def test_a_host_that_did_not_claim_it_is_refused(self):
        self.driver._allocator.get.return_value.hosts = {'here'}
        self._assert_refused()

    def test_a_guest_at_another_level_than_its_own_is_refused(self):
        self.running(levels.Level.parse('s0:c5,c6'))
        self._assert_refused()

    def test_a_store_that_is_away_is_refused(self):
        self.driver._allocator.get.side_effect = exception.StoreUnreachable(
            'away'
        )
        self._assert_refused()

    def test_permissive_lets_it_go_as_nova_would(self):
        self._flag('mode', 'permissive', group='svirt')
        self.driver._allocator.get.return_value.hosts = {'here'}

        def operate(*args, **kwargs):
            self.driver._live_migration_operation(
                'context',
                self.instance,
                'there',
                False,
                'data',
                self.guest,
                [],
            )

        self.calls.live_migration.side_effect = operate
        self._migrate()
        passed = self.calls._live_migration_operation.call_args.args
        self.assertIs(self.guest, passed[5])

    def test_the_destinations_xml_carries_the_level(self):
        def operate(*args, **kwargs):
            self.driver._live_migration_operation(
                'context',
                self.instance,
                'there',
                False,
                'data',
                self.guest,
                [],
            )
            guest = self.calls._live_migration_operation.call_args.args[5]
            guest.migrate(
                'uri', flags=1, destination_xml=test_seclabel.DOMAIN % ''
            )

        self.calls.live_migration.side_effect = operate
        self._migrate()

        arguments = self.guest.migrate.call_args
        self.assertEqual(('uri',), arguments.args)
        xml = arguments.kwargs['destination_xml']
        self.assertEqual(LEVEL, seclabel.read(xml).label.level)
        self.assertIn(
            seclabel.DiskLabel.OWN,
            [d.label for d in seclabel.disks(xml) if d.target == 'vdb'],
        )
        self.assertEqual({}, self.driver._migrating)


class AdoptionTest(_Base):
    """What nova-compute does at its start with guests from before."""

    def setUp(self):
        super().setUp()
        self.xml = test_adoption._domain()
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
        self.allocator = self.driver._allocator
        for name, new in (
            ('allocator.base.load', lambda conf: self.allocator),
            (
                'virt.confinement.of_host',
                lambda *args: self.driver._confinement,
            ),
            ('virt.confinement.warn_of_strangers', lambda *args: None),
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
            test_adoption.UUID, 'p', 'here', levels.Level.parse('s0:c4,c9')
        )

    def test_a_clash_is_told_and_does_not_stop_it(self):
        self.allocator.adopt.side_effect = exception.LevelTaken('in use')
        self.driver.init_host('here')
        self.assertIn(test_adoption.UUID, self.log.output)
        self.assertIn('hard-reboot', self.log.output)

    def test_nor_does_a_store_that_is_away(self):
        self.allocator.adopt.side_effect = exception.StoreUnreachable('away')
        self.driver.init_host('here')
        self.assertIn('cannot be reached', self.log.output)

    def test_only_where_it_is_configured(self):
        self._flag('adopt_running_guests', False, group='svirt')
        self.driver.init_host('here')
        self.allocator.adopt.assert_not_called()


class RestartTest(_Base):
    """Starts that make no new domain, and what must come before one."""

    def setUp(self):
        super().setUp()
        for name in ('_soft_reboot', 'destroy', '_suspend_guest_for_snapshot'):
            self.useFixture(
                fixtures.MockPatchObject(
                    libvirt_driver.LibvirtDriver,
                    name,
                    getattr(self.calls, name),
                )
            )
        self.guest = mock.Mock()
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = self.guest
        self.defined('static', LEVEL)

    def defined(self, kind, level):
        context = test_seclabel.PROCESS.at(level)
        self.guest.get_xml_desc.return_value = (
            f'<domain><seclabel type="{kind}" model="selinux">'
            f'<label>{context}</label></seclabel></domain>'
        )

    def test_a_soft_reboot_starts_what_is_defined_at_the_level(self):
        self.runs_at(LEVEL)
        self.assertTrue(self.driver._soft_reboot(self.instance))
        self.assertEqual(['_soft_reboot'], self._names())
        self.guest.poweroff.assert_not_called()

    def test_what_a_soft_reboot_started_at_another_level_is_stopped(self):
        self.runs_at(levels.Level.parse('s0:c1,c3'))
        self.assertRaises(
            nova_exception.InternalError,
            self.driver._soft_reboot,
            self.instance,
        )
        self.guest.poweroff.assert_called_once_with()

    def test_a_soft_reboot_that_does_not_succeed_is_not_looked_at(self):
        self.calls._soft_reboot.return_value = False
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.guest._domain.securityLabel.assert_not_called()

    def runs_at(self, level):
        """What is running; the definition stays."""
        defined = self.guest.get_xml_desc.return_value
        process = test_seclabel.PROCESS.at(level)
        running = (
            f'<domain><seclabel type="static" model="selinux">'
            f'<label>{process}</label>'
            f'<imagelabel>{test_seclabel.IMAGE.at(level)}</imagelabel>'
            f'</seclabel></domain>'
        )
        self.guest.get_xml_desc.side_effect = lambda dump_inactive=False: (
            defined if dump_inactive else running
        )
        self.guest._domain.securityLabel.return_value = (str(process), True)

    def test_a_soft_reboot_of_a_guest_from_before_becomes_a_hard_one(self):
        self.defined('dynamic', LEVEL)
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.assertEqual([], self._names())

    def test_a_soft_reboot_at_anothers_level_becomes_a_hard_one(self):
        self.defined('static', levels.Level.parse('s0:c1,c3'))
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.assertEqual([], self._names())

    def test_the_memory_of_a_guest_from_before_is_not_saved_for_a_snapshot(
        self,
    ):
        self.defined('dynamic', LEVEL)
        suspend = self.driver._suspend_guest_for_snapshot
        running = 1
        self.assertRaises(
            nova_exception.InternalError,
            suspend,
            'context',
            False,
            running,
            self.instance,
        )
        self.assertEqual([], self._names())
        # A live snapshot saves none.
        suspend('context', True, running, self.instance)
        self.assertEqual(['_suspend_guest_for_snapshot'], self._names())

    def test_a_resume_claims_before_the_memory_can_be_lost(self):
        self.driver._allocator.acquire.side_effect = exception.StoreUnusable(
            'broken'
        )
        self.assertRaises(
            nova_exception.InternalError,
            self.driver.resume,
            'context',
            self.instance,
        )
        self.assertEqual([], self._names())

    def test_a_suspended_guest_without_a_domain_is_nova_s_to_make(self):
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.driver.resume('context', self.instance)
        self.assertEqual(['resume'], self._names())

    def test_a_rebuild_without_a_level_destroys_nothing(self):
        self.instance.task_state = 'rebuilding'
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.driver._allocator.acquire.side_effect = (
            exception.StoreUnreachable('away')
        )
        self.assertRaises(
            nova_exception.InternalError,
            self.driver.destroy,
            'context',
            self.instance,
            [],
        )
        self.assertEqual([], self._names())

    def test_what_was_evacuated_is_destroyed_while_the_store_is_away(self):
        self.instance.task_state = 'rebuilding'
        self.instance.host = 'there'
        self.driver._allocator.acquire.side_effect = (
            exception.StoreUnreachable('away')
        )
        self.driver.destroy('context', self.instance, [])
        self.assertEqual(['destroy'], self._names())

    def test_two_restarts_at_once_keep_the_claim_until_both_are_over(self):
        first = self.driver._claimed_before(self.instance)
        second = self.driver._claimed_before(self.instance)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        self.assertIn('uuid', self.driver._restarting)
        second.__exit__(None, None, None)
        self.assertEqual({}, self.driver._restarting)

    def test_a_read_only_volume_is_not_opened_to_all(self):
        info = {**VOLUME, 'data': {**VOLUME['data'], 'access_mode': 'ro'}}
        self.driver._connect_volume('context', info, self.instance)
        found, disk = self.disk_of(info, readonly=True)
        self.assertIs(seclabel.DiskLabel.OWN, disk.label)
        self.assertIn(str(LEVEL), found.to_xml())


class StaleClaimTest(_Base):
    """A claim on what is not here is not always stale."""

    def setUp(self):
        super().setUp()
        self.instance.host = 'there'
        self.migrations = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.objects.Instance.get_by_uuid',
                lambda cls, context, uuid: self.instance,
            )
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.objects.migration.MigrationList.get_by_filters',
                lambda cls, context, filters: self.migrations,
            )
        )
        self.settled = self.useFixture(
            fixtures.MockPatchObject(claims.HostClaims, 'settle')
        ).mock

    def drop(self):
        self.driver._claims._drop_stale('uuid')
        return self.settled.called

    def test_of_an_instance_that_is_elsewhere(self):
        self.assertTrue(self.drop())

    def test_of_an_instance_that_lives_here(self):
        self.instance.host = 'here'
        self.assertFalse(self.drop())

    def test_of_a_deleted_instance(self):
        self.instance.host = 'here'
        self.instance.deleted = True
        self.assertTrue(self.drop())

    def test_while_a_migration_names_this_host(self):
        for status in ('running', 'finished', 'confirming'):
            self.migrations = [SimpleNamespace(status=status)]
            self.assertFalse(self.drop())

    def test_after_a_migration_that_named_this_host(self):
        self.migrations = [
            SimpleNamespace(status='confirmed'),
            SimpleNamespace(status='error'),
        ]
        self.assertTrue(self.drop())
