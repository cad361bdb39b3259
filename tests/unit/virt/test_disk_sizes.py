# SPDX-License-Identifier: Apache-2.0
"""What disks take and stand on, as far as Nova looks at it regularly.

Files and qemu-img are real.
"""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
from types import SimpleNamespace
from unittest import mock

import fixtures
from nova import exception as nova_exception
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import imagecache

from svirt_nova.virt import disk_sizes
from svirt_nova.virt import driver as svirt_driver
from svirt_nova.virt import extension
from svirt_nova.virt import image_cache
from tests.unit.virt import image_case
from tests.unit.virt.image_case import SIZE

_ASK_NOVA = libvirt_driver.LibvirtDriver._get_instance_disk_info_from_config


def _disk(path, image_format='qcow2', target='vda', source='file'):
    found = libvirt_config.LibvirtConfigGuestDisk()
    found.source_type = source
    found.source_path = str(path)
    found.driver_format = image_format
    found.target_dev = target
    return found


def _guest(*devices):
    return SimpleNamespace(name='guest', os_type='hvm', devices=[*devices])


def _driver():
    return mock.Mock(spec=libvirt_driver.LibvirtDriver)


class _Case(image_case.ImageTestCase):
    def _make_disk(self, size='10M'):
        self._make(
            'qcow2', '-b', str(self.base), '-F', 'raw', str(self.disk), size
        )

    def _make_waiting_disk(self):
        """Have a QEMU write what names a file that makes its reader wait."""
        os.mkfifo(self.root / 'pipe')
        self.disk.write_text(
            '# Disk DescriptorFile\nversion=1\nCID=1\n'
            'parentCID=ffffffff\ncreateType="monolithicFlat"\n'
            f'RW 2048 FLAT "{self.root / "pipe"}" 0\n'
        )


class SizesTest(_Case):
    def _info(self, *devices, block_device_info=None):
        return disk_sizes.of_config(
            _guest(*devices),
            block_device_info,
            lambda *args: _ASK_NOVA(_driver(), *args),
        )

    def test_it_says_what_nova_says(self):
        self._make_disk()
        flat = self.directory / 'disk.config'
        flat.write_bytes(bytes(4096))
        devices = (_disk(self.disk), _disk(flat, 'raw', 'vdb'))
        found = self._info(*devices)
        novas = _ASK_NOVA(_driver(), _guest(*devices), None)
        by_path = {each['path']: each for each in novas}
        self.assertEqual(by_path, {each['path']: each for each in found})
        self.assertEqual(10 << 20, by_path[str(self.disk)]['virt_disk_size'])
        self.assertEqual(
            self.base.name, by_path[str(self.disk)]['backing_file']
        )

    def test_a_disk_that_stands_alone_names_nothing(self):
        self._make('qcow2', str(self.disk), '1M')
        [found] = self._info(_disk(self.disk))
        self.assertIsNone(found['backing_file'])
        self.assertEqual(1 << 20, found['virt_disk_size'])

    def test_no_tool_waits_for_what_a_header_names(self):
        self._make_waiting_disk()
        with mock.patch('nova.virt.images.qemu_img_info') as info:
            error = self.assertRaises(
                nova_exception.DiskNotFound, self._info, _disk(self.disk)
            )
        self.assertEqual([], info.mock_calls)
        self.assertIn('does not begin like a qcow2 file', str(error))

    def test_a_disk_that_is_gone_is_not_found(self):
        self.assertRaises(
            nova_exception.DiskNotFound, self._info, _disk(self.disk)
        )

    def test_no_tool_reads_the_volume_of_a_deleted_instance(self):
        """Nova lists it no longer, and its guest may run on."""
        elsewhere = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        volume = elsewhere / 'volume-1'
        volume.write_text('# Disk DescriptorFile\nversion=1\n')
        with mock.patch('nova.virt.images.qemu_img_info') as info:
            self.assertRaises(
                nova_exception.DiskNotFound, self._info, _disk(volume)
            )
        self.assertEqual([], info.mock_calls)
        self._make('qcow2', str(volume), '1M')
        [found] = self._info(_disk(volume))
        self.assertEqual(1 << 20, found['virt_disk_size'])

    def test_a_size_that_no_disk_has_is_not_believed(self):
        for size in (2**64 - 512, (1 << 50) + 512):
            self._make_disk()
            with self.disk.open('r+b') as file:
                file.seek(24)
                file.write(struct.pack('>Q', size))
            error = self.assertRaises(
                nova_exception.DiskNotFound, self._info, _disk(self.disk)
            )
            self.assertIn(str(size), str(error))

    def test_sizes_do_not_overflow_novas_database(self):
        log = self.useFixture(fixtures.FakeLogger())
        driver = svirt_driver.SvirtLibvirtDriver.__new__(
            svirt_driver.SvirtLibvirtDriver
        )
        driver._extension = extension.Extension()
        for free, expected in (
            (-17179868183, -(2**31)),
            (-(2**31), -(2**31)),
            (7, 7),
            (None, None),
        ):
            found = {'disk_available_least': free, 'vcpus': 2}
            with mock.patch.object(
                libvirt_driver.LibvirtDriver,
                'get_available_resource',
                return_value=found,
            ):
                got = driver.get_available_resource('here')
            self.assertEqual(
                {'disk_available_least': expected, 'vcpus': 2}, got
            )
        self.assertEqual(1, log.output.count('17179868183'))

    def test_volumes_are_left_to_nova(self):
        """It leaves them out."""
        self._make_disk()
        devices = (
            _disk(self.disk),
            _disk('/dev/x', 'raw', 'vdc', 'block'),
            SimpleNamespace(root_name='interface'),
        )
        asked = []

        def ask_nova(config, block_device_info):
            asked.extend(config.devices)
            return []

        mapping = {
            'block_device_mapping': [{'mount_device': '/dev/vda'}],
        }
        self.assertEqual(
            [], disk_sizes.of_config(_guest(*devices), mapping, ask_nova)
        )
        self.assertEqual([*devices], asked)


class CacheTest(_Case):
    def setUp(self):
        super().setUp()
        self.distrusts = True
        self.manager = image_cache.ImageCacheManager(lambda: self.distrusts)
        self.manager.instance_names = {'uuid', 'another'}
        self.manager.unexplained_images = [str(self.base), 'unknown']

    def test_the_images_below_disks_are_in_use(self):
        self._make_disk()
        self.assertEqual([str(self.base)], self.manager._list_backing_images())
        self.assertEqual(['unknown'], self.manager.unexplained_images)
        novas = imagecache.ImageCacheManager()
        novas.instance_names = self.manager.instance_names
        self.assertEqual([str(self.base)], novas._list_backing_images())

    def test_no_tool_waits_for_what_a_header_names(self):
        self._make_waiting_disk()
        with mock.patch('nova.virt.images.qemu_img_info') as info:
            self.assertEqual([], self.manager._list_backing_images())
        self.assertEqual([], info.mock_calls)

    def test_a_header_that_is_forged_keeps_no_image(self):
        """One guest must not keep the images of others."""
        log = self.useFixture(fixtures.FakeLogger())
        data = self.root / 'data'
        self._make('qcow2', '-o', f'data_file={data}', str(self.disk), '1M')
        self.assertEqual([], self.manager._list_backing_images())
        self.assertIn('data file', log.output)

    def test_a_header_that_cannot_be_read_keeps_all_images(self):
        victim = self.root / 'elsewhere'
        victim.write_bytes(bytes(SIZE))
        self.disk.symlink_to(victim)
        with mock.patch(
            'svirt_nova.host.file_labels.read_header',
            side_effect=image_cache.exception.UnsafeFile('a link'),
        ):
            self.assertRaises(
                nova_exception.InvalidDiskInfo,
                self.manager._list_backing_images,
            )

    def test_nova_looks_by_itself_where_the_driver_is_disabled(self):
        self.distrusts = False
        self._make_disk()
        with mock.patch(
            'svirt_nova.host.file_labels.read_header'
        ) as read_header:
            self.assertEqual(
                [str(self.base)], self.manager._list_backing_images()
            )
        self.assertEqual([], read_header.mock_calls)

    def test_the_tool_of_nova_would_wait(self):
        """Else the tests above prove nothing."""
        self._make_waiting_disk()
        self.assertRaises(
            subprocess.TimeoutExpired,
            subprocess.run,
            ['qemu-img', 'info', str(self.disk)],
            timeout=3,
            capture_output=True,
        )
