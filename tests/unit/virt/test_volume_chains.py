# SPDX-License-Identifier: Apache-2.0
"""What the file of a volume is made of."""

from __future__ import annotations

import itertools
import os
import pathlib
from types import SimpleNamespace

import fixtures
import testtools
from nova.virt.libvirt.volume import nfs

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.mcs import levels
from svirt_nova.virt import volumes
from tests import samples
from tests.unit.virt import case

SHARE = '/mnt/hash'
TOP = f'{SHARE}/volume-1'
SNAPSHOT = '4c5d1b8e-8c2f-4f0e-9f63-06c5b7a5a3d1'


class ChainTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.headers = {}
        self.read = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read_header', self._read_header
            )
        )

    def _read_header(self, root, path):
        self.assertEqual(SHARE, root)
        self.read.append(path)
        return self.headers.get(path, bytes(512))

    def _chain(self, image_format='raw', path=TOP):
        return volumes.chain_of(path, image_format, case.LEVEL)

    def _paths(self, *args):
        return [(link.path, link.format) for link in self._chain(*args)]

    def _refused(self, *args):
        error = self.assertRaises(exception.ForgedDisk, self._chain, *args)
        return str(error)

    def test_a_raw_volume_is_one_file(self):
        self.assertEqual(
            (disk_chains.Link(TOP, 'raw', SHARE, case.LEVEL),), self._chain()
        )

    def test_snapshots_are_followed_to_the_bottom(self):
        names = ['volume-1.b', 'volume-1.a', 'volume-1']
        for name, below in itertools.pairwise(names):
            self.headers[f'{SHARE}/{name}'] = samples.qcow2_header(
                below, 'raw' if below == 'volume-1' else 'qcow2'
            )
        self.assertEqual(
            [
                (f'{SHARE}/volume-1.b', 'qcow2'),
                (f'{SHARE}/volume-1.a', 'qcow2'),
                (TOP, 'raw'),
            ],
            self._paths('qcow2', f'{SHARE}/volume-1.b'),
        )

    def test_an_absolute_name_in_the_same_directory_is_followed(self):
        self.headers[TOP] = samples.qcow2_header(f'{TOP}.a', 'raw')
        self.assertEqual(
            [(TOP, 'qcow2'), (f'{TOP}.a', 'raw')], self._paths('qcow2')
        )

    def test_a_header_without_a_format_leaves_it_to_the_file(self):
        for header, expected in (
            (bytes(512), 'raw'),
            (samples.qcow2_header(), 'qcow2'),
        ):
            top = samples.qcow2_header('volume-1.a', 'raw')
            self.headers[TOP] = top.replace(b'\xe2\x79\x2a\xca', b'\0\0\0\1')
            self.headers[f'{TOP}.a'] = header
            self.assertEqual(expected, self._chain('qcow2')[1].format)

    def test_no_other_file_is_followed_or_read(self):
        for name in (
            'volume-2',
            'volume-12',
            'volume-1.info',
            '../hash/volume-1',
            'sub/volume-1',
            '/mnt/other/volume-1',
            '/etc/shadow',
            'nbd://127.0.0.1:1',
            'json:{}',
            'volume-1.a.b',
            'volume-1.',
            'volume-1.a\n',
        ):
            self.headers[TOP] = samples.qcow2_header(name)
            self.read.clear()
            self.assertIn(repr(name), self._refused('qcow2'))
            self.assertEqual([TOP], self.read)

    def test_a_lower_file_cannot_name_another_volume_either(self):
        self.headers[TOP] = samples.qcow2_header('volume-1.a', 'qcow2')
        self.headers[f'{TOP}.a'] = samples.qcow2_header('volume-2')
        self.assertIn(f'{TOP}.a', self._refused('qcow2'))

    def test_a_raw_file_below_that_pretends_to_be_qcow2_is_refused(self):
        self.headers[TOP] = samples.qcow2_header('volume-1.a', 'raw')
        self.headers[f'{TOP}.a'] = samples.qcow2_header('/etc/shadow')
        self.assertIn(f'{TOP}.a', self._refused('qcow2'))

    def test_a_chain_without_an_end_is_refused(self):
        self.headers[TOP] = samples.qcow2_header('volume-1', 'qcow2')
        self._refused('qcow2')
        self.headers[TOP] = samples.qcow2_header('volume-1.a', 'qcow2')
        self.headers[f'{TOP}.a'] = samples.qcow2_header('volume-1', 'qcow2')
        self._refused('qcow2')
        for number in range(1000):
            self.headers[f'{SHARE}/v.{number}'] = samples.qcow2_header(
                f'v.{number + 1}', 'qcow2'
            )
        self._refused('qcow2', f'{SHARE}/v.0')
        self.assertLess(len(self.read), 300)

    def test_the_name_of_a_snapshot_is_as_cinder_makes_it(self):
        self.headers[TOP] = samples.qcow2_header(f'volume-1.{SNAPSHOT}')
        self.assertEqual(f'{TOP}.{SNAPSHOT}', self._chain('qcow2')[1].path)


class KeptChainTest(testtools.TestCase):
    def test_a_chain_that_is_kept_is_taken_once(self):
        for level in (case.LEVEL, None):
            chain = tuple(
                disk_chains.Link(path, image_format, SHARE, level)
                for path, image_format in (
                    (TOP, 'qcow2'),
                    (f'{TOP}.a', 'raw'),
                )
            )
            info = {}
            volumes.keep_chain(info, chain)
            self.assertEqual(chain, volumes.kept_chain(info))
            self.assertEqual({}, info)
            self.assertIsNone(volumes.kept_chain(info))

    def test_a_chain_that_is_not_known_any_more_is_not_kept(self):
        info = {}
        volumes.keep_chain(info, (disk_chains.Link(TOP, 'raw', SHARE, None),))
        volumes.keep_chain(info, None)
        self.assertEqual({}, info)


class FileTest(testtools.TestCase):
    def test_a_connection_that_was_read_anew_has_its_file(self):
        """As after a snapshot that Nova assisted."""
        driver = nfs.LibvirtNFSVolumeDriver(None)
        info = {'data': {'export': 'server:/share', 'name': 'volume-1'}}
        path = volumes.file_of(lambda info: driver, info)
        self.assertEqual(driver._get_device_path(info), path)
        self.assertEqual('volume-1', os.path.basename(path))


class RestoreTest(testtools.TestCase):
    def test_all_files_of_a_volume_are_put_back(self):
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        for name in (
            'volume-1',
            'volume-1.a',
            'volume-1.info',
            'volume-1.b.c',
            'volume-11',
            'volume-2',
        ):
            (directory / name).touch()
        restored = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.restore',
                lambda root, path, given: restored.append(path),
            )
        )
        claims = SimpleNamespace(
            levels_given=lambda instance: {levels.Level.parse('s0:c1,c2')}
        )
        volumes.restore(claims, None, str(directory / 'volume-1.a'))
        self.assertEqual(
            {'volume-1', 'volume-1.a'},
            {os.path.basename(path) for path in restored},
        )
