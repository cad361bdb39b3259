# SPDX-License-Identifier: Apache-2.0
"""What the driver does to volumes, and when."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

from cinderclient import exceptions as cinder_exception
from keystoneauth1 import exceptions as ks_exception
from nova import exception as nova_exception
from nova.virt import images
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.volume import iscsi

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import claims
from tests import samples
from tests.unit.virt import case


class VolumeTest(case.DriverTestCase):
    def _connect(self, info=case.VOLUME):
        self.driver._connect_volume('context', info, self.instance)

    def _disconnect(self, info=case.VOLUME):
        self.driver._disconnect_volume(
            'context', info, self.instance, encryption=None
        )

    def test_a_file_is_labelled_once_it_is_connected(self):
        self._connect()
        self.assertEqual(['_connect_volume', 'label'], self._names())
        self.calls.label.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', case.LEVEL
        )

    def test_the_size_of_an_encrypted_volume_is_read_in_its_format(self):
        """The guest can write the volume, and root would guess otherwise."""
        found = SimpleNamespace(
            format_specific={'data': {'payload-offset': 100}}
        )
        device = mock.Mock()
        data = {'data': {'device_path': '/dev/sdx'}}
        name = '_resize_attached_encrypted_volume'
        with (
            mock.patch.object(
                images, 'privileged_qemu_img_info', return_value=found
            ) as info,
            mock.patch.object(libvirt_driver.LibvirtDriver, name) as novas,
        ):
            for provider in ('luks', 'plain'):
                self.driver._resize_attached_encrypted_volume(
                    None,
                    1000,
                    device,
                    self.instance,
                    data,
                    {'provider': provider},
                )
        info.assert_called_once_with('/dev/sdx', format='luks')
        device.resize.assert_called_once_with(900)
        novas.assert_called_once()

    def test_a_file_is_put_back_while_it_is_still_connected(self):
        self._disconnect()
        self.assertEqual(['restore', '_disconnect_volume'], self._names())
        self.calls.restore.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', set()
        )

    def test_a_file_is_put_back_after_a_snapshot_that_nova_assisted(self):
        """Nova stores the connection anew then, without its path."""
        path = '/mnt/hash/volume-1'
        self.volume_driver._get_device_path.return_value = path
        data = {'export': 'server:/share', 'name': 'volume-1'}
        self._disconnect({'driver_volume_type': 'nfs', 'data': data})
        self.calls.restore.assert_called_once_with('/mnt/hash', path, set())

    def test_a_file_is_put_back_from_what_the_instance_was_given(self):
        part = levels.Level.parse('s0:c3,c4')
        self.held(case.LEVEL, part)
        self._connect()
        self._disconnect()
        self.calls.restore.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', {case.LEVEL, part}
        )

    def test_a_file_of_an_adopted_guest_is_put_back_from_the_guests_level(
        self,
    ):
        guest = mock.Mock()
        process = samples.PROCESS.at(case.LEVEL)
        guest.get_xml_desc.return_value = (
            f'<domain><seclabel type="dynamic" model="selinux">'
            f'<label>{process}</label></seclabel></domain>'
        )
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = guest
        self._disconnect()
        self.calls.restore.assert_called_once_with(
            '/mnt/hash', '/mnt/hash/volume-1', {case.LEVEL}
        )

    def test_an_outage_is_waited_for_once(self):
        space = self.allocator.space
        space.return_value = case.INSTANCES
        info = dict(case.VOLUME, multiattach=True)
        self._connect(info)
        space.side_effect = exception.StoreUnreachable('away')
        space.reset_mock()
        self._connect(info)
        self.extension.claims.settle(self.instance)
        self.assertEqual(1, space.call_count)
        self.allocator.unclaim.assert_not_called()
        self.allocator.give_back.assert_not_called()

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
        self.allocator.space.return_value = case.INSTANCES
        info = dict(case.VOLUME, multiattach=True)
        self._connect(info)
        self.assertEqual(['_connect_volume'], self._names())
        config, disk = self.disk_of(info, shareable=True)
        self.assertIs(domain_xml.DiskLabel.SHARED, disk.label)
        # But what it is made of is not.
        self.assertIn('<backingStore/>', config.to_xml())

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

    def test_a_volume_whose_instance_is_being_evacuated_keeps_its_label(self):
        self.migrations.return_value = [SimpleNamespace(status='accepted')]
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


class MultiattachTest(case.DriverTestCase):
    """A volume of a project whose levels share a part."""

    PROJECT = levels.Level.parse('s0:c1')

    def setUp(self):
        super().setUp()
        self.held(case.LEVEL, self.PROJECT)
        self.driver._volume_api = self.calls.volumes
        self.attachments = [{'instance': 'uuid'}]
        self.calls.volumes.attachment_get_all.return_value = self.attachments
        self.info = dict(case.VOLUME, multiattach=True, serial='volume-1')

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
        self.assertIs(domain_xml.DiskLabel.PROJECT, disk.label)
        # Also when it is written twice, as by a guest that is defined.
        for _ in range(2):
            self.assertEqual(2, config.to_xml().count('relabel="no"'))
            self.assertEqual(1, config.to_xml().count('<backingStore/>'))
        self.assertEqual(
            {'driver_volume_type', 'data', 'multiattach', 'serial'},
            self.info.keys(),
        )

    def test_its_device_is_not_opened_to_all(self):
        self.volume_driver = mock.Mock(spec=iscsi.LibvirtISCSIVolumeDriver)
        self._connect()
        self.calls.label.assert_not_called()
        _, disk = self._disk()
        self.assertIs(domain_xml.DiskLabel.PROJECT, disk.label)

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
        self.held(case.LEVEL)
        self.allocator.space.return_value = spaces.LevelSpace.parse(
            'c10.c19', 2, '', 'c0.c9'
        )
        error = self.assertRaises(nova_exception.InternalError, self._connect)
        self.assertIn('no part', str(error))
        self.calls._disconnect_volume.assert_called_once()
        # Also while the store is away, from what was heard last.
        away = exception.StoreUnreachable('away')
        self.allocator.space.side_effect = away
        self.assertRaises(nova_exception.InternalError, self._connect)

    def test_an_unknown_scheme_is_refused(self):
        self.held(case.LEVEL)
        self.allocator.space.side_effect = exception.StoreUnreachable('away')
        self.assertRaises(nova_exception.InternalError, self._connect)
        self.calls.label.assert_not_called()

    def test_the_part_is_remembered(self):
        self._connect()
        self.assertEqual(
            str(self.PROJECT),
            self.instance.system_metadata[claims.PROJECT_KEY],
        )
        self.held(case.LEVEL)
        self.allocator.space.return_value = case.INSTANCES
        self._connect()
        self.assertNotIn(claims.PROJECT_KEY, self.instance.system_metadata)
