# SPDX-License-Identifier: Apache-2.0
"""Nova's image backends do not follow what a guest has written.

Files, qemu-img and Nova's backends are real.
"""

from __future__ import annotations

import hashlib
import pathlib
import subprocess
from types import SimpleNamespace

import fixtures
import nova.conf
import testtools
from nova.virt.libvirt import imagebackend

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.virt import image_backends
from svirt_nova.virt import own_disks

CONF = nova.conf.CONF
SECRET = b'SECRET OF SOMEBODY ELSE'
SIZE = 1 << 20


def _read_header(root, path):
    with open(path, 'rb') as file:
        return file.read(disk_chains.HEADER_SIZE)


class _Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        CONF.set_override('instances_path', str(self.root))
        self.addCleanup(CONF.clear_override, 'instances_path')
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read_header', _read_header
            )
        )
        # Nova changes the times of a file of the cache as root.
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.virt.libvirt.imagebackend._update_utime_ignore_eacces',
                lambda path: None,
            )
        )
        self.instance = SimpleNamespace(
            uuid='uuid',
            image_ref='image',
            vm_state='active',
            task_state=None,
            system_metadata={},
        )
        self.directory = self.root / 'uuid'
        self.directory.mkdir()
        cache = self.root / '_base'
        cache.mkdir()
        (self.root / 'locks').mkdir()
        self.base = cache / hashlib.sha1(b'image').hexdigest()
        self.base.write_bytes(b'IMAGE'.ljust(SIZE, b'\0'))
        self.victim = self.root / 'victim'
        self.victim.write_bytes(SECRET.ljust(SIZE, b'\0'))
        self.disk = self.directory / 'disk'
        self.target = self.root / 'snapshot'
        self.checks = 0

    def _check(self, instance, path, image_format):
        self.checks += 1
        if own_disks.is_own(instance, path):
            own_disks.header_of(instance, path, image_format, None)

    def _backend(self, use_cow=True):
        return image_backends.Backend(use_cow, self._check)

    def _image(self, kind='qcow2'):
        return self._backend().by_name(self.instance, 'disk', kind)

    def _make(self, *options):
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', *options],
            check=True,
            timeout=60,
        )

    def _forge(self):
        self._make(
            'qcow2', '-b', str(self.victim), '-F', 'raw', str(self.disk)
        )

    def _forge_data_file(self):
        self._make(
            'qcow2',
            '-o',
            f'data_file={self.victim},data_file_raw=on',
            str(self.disk),
            str(SIZE),
        )
        self.victim.write_bytes(SECRET.ljust(SIZE, b'\0'))

    def _assert_untouched(self):
        self.assertEqual(SIZE, self.victim.stat().st_size)
        self.assertTrue(self.victim.read_bytes().startswith(SECRET))
        if self.target.exists():
            self.assertNotIn(SECRET, self.target.read_bytes())


class ForgedTest(_Case):
    def test_a_snapshot_does_not_follow_a_header(self):
        for forge in (self._forge, self._forge_data_file):
            forge()
            self.assertRaises(
                exception.ForgedDisk,
                self._image().snapshot_extract,
                str(self.target),
                'raw',
            )
            self._assert_untouched()

    def test_a_resize_does_not_follow_a_header(self):
        for forge in (self._forge, self._forge_data_file):
            forge()
            self.assertRaises(
                exception.ForgedDisk, self._image().resize_image, 4 * SIZE
            )
            self._assert_untouched()

    def test_a_disk_that_exists_is_checked_before_it_is_gone_on_with(self):
        self._forge()
        self.assertRaises(
            exception.ForgedDisk,
            self._image().create_image,
            self._unexpected,
            str(self.base),
            SIZE,
            image_id='image',
        )
        self._assert_untouched()

    def test_a_raw_disk_that_pretends_to_be_qcow2_stays_raw(self):
        self._forge()
        image = self._image('raw')
        self.assertEqual('raw', image.driver_format)
        for work in (
            lambda: image.resize_image(4 * SIZE),
            lambda: image.snapshot_extract(str(self.target), 'raw'),
        ):
            self.assertRaises(exception.ForgedDisk, work)
        self._assert_untouched()

    def _unexpected(self, *args, **kwargs):
        raise AssertionError('something is fetched')


class GoodTest(_Case):
    def _create(self, image, size=None):
        image.cache(
            lambda target, **kwargs: None,
            self.base.name,
            size=size,
            image_id='image',
        )

    def test_a_new_disk_is_made_as_nova_makes_it_and_not_checked(self):
        self._create(self._image(), 4 * SIZE)
        self.assertEqual(0, self.checks)
        self.assertIn(str(self.base).encode(), self.disk.read_bytes())

    def test_a_disk_of_the_image_is_resized_and_extracted(self):
        self._create(self._image(), SIZE)
        self._image().resize_image(4 * SIZE)
        self._image().snapshot_extract(str(self.target), 'raw')
        self.assertEqual(4 * SIZE, self.target.stat().st_size)
        self.assertTrue(self.target.read_bytes().startswith(b'IMAGE'))
        self.assertEqual(2, self.checks)

    def test_the_format_of_a_new_flat_disk_is_the_images(self):
        self.base.unlink()
        self._make('qcow2', str(self.base), str(SIZE))
        image = self._image('raw')
        self._create(image)
        self.assertEqual('qcow2', image.driver_format)
        # Nova has noted it.
        self.assertEqual('qcow2', self._image('raw').driver_format)

    def test_what_is_no_disk_is_not_checked(self):
        kernel = self.directory / 'kernel'
        kernel.write_bytes(b'kernel')
        image = self._backend().by_name(self.instance, 'kernel', 'raw')
        image.resize_image(SIZE)
        self.assertEqual(SIZE, kernel.stat().st_size)


class TableTest(_Case):
    def test_the_backends_for_files_are_replaced_and_no_others(self):
        for use_cow in (True, False):
            ours = self._backend(use_cow)
            theirs = imagebackend.Backend(use_cow)
            self.assertEqual(theirs.BACKEND.keys(), ours.BACKEND.keys())
            for name, kind in theirs.BACKEND.items():
                self.assertTrue(issubclass(ours.BACKEND[name], kind))
                self.assertEqual(
                    kind in (imagebackend.Qcow2, imagebackend.Flat),
                    hasattr(ours.BACKEND[name], 'check_disk'),
                )

    def test_a_disk_is_found_by_its_path_too(self):
        self._forge()
        image = self._backend().by_libvirt_path(
            self.instance, str(self.disk), 'qcow2'
        )
        self.assertRaises(exception.ForgedDisk, image.resize_image, SIZE * 2)
