# SPDX-License-Identifier: Apache-2.0
"""Snapshots of running guests."""

from __future__ import annotations

from unittest import mock

import fixtures
import testtools
from lxml import etree
from nova import exception as nova_exception
from nova.compute import power_state
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.mcs import levels
from svirt_nova.virt import snapshots
from tests import samples
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import UUID

LEVEL = levels.Level.parse('s0:c1,c2')


class CopyTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.calls = mock.Mock()
        for name in ('get_disk_size', 'create_image', 'extract_snapshot'):
            self._patch(
                f'nova.virt.libvirt.utils.{name}', getattr(self.calls, name)
            )
        self._patch('oslo_utils.fileutils.delete_if_exists', self.calls.delete)
        self._patch('svirt_nova.virt.snapshots.time.sleep', self.calls.sleep)
        self.calls.get_disk_size.return_value = 1 << 30
        self.calls.label.side_effect = lambda path: (
            disk_chains.Link(path, 'raw', '/s', LEVEL),
        )
        self.device = self.calls.guest.get_block_device.return_value
        self.device.is_job_complete.side_effect = [False, True]
        self.calls.image.properties.get.return_value = False

    def _patch(self, name, new):
        self.useFixture(fixtures.MonkeyPatch(name, new))

    def _copy(self):
        snapshots.copy_disk(
            self.calls.driver,
            'request',
            'instance',
            self.calls.guest,
            '/i/u/disk',
            '/s/out',
            source_format='qcow2',
            image_format='qcow2',
            image_meta=self.calls.image,
            label=self.calls.label,
        )

    def _order(self):
        return [call[0] for call in self.calls.mock_calls]

    def test_the_copy_is_raw_and_has_no_header_to_follow(self):
        self._copy()
        self.calls.create_image.assert_called_once_with(
            '/s/out.copy', 'raw', 1 << 30
        )
        self.calls.extract_snapshot.assert_called_once_with(
            '/s/out.copy', 'raw', '/s/out', 'qcow2'
        )
        self.calls.delete.assert_called_once_with('/s/out.copy')

    def test_the_whole_disk_is_copied_into_a_file_that_is_left_alone(self):
        self._copy()
        call = self.device.copy.call_args
        # All that the guest sees, and not the file on top alone.
        self.assertEqual({'reuse_ext': True, 'transient': True}, call.kwargs)
        disk = etree.fromstring(call.args[0])
        self.assertEqual('raw', disk.find('driver').get('type'))
        self.assertEqual('/s/out.copy', disk.find('source').get('file'))
        self.assertEqual(
            ['selinux', 'dac'],
            [each.get('model') for each in disk.find('source')],
        )
        self.assertEqual(0, len(disk.find('backingStore')))

    def test_the_copy_is_labelled_before_qemu_gets_it(self):
        self._copy()
        order = self._order()
        copied = order.index('guest.get_block_device().copy')
        self.assertLess(order.index('create_image'), order.index('label'))
        self.assertLess(order.index('label'), copied)
        self.assertIn(
            'guest.get_block_device().abort_job', order[copied + 1 :]
        )

    def test_the_guest_is_frozen_only_for_the_end_of_the_copy(self):
        self._copy()
        order = self._order()
        frozen = order.index('driver.quiesce')
        self.assertEqual(
            ['guest.get_block_device().abort_job', 'driver.unquiesce'],
            order[frozen + 1 : frozen + 3],
        )
        self.assertLess(
            order.index('guest.get_block_device().is_job_complete'), frozen
        )

    def test_a_guest_that_cannot_be_frozen_is_copied_all_the_same(self):
        error = nova_exception.QemuGuestAgentNotEnabled()
        self.calls.driver._can_quiesce.side_effect = error
        self.calls.driver.quiesce.side_effect = error
        self._copy()
        self.calls.driver.unquiesce.assert_not_called()
        self.calls.extract_snapshot.assert_called_once()

    def test_a_guest_that_must_be_frozen_is_refused(self):
        self.calls.image.properties.get.return_value = True
        self.calls.driver._can_quiesce.side_effect = (
            nova_exception.QemuGuestAgentNotEnabled()
        )
        self.assertRaises(nova_exception.QemuGuestAgentNotEnabled, self._copy)
        self.device.copy.assert_not_called()

    def test_a_copy_that_takes_no_label_is_not_made(self):
        self.calls.label.side_effect = exception.LabelNotApplied('no')
        self.assertRaises(exception.LabelNotApplied, self._copy)
        self.device.copy.assert_not_called()
        self.calls.delete.assert_called_once_with('/s/out.copy')

    def test_a_copy_that_fails_is_ended_and_removed(self):
        self.device.copy.side_effect = ValueError('libvirt')
        self.assertRaises(ValueError, self._copy)
        self.assertEqual(2, self.device.abort_job.call_count)
        self.calls.extract_snapshot.assert_not_called()
        self.calls.delete.assert_called_once_with('/s/out.copy')

    def test_a_file_that_is_libvirts_is_copied_as_nova_would(self):
        self.calls.label.side_effect = lambda path: None
        self._copy()
        xml = self.device.copy.call_args.args[0]
        self.assertNotIn('seclabel', xml)
        self.assertIn('type="raw"', xml)


class LiveSnapshotTest(cloud_case.CloudTestCase):
    """Whoever has taken QEMU over may write the header of its disk."""

    def test_it_follows_no_header(self):
        """Nova's own, which the fake does not let run, reads it."""
        self.api.boot(UUID, ('A',))
        copied = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.snapshots.copy_disk',
                lambda *args, **options: copied.append((args, options)),
            )
        )
        driver = self.driver()
        guest = driver._host.get_guest(self.instance())
        disk = f'/A/instances/{UUID}/disk'
        driver._live_snapshot(
            None, self.instance(), guest, disk, '/s', 'qcow2', 'raw', None
        )
        [(args, options)] = copied
        self.assertEqual((guest, disk, '/s'), args[-3:])
        self.assertEqual('qcow2', options['source_format'])
        # What QEMU writes is the instance's before.
        copy = f'/A/instances/{UUID}/copy'
        self.cloud.files.make(copy)
        [link] = options['label'](copy)
        self.assertEqual('raw', link.format)
        level = str(self.allocator.get(UUID).level)
        self.assertEqual(level, self.label(copy))


class SnapshottedGuestTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.guest = mock.Mock()
        self.labelled = []
        self.level = LEVEL

    def _label(self, present, following):
        self.labelled.append((present, following))
        if self.level == 'tolerated':
            return None
        return (disk_chains.Link(following, 'qcow2', '/m', self.level),)

    def _snapshot(self):
        conf = libvirt_config.LibvirtConfigGuestSnapshot()
        for name, path, kind in (
            ('/m/volume-1', '/m/volume-1.a', 'file'),
            ('vda', None, None),
            ('vdc', 'volume-2.a', 'network'),
        ):
            disk = libvirt_config.LibvirtConfigGuestSnapshotDisk()
            disk.name, disk.source_path, disk.source_type = name, path, kind
            disk.source_protocol = 'netfs'
            disk.source_name = 'x'
            disk.snapshot = 'external' if path else 'no'
            conf.add_disk(disk)
        guest = snapshots.SnapshottedGuest(self.guest, self._label)
        guest.snapshot(conf, reuse_ext=True, quiesce=False)
        call = self.guest.snapshot.call_args
        self.assertEqual({'reuse_ext': True, 'quiesce': False}, call.kwargs)
        return etree.fromstring(call.args[0].to_xml()).findall('disks/disk')

    def test_the_next_file_is_the_guests_and_left_alone(self):
        disks = self._snapshot()
        self.assertEqual([('/m/volume-1', '/m/volume-1.a')], self.labelled)
        self.assertEqual(
            [('selinux', 'no'), ('dac', 'no')],
            [
                (each.get('model'), each.get('relabel'))
                for each in disks[0].find('source')
            ],
        )
        self.assertIsNone(disks[1].find('source'))
        self.assertEqual(0, len(disks[2].findall('source/seclabel')))

    def test_what_is_left_to_libvirt_stays_so(self):
        for level in (None, 'tolerated'):
            self.level = level
            disk = self._snapshot()[0]
            self.assertEqual([], list(disk.find('source')))

    def test_everything_else_is_the_guest_itself(self):
        guest = snapshots.SnapshottedGuest(self.guest, self._label)
        self.assertIs(self.guest.get_xml_desc, guest.get_xml_desc)


class ColdSnapshotTest(cloud_case.CloudTestCase):
    """Nova's tools read the disk of a guest that is off."""

    def _suspend(self, state):
        self.driver()._suspend_guest_for_snapshot(
            None, False, state, self.instance()
        )

    def test_it_is_not_made_beside_a_process_that_says_it_has_ended(self):
        """QEMU has told libvirt so, which waits for its process to end."""
        self.api.boot(UUID, ('A',))
        for state in (power_state.SHUTDOWN, power_state.SUSPENDED):
            error = self.assertRaises(
                nova_exception.InternalError, self._suspend, state
            )
            self.assertIn('Stop the instance first', str(error))

    def test_it_is_made_of_a_guest_that_is_off(self):
        self.api.boot(UUID, ('A',))
        self._suspend(power_state.RUNNING)
        self._suspend(power_state.SHUTDOWN)


class VolumeSnapshotTest(cloud_case.CloudTestCase):
    """A snapshot of a volume that Nova assists."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',), 1)
        [volume] = self.cloud.database.volumes_of(UUID)
        self.volume = volume
        self.path = f'/volumes/hash/{volume}'
        self.following = f'{self.path}.snapshot'
        self.cloud.files.make(self.following)
        self.cloud.files.headers[self.following] = samples.qcow2_header(
            volume, 'raw'
        )
        self.done()

    def _create(self, name=None):
        driver = self.driver()
        driver._volume_snapshot_create(
            None,
            self.instance(),
            driver._host.get_guest(self.instance()),
            self.volume,
            name or f'{self.volume}.snapshot',
        )

    def test_the_next_file_is_labelled_before(self):
        self._create()
        level = str(self.allocator.get(UUID).level)
        self.assertEqual(level, self.label(self.following))
        self.assertEqual(level, self.label(self.path))
        names = self.done(f'after label {self.volume}', 'after libvirt snap')
        self.assertEqual('after libvirt snapshot', names[-1])
        self.assertIn(f'after label {self.volume}.snapshot', names)

    def test_a_next_file_of_another_volume_is_refused(self):
        other = self.cloud.new_volume()
        self.cloud.files.headers[self.following] = samples.qcow2_header(
            other, 'raw'
        )
        self.assertRaises(nova_exception.InternalError, self._create)
        self.assertEqual([], self.done('libvirt snap'))
        self.assertEqual('s0', self.label(f'/volumes/hash/{other}'))

    def test_a_snapshot_is_not_merged_if_a_header_is_forged(self):
        self.cloud.files.headers[self.path] = samples.qcow2_header('/x')
        self.assertRaises(
            nova_exception.InternalError,
            self.driver()._volume_snapshot_delete,
            None,
            self.instance(),
            self.volume,
            'snapshot',
        )
        self.assertEqual([], self.done('libvirt commit'))

    def test_a_header_forged_by_a_guest_that_ends_is_not_followed(self):
        """Nova looks after our check whether the guest still runs."""
        driver = self.driver()
        driver._host.get_guest(self.instance()).poweroff()
        guard = type(driver._extension.guard(self.instance()))
        check = guard.check_volume
        merged = []

        def check_and_forge(*args):
            check(*args)
            self.cloud.files.headers[self.path] = samples.qcow2_header('/x')

        with (
            mock.patch.object(guard, 'check_volume', check_and_forge),
            mock.patch.object(
                libvirt_driver.LibvirtDriver,
                '_rebase_with_qemu_img',
                lambda *args: merged.append(args),
            ),
        ):
            self.assertRaises(
                nova_exception.InternalError,
                driver._volume_snapshot_delete,
                None,
                self.instance(),
                self.volume,
                'snapshot',
            )
        self.assertEqual([], merged)
        # What is no snapshot of a volume is checked elsewhere.
        driver._rebase_with_qemu_img('/disk', None)

    def test_a_snapshot_is_merged_into_a_file_of_the_guest(self):
        self.cloud.files.make(self.path)
        self.driver()._volume_snapshot_delete(
            None, self.instance(), self.volume, 'snapshot'
        )
        self.assertEqual(
            [f'after label {self.volume}', 'after libvirt commit'],
            self.done('after label', 'after libvirt commit'),
        )
