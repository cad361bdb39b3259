# SPDX-License-Identifier: Apache-2.0
"""Disks of images that not every guest may read.

Files, qemu-img and Nova's backends are real.
"""

from __future__ import annotations

import pathlib
import subprocess
from unittest import mock

import fixtures
import nova.conf
from nova import exception as nova_exception
from oslo_concurrency import processutils

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import image_sharing
from svirt_nova.virt import own_disks
from svirt_nova.virt import private_images
from tests import samples
from tests.unit.virt import image_case
from tests.unit.virt.image_case import SIZE

CONF = nova.conf.CONF
_NEW = contexts.Context.parse('system_u:object_r:nova_var_lib_t:s0')


class StandingAloneTest(image_case.ImageTestCase):
    """Disks of images that not every guest may read."""

    def setUp(self):
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        self.hides_images = True
        self.log = self.useFixture(fixtures.FakeLogger())
        self.labels = {}
        self.answer = private_images.Image('private', 'another')
        for name, new in (
            (
                'svirt_nova.host.file_labels.read',
                lambda path: self.labels.get(path, _NEW),
            ),
            (
                'svirt_nova.host.file_labels.share',
                lambda root, path, level: self.labels.update(
                    {path: samples.CONTENT.at(level)}
                ),
            ),
            (
                'svirt_nova.host.image_contexts.readable',
                lambda: samples.CONTENT,
            ),
            (
                'svirt_nova.virt.image_service.find',
                lambda request, image: self.answer,
            ),
        ):
            self.useFixture(fixtures.MonkeyPatch(name, new))
        self.instance.project_id = 'project'
        self.instance.migration_context = None
        self.instance.save = self._save
        self.saved = {}

    def _save(self):
        self.saved = dict(self.instance.system_metadata)

    def _create(self, kind='qcow2', size=None, **kwargs):
        def fetch(target, **kwargs):
            pathlib.Path(target).write_bytes(b'IMAGE'.ljust(SIZE, b'\0'))

        self._image(kind).cache(
            fetch,
            self.base.name,
            size=size,
            **{'image_id': 'image', 'context': None, **kwargs},
        )

    def _below(self):
        data = self.disk.read_bytes()[: disk_chains.HEADER_SIZE]
        return disk_headers.read('disk', data, 'qcow2').backing_file

    def _assert_alone(self, size=SIZE):
        self.assertIsNone(self._below())
        self.base.unlink()
        self._image().snapshot_extract(str(self.target), 'raw')
        self.assertEqual(size, self.target.stat().st_size)
        self.assertTrue(self.target.read_bytes().startswith(b'IMAGE'))
        self.assertEqual([], sorted(self.directory.glob('*.copy')))

    def _reach(self, image='image'):
        return private_images.remembered(self.instance, 'disk', image)

    def test_a_disk_is_copied_and_the_log_tells(self):
        self._create()
        self.assertEqual(disk_chains.NOBODY, self._level())
        self.assertIs(private_images.Reach.ALONE, self._reach())
        self.assertIn('gets a copy', self.log.output)
        self.assertIn('is copied', self.log.output)
        self._assert_alone()

    def test_an_image_stays_closed_if_nova_is_killed_during_a_copy(self):
        with mock.patch('svirt_nova.virt.image_copies.replace'):
            self._create()
        # Another process goes on with what the database has.
        self.instance.system_metadata = self.saved
        self.assertEqual(str(self.base), self._below())
        self.assertRaises(
            exception.ForgedDisk,
            own_disks.check,
            self.instance,
            str(self.disk),
            'qcow2',
            None,
        )

    def _level(self):
        return self.labels[str(self.base)].level

    def test_a_copy_that_takes_its_time_is_told_again(self):
        """The messages come from a thread of their own, or a green one."""
        execute = processutils.execute
        with mock.patch(
            'oslo_service.loopingcall.FixedIntervalLoopingCall'
        ) as call:

            def slowly(*args, **kwargs):
                if 'convert' in args:
                    call.call_args.args[0]()
                return execute(*args, **kwargs)

            with mock.patch.object(processutils, 'execute', slowly):
                self._create()
        self.assertIn('is being copied: 0 of 1 MiB', self.log.output)
        call.return_value.start.assert_called_once_with(
            interval=30, initial_delay=30
        )
        call.return_value.stop.assert_called_once_with()

    def test_a_disk_grows_after_it_is_copied(self):
        self._create(size=4 * SIZE)
        self._assert_alone(4 * SIZE)

    def test_a_qcow2_image_is_copied_as_that(self):
        raw = self.base.with_suffix('.raw')
        self.base.rename(raw)
        subprocess.run(
            ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw,
             self.base],
            check=True, timeout=60,
        )  # fmt: skip
        self._create()
        self._assert_alone()

    def test_a_copy_that_fails_leaves_nothing_behind(self):
        execute = processutils.execute

        def fail(*args, **kwargs):
            if 'convert' not in args:
                return execute(*args, **kwargs)
            self.directory.joinpath('disk.copy').touch()
            raise processutils.ProcessExecutionError

        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.image_copies.processutils.execute', fail
            )
        )
        self.assertRaises(processutils.ProcessExecutionError, self._create)
        self.assertEqual([], sorted(self.directory.glob('disk')))
        self.assertEqual([], sorted(self.directory.glob('*.copy')))

    def test_without_an_answer_a_disk_is_what_it_was(self):
        self.answer = None
        for reach, base in (
            (private_images.Reach.PUBLIC, str(self.base)),
            (private_images.Reach.ALONE, None),
            (None, None),
        ):
            private_images.remember(self.instance, 'disk', 'image', reach)
            self._create()
            self.assertEqual(base, self._below())
            self.disk.unlink()

    def test_the_projects_disk_joins_no_file_of_another_project(self):
        """The image has changed its owner."""
        self.instance.system_metadata |= {
            claims.LEVEL_KEY: 's0:c1,c600',
            claims.PROJECT_KEY: 's0:c1',
        }
        self.answer = private_images.Image('private', 'project')
        other = levels.Level.parse('s0:c2')
        self.labels[str(self.base)] = samples.CONTENT.at(other)
        self._create()
        self.assertEqual(other, self._level())
        self._assert_alone()

    def test_an_image_is_closed_before_it_has_its_name(self):
        self.base.unlink()
        seen = []

        def share(root, path, level):
            seen.append((path, level, self.base.exists()))

        with mock.patch('svirt_nova.host.file_labels.share', share):
            self._create()
        self.assertEqual(
            (f'{self.base}.new', disk_chains.NOBODY, False), seen[0]
        )

    def test_an_image_that_cannot_be_fetched_leaves_nothing(self):
        self.base.unlink()

        def fetch(target, **kwargs):
            pathlib.Path(target).touch()
            raise nova_exception.ImageNotFound(image_id='image')

        image = self._image()
        self.assertRaises(
            nova_exception.ImageNotFound,
            image.cache,
            fetch,
            self.base.name,
            image_id='image',
            context=None,
        )
        self.assertEqual([], sorted(self.base.parent.iterdir()))

    def test_an_image_is_closed_as_soon_as_it_is_fetched(self):
        self.base.unlink()
        self.answer = private_images.Image('public', 'another')
        self._create()
        self.assertEqual(disk_chains.NOBODY, self._level())
        self.assertEqual(str(self.base), self._below())

    def test_a_disk_that_arrives_is_as_its_source_has_it(self):
        """QEMU writes what the source has above the file of the image."""
        self.instance.task_state = 'migrating'
        self._create(image_id=None)
        self.assertEqual(str(self.base), self._below())
        self.assertIsNone(self._reach())

    def test_a_disk_of_an_unshelved_instance_is_what_its_image_says(self):
        self.instance.vm_state = 'shelved_offloaded'
        self.instance.system_metadata['image_base_image_ref'] = 'former'
        self._create()
        self.assertIs(private_images.Reach.ALONE, self._reach('former'))
        self.assertIsNone(self._reach())
        self.assertFalse(image_sharing.may_rebase(self.instance))
        self._assert_alone()

    def test_a_public_image_is_taken_back_after_an_unshelving(self):
        self.instance.vm_state = 'shelved_offloaded'
        self.instance.system_metadata['image_base_image_ref'] = 'former'
        self.answer = private_images.Image('public', 'another')
        self._create()
        self.assertIs(private_images.Reach.PUBLIC, self._reach('former'))
        self.assertTrue(image_sharing.may_rebase(self.instance))

    def test_a_flat_disk_stands_alone_without_a_question(self):
        self.base.unlink()
        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.virt.image_service.find', None)
        )
        self._create('raw')
        self.assertEqual(disk_chains.NOBODY, self._level())
        self.assertIs(private_images.Reach.ALONE, self._reach())
        self.assertTrue(self.disk.read_bytes().startswith(b'IMAGE'))

    def test_swap_and_ephemeral_disks_are_not_copied(self):
        swap = self.base.with_name('swap_1')
        swap.write_bytes(bytes(SIZE))
        image = self._backend().by_name(self.instance, 'disk.swap', 'qcow2')
        image.cache(lambda target, **kwargs: None, 'swap_1', safe=True)
        data = (self.directory / 'disk.swap').read_bytes()
        self.assertIn(str(swap).encode(), data[:1024])
        self.assertEqual({}, self.labels)

    def test_a_disk_that_was_copied_stands_on_nothing_later(self):
        self._create()
        self.disk.unlink()
        self._make('qcow2', '-b', str(self.base), '-F', 'raw', str(self.disk))
        self.assertRaises(
            exception.ForgedDisk, self._image().resize_image, SIZE
        )
