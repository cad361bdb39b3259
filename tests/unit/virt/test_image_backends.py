# SPDX-License-Identifier: Apache-2.0
"""Nova's image backends do not follow what a guest has written.

Files, qemu-img and Nova's backends are real.
"""

from __future__ import annotations

import nova.conf
from nova.virt.libvirt import imagebackend

from svirt_nova import exception
from tests.unit.virt import image_case
from tests.unit.virt.image_case import SECRET
from tests.unit.virt.image_case import SIZE

CONF = nova.conf.CONF


class ForgedTest(image_case.ImageTestCase):
    def test_a_snapshot_does_not_follow_a_header(self):
        for forge in (
            self._forge,
            self._forge_data_file,
            self._forge_format_of_base,
        ):
            self.disk.unlink(missing_ok=True)
            forge()
            self.assertRaises(
                exception.ForgedDisk,
                self._image().snapshot_extract,
                str(self.target),
                'raw',
            )
            self._assert_untouched()

    def test_a_resize_does_not_follow_a_header(self):
        for forge in (
            self._forge,
            self._forge_data_file,
            self._forge_format_of_base,
        ):
            self.disk.unlink(missing_ok=True)
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

    def test_a_forged_format_is_followed_by_qemu(self):
        self._forge_format_of_base()
        backend = imagebackend.Backend(True)
        backend.by_name(self.instance, 'disk', 'qcow2').snapshot_extract(
            str(self.target), 'raw'
        )
        self.assertTrue(self.target.read_bytes().startswith(SECRET))

    def test_a_disk_whose_base_is_missing_is_gone_on_with(self):
        """A resize finds the disk, and fetches the image."""
        self._make('qcow2', '-b', str(self.base), '-F', 'raw', str(self.disk))
        self.base.unlink()
        fetched = []

        def fetch(target, **kwargs):
            fetched.append(target)
            self.base.write_bytes(bytes(SIZE))

        self._image().create_image(
            fetch, str(self.base), SIZE, image_id='image'
        )
        self.assertEqual([str(self.base)], fetched)

    def _unexpected(self, *args, **kwargs):
        raise AssertionError('something is fetched')


class GoodTest(image_case.ImageTestCase):
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


class TableTest(image_case.ImageTestCase):
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
