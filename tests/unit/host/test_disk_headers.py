# SPDX-License-Identifier: Apache-2.0
"""What the headers of disks are understood to say."""

from __future__ import annotations

import json
import pathlib
import struct
import subprocess

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from tests import samples

DATA_FILE_BIT = 1 << 2
DATA_FILE_NAME = 0x44415441
# How QEMU lets the text of a vmdk file begin.
VMDK_TEXTS = (
    'version=1\n',
    'version=2\r\n',
    ' \nversion=3\n',
    '#\nversion=1\n',
    '# a comment\n  \r\n#\nversion=1\n',
)


class Qcow2Test(testtools.TestCase):
    def _read(self, data, image_format='qcow2'):
        return disk_headers.read('/d/disk', data, image_format)

    def _refused(self, data, image_format='qcow2'):
        error = self.assertRaises(
            exception.ForgedDisk, self._read, data, image_format
        )
        self.assertIn('/d/disk', str(error))
        return str(error)

    def test_a_disk_without_a_backing_file_names_none(self):
        for version in (2, 3):
            self.assertEqual(
                disk_headers.Header(),
                self._read(samples.qcow2_header(version=version)),
            )

    def test_the_backing_file_is_read_with_its_format(self):
        for version in (2, 3):
            self.assertEqual(
                disk_headers.Header('/b/a', 'qcow2'),
                self._read(
                    samples.qcow2_header('/b/a', 'qcow2', version=version)
                ),
            )

    def test_what_is_no_text_is_still_a_name(self):
        data = samples.qcow2_header('/b/abc').replace(
            b'/b/abc', b'/b/\xff\xfec'
        )
        self.assertEqual('/b/\\xff\\xfec', self._read(data).backing_file)

    def test_a_data_file_is_refused(self):
        for data in (
            samples.qcow2_header(features=DATA_FILE_BIT),
            samples.qcow2_header(
                features=DATA_FILE_BIT,
                extensions=((DATA_FILE_NAME, b'/etc/shadow'),),
            ),
            samples.qcow2_header(
                extensions=((DATA_FILE_NAME, b'/etc/shadow'),)
            ),
        ):
            self.assertIn('external data file', self._refused(data))

    def test_features_that_name_no_file_are_accepted(self):
        dirty, compression, extended_l2 = 1, 1 << 3, 1 << 4
        for feature in (dirty, compression, extended_l2):
            self._read(samples.qcow2_header(features=feature))

    def test_an_unknown_feature_is_refused(self):
        self.assertIn(
            '0x20', self._refused(samples.qcow2_header(features=1 << 5))
        )

    def test_a_name_outside_of_the_header_is_refused(self):
        data = bytearray(samples.qcow2_header('/b/a'))
        for offset, length in (
            (disk_chains.HEADER_SIZE, 4),
            (2**64 - 1, 4),
            (200, 0),
            (200, 1024),
            (200, 2**32 - 1),
        ):
            struct.pack_into('>QI', data, 8, offset, length)
            self.assertIn('where no program', self._refused(bytes(data)))

    def test_extensions_without_an_end_are_refused(self):
        self.assertIn(
            'have no end',
            self._refused(samples.qcow2_header()[:104] + bytes([1]) * 400),
        )

    def test_a_header_that_is_not_qcow2_is_refused(self):
        version_1 = struct.pack('>4sI', b'QFI\xfb', 1) + bytes(400)
        for data in (b'', bytes(40), bytes(512), version_1):
            self._refused(data)

    def test_a_raw_disk_names_nothing(self):
        for data in (b'', b'\0' * 512, b'\xeb\x3c' + bytes(510)):
            self.assertEqual(disk_headers.Header(), self._read(data, 'raw'))

    def test_a_raw_disk_that_pretends_to_be_another_is_refused(self):
        for data in (
            samples.qcow2_header('/b/a'),
            samples.qcow2_header(),
            b'QED\0' + bytes(512),
            b'KDMV' + bytes(512),
            b'COWD' + bytes(512),
            b'# Disk DescriptorFile\nversion=1\n',
            *(text.encode() for text in VMDK_TEXTS),
        ):
            self.assertIn('raw disk', self._refused(data, 'raw'))

    def test_text_that_no_probe_knows_stays_raw(self):
        for data in (
            b'version=\n',
            b'x version=1\n',
            b'# version=1\n',
            b' version=1\n',
            b'#' * disk_chains.HEADER_SIZE,
            b'\n' * disk_chains.HEADER_SIZE,
        ):
            self.assertEqual(disk_headers.Header(), self._read(data, 'raw'))

    def test_other_formats_cannot_be_checked(self):
        self.assertIn('vmdk', self._refused(bytes(512), 'vmdk'))

    def test_the_format_of_an_image_is_told_by_its_beginning(self):
        for data, expected in (
            (samples.qcow2_header(), 'qcow2'),
            (bytes(512), 'raw'),
            (b'', 'raw'),
        ):
            self.assertEqual(expected, disk_headers.format_of(data))


class RealFilesTest(testtools.TestCase):
    """Files as qemu-img makes them."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.base = str(self.directory / 'base')
        self._make('raw', self.base)
        self.disk = str(self.directory / 'disk')

    def _make(self, image_format, path, *options):
        subprocess.run(
            ['qemu-img', 'create', '-q', '-f', image_format, *options, path]
            + ([] if '-b' in options else ['1M']),
            check=True,
            timeout=60,
        )

    def _read(self):
        with open(self.disk, 'rb') as file:
            return disk_headers.read(
                self.disk, file.read(disk_chains.HEADER_SIZE), 'qcow2'
            )

    def test_an_overlay_names_its_base(self):
        for options in ([], ['-o', 'compat=0.10'], ['-o', 'cluster_size=2M']):
            self._make(
                'qcow2', self.disk, *options, '-b', self.base, '-F', 'raw'
            )
            self.assertEqual(
                disk_headers.Header(self.base, 'raw'), self._read()
            )

    def test_a_disk_that_stands_alone_names_nothing(self):
        for options in (
            [],
            ['-o', 'compression_type=zlib'],
            ['-o', 'extended_l2=on'],
            ['-o', 'preallocation=metadata'],
        ):
            self._make('qcow2', self.disk, *options)
            self.assertEqual(disk_headers.Header(), self._read())

    def test_text_that_qemu_takes_for_vmdk_is_no_raw_disk(self):
        """QEMU follows it to any file, or to an address."""
        for text in VMDK_TEXTS:
            data = (
                f'{text}CID=fffffffe\nparentCID=ffffffff\n'
                f'createType="monolithicFlat"\n'
                f'RW 2048 FLAT "{self.base}" 0\n'
            ).encode()
            with open(self.disk, 'wb') as file:
                file.write(data.ljust(1 << 16, b'\0'))
            told = subprocess.run(
                ['qemu-img', 'info', '--output=json', self.disk],
                check=True,
                capture_output=True,
                timeout=60,
            ).stdout
            self.assertEqual('vmdk', json.loads(told)['format'], text)
            self.assertRaises(
                exception.ForgedDisk,
                disk_headers.read,
                self.disk,
                data,
                'raw',
            )

    def test_a_data_file_is_refused(self):
        data_file = self.directory / 'data'
        for options in (f'data_file={data_file}', 'data_file_raw=on'):
            self._make(
                'qcow2', self.disk, '-o', f'data_file={data_file},{options}'
            )
            self.assertRaises(exception.ForgedDisk, self._read)
