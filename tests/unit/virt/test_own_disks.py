# SPDX-License-Identifier: Apache-2.0
"""Which files an instance's own disks may stand on."""

from __future__ import annotations

import hashlib
import json
import os
from types import SimpleNamespace

import fixtures
import nova.conf
import testtools
from oslo_utils import units

from svirt_nova import exception
from svirt_nova.virt import own_disks

CONF = nova.conf.CONF
CACHE = '/i/_base'


def cached(image):
    return f'{CACHE}/{hashlib.sha1(image.encode()).hexdigest()}'


class _Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        CONF.set_override('instances_path', '/i')
        self.addCleanup(CONF.clear_override, 'instances_path')
        self.instance = SimpleNamespace(
            uuid='uuid',
            image_ref='image',
            vm_state='active',
            task_state=None,
            system_metadata={'image_base_image_ref': 'former'},
        )


class BaseTest(_Case):
    def _check(self, name, base, rescue_image=None):
        own_disks.check_base(self.instance, name, base, rescue_image)

    def _refused(self, name, base, rescue_image=None):
        error = self.assertRaises(
            exception.ForgedDisk, self._check, name, base, rescue_image
        )
        self.assertIn(repr(base), str(error))
        return str(error)

    def test_a_root_disk_may_stand_on_its_image(self):
        self._check('disk', cached('image'))

    def test_what_was_expected_is_told(self):
        self.assertIn(
            cached('image'), self._refused('disk', cached('another'))
        )

    def test_a_root_disk_may_stand_on_nothing_else(self):
        for base in (
            cached('another'),
            f'{CACHE}/ephemeral_1_0706d66',
            f'{CACHE}/../other/disk',
            f'/i/../i/_base/{cached("image").rpartition("/")[2]}',
            f'{cached("image")}_20',
            f'{cached("image")}/x',
            cached('image').rpartition('/')[2],
            f'{cached("image")}\n',
            '/i/other/disk',
            '/etc/shadow',
            'nbd://127.0.0.1:1',
            'json:{"file.filename": "/etc/shadow"}',
            '',
        ):
            self._refused('disk', base)

    def test_the_owner_of_an_image_does_not_name_another(self):
        """The image property base_image_ref comes into system_metadata."""
        self._refused('disk', cached('former'))
        # A resize within the cell.
        self.instance.task_state = 'resize_finish'
        self.instance.migration_context = None
        self._refused('disk', cached('former'))
        self.instance.migration_context = SimpleNamespace(
            is_cross_cell_move=lambda: False
        )
        self._refused('disk', cached('former'))

    def test_a_disk_may_stand_on_the_image_before_its_snapshot(self):
        self.instance.vm_state = 'shelved_offloaded'
        self._check('disk', cached('former'))
        self._check('disk', cached('image'))
        self._refused('disk', cached('another'))

        self.instance.vm_state = 'active'
        self.instance.task_state = 'resize_finish'
        self.instance.migration_context = SimpleNamespace(
            is_cross_cell_move=lambda: True
        )
        self._check('disk', cached('former'))

    def test_an_instance_without_an_image_stands_on_none(self):
        self.instance.image_ref = ''
        self._refused('disk', cached(''))

    def test_a_rescue_disk_stands_on_the_image_of_the_rescue(self):
        self._check('disk.rescue', cached('rescue'), 'rescue')
        self._refused('disk.rescue', cached('image'), 'rescue')
        self._refused('disk.rescue', cached('image'))
        self._refused('disk', cached('rescue'), 'rescue')

    def test_other_disks_stand_on_what_nova_makes_for_everybody(self):
        for name in ('disk.local', 'disk.eph0', 'disk.eph12'):
            self._check(name, f'{CACHE}/ephemeral_20_0706d66')
            self._check(name, f'{CACHE}/ephemeral_20_default')
            self._refused(name, f'{CACHE}/swap_512')
            self._refused(name, cached('image'))
        self._check('disk.swap', f'{CACHE}/swap_512')
        self._refused('disk.swap', f'{CACHE}/ephemeral_20_0706d66')
        self._refused('disk.swap', cached('image'))

    def test_a_config_drive_stands_alone(self):
        for name in ('disk.config', 'disk.config.rescue'):
            self._refused(name, cached('image'), 'rescue')

    def test_disks_are_told_by_their_names(self):
        for name in (
            'disk',
            'disk.rescue',
            'disk.config',
            'disk.config.rescue',
            'disk.local',
            'disk.swap',
            'disk.eph0',
            'disk.eph11',
        ):
            self.assertTrue(own_disks.is_disk(name), name)
            self.assertTrue(own_disks.is_own(self.instance, f'/i/uuid/{name}'))
        for path in (
            '/i/uuid/disk.info',
            '/i/uuid/kernel',
            '/i/uuid/console.log',
            '/i/uuid/disk.eph',
            '/i/uuid/x/disk',
            '/i/uuid_resize/disk',
            '/i/other/disk',
            '/i/_base/disk',
            'disk',
        ):
            self.assertFalse(own_disks.is_own(self.instance, path), path)


class BackingFilesTest(_Case):
    """What a hard reboot, or the source of a migration, has read."""

    def setUp(self):
        super().setUp()
        flavor = SimpleNamespace(ephemeral_gb=20)
        self.instance.os_type = None
        self.instance.get_flavor = lambda: flavor

    def _check_all(self, *found, size=units.Gi, image_format='qcow2'):
        own_disks.check_backing_files(
            self.instance,
            [
                {
                    'path': path,
                    'type': image_format,
                    'backing_file': base,
                    'virt_disk_size': size,
                }
                for path, base in found
            ],
        )

    def _refused(self, path, base, **kwargs):
        error = self.assertRaises(
            exception.ForgedDisk, self._check_all, (path, base), **kwargs
        )
        # Nova tells the name of the file alone, and not where it is.
        self.assertIn(
            f"names a backing file called '{os.path.basename(base)}'",
            str(error),
        )

    def test_the_image_of_the_instance_may_be_fetched_again(self):
        self._check_all(
            ('/elsewhere/uuid/disk', cached('image').rpartition('/')[2]),
            ('/elsewhere/uuid/disk.eph0', 'ephemeral_1_0706d66'),
            ('/elsewhere/uuid/disk.swap', 'swap_512'),
            ('/elsewhere/uuid/disk.config', ''),
            ('/elsewhere/uuid/disk.local', None),
        )

    def test_the_cache_is_not_poisoned(self):
        """Nova would store the instance's image under the name."""
        for path, base in (
            ('/i/uuid/disk', cached('another').rpartition('/')[2]),
            ('/i/uuid/disk', '/etc/shadow'),
            ('/i/uuid/disk.swap', cached('image').rpartition('/')[2]),
        ):
            self._refused(path, base)

    def test_a_base_for_everybody_is_what_its_name_says(self):
        """Nova makes it of the size in the header, for any name of a base."""
        path = '/i/uuid/disk.eph0'
        self._check_all((path, 'ephemeral_20_0706d66'), size=20 * units.Gi)
        for base, size in (
            ('ephemeral_1_0706d66', 20 * units.Gi),
            ('ephemeral_20_0706d66', units.Gi),
            ('ephemeral_1_0706d66', units.Gi + 512),
            # What the instance may not have at all.
            ('ephemeral_21_0706d66', 21 * units.Gi),
            ('ephemeral_0_0706d66', 0),
            ('ephemeral_01_0706d66', units.Gi),
            # A file system that is made for another system.
            ('ephemeral_1_fffffff', units.Gi),
        ):
            self._refused(path, base, size=size)

    def test_a_host_passes_no_options_to_qemu_img(self):
        """Nova appends the size of a disk that is missing."""
        for size in (
            '-osize=1048576,data_file=/i/other/disk',
            '1073741824',
            1.5,
            True,
            None,
        ):
            error = self.assertRaises(
                exception.ForgedDisk,
                self._check_all,
                ('/i/uuid/disk', ''),
                size=size,
            )
            self.assertIn(repr(size), str(error))
        for image_format in ('vmdk', 'raw -o x', None, 7):
            self.assertRaises(
                exception.ForgedDisk,
                self._check_all,
                ('/i/uuid/disk', ''),
                image_format=image_format,
            )
        self._check_all(('/i/uuid/disk', ''), image_format='raw')

    def test_a_moved_instance_brings_its_own_disks_alone(self):
        """Nova turns a raw disk into qcow2, wherever it is."""
        own_disks.check_moved(
            self.instance,
            json.dumps(
                [
                    {'path': f'/i/uuid/{name}', 'type': 'raw'}
                    for name in ('disk', 'disk.config', 'disk.eph0')
                ]
            ),
        )
        own_disks.check_moved(self.instance, '{}')
        for path in (
            '/i/other/disk',
            '/i/uuid/../other/disk',
            '/i/uuid//disk',
            '/i/uuid/kernel',
            '/dev/sda',
            'disk',
        ):
            error = self.assertRaises(
                exception.ForgedDisk,
                own_disks.check_moved,
                self.instance,
                json.dumps([{'path': path, 'type': 'raw'}]),
            )
            self.assertIn(repr(path), str(error))

    def test_a_base_that_is_there_is_not_made_anew(self):
        """The operator may have chosen another file system since."""
        root = self.useFixture(fixtures.TempDir())
        CONF.set_override('instances_path', root.path)
        os.mkdir(root.join('_base'))
        base = 'ephemeral_1_fffffff'
        self._refused('/i/uuid/disk.local', base)
        with open(root.join('_base', base), 'w', encoding='utf-8'):
            pass
        self._check_all(('/i/uuid/disk.local', base))
