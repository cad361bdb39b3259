# SPDX-License-Identifier: Apache-2.0
"""Headers that name what they should not, and what is counted of QEMU."""

from __future__ import annotations

import os
import tempfile
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.host import disk_headers
from tests import samples
from tests.lab import forge
from tests.lab import guest
from tests.lab import targets

_OWN = samples.qcow2_header('/i/_base/own', 'raw')


def _read(header):
    return disk_headers.read('/i/u/disk', header, 'qcow2')


class ForgedTest(testtools.TestCase):
    def test_a_header_names_another_backing_file(self):
        header = forge.forged(
            _OWN, backing='/i/v/disk', backing_format='qcow2'
        )
        self.assertEqual(forge.CLUSTER, len(header))
        self.assertEqual(
            disk_headers.Header('/i/v/disk', 'qcow2'), _read(header)
        )

    def test_all_else_in_a_header_stays(self):
        header = forge.forged(_OWN, backing='/i/v/disk')
        # Version, size, tables: all but where the name is.
        self.assertEqual(_OWN[:8], header[:8])
        self.assertEqual(_OWN[20:72], header[20:72])
        self.assertEqual('raw', _read(header).backing_format)

    def test_a_header_names_a_data_file_and_its_own_base(self):
        header = forge.forged(_OWN, data_file='/i/v/disk')
        with testtools.ExpectedException(
            exception.ForgedDisk, '.*names an external data file'
        ):
            _read(header)
        # Without the feature's bit it is still there.
        bare = bytearray(header)
        bare[72:80] = bytes(8)
        with testtools.ExpectedException(
            exception.ForgedDisk, '.*names an external data file'
        ):
            _read(bytes(bare))
        self.assertIn((0x44415441, b'/i/v/disk'), [*forge.extensions(header)])
        again = forge.forged(header, backing='/x')
        self.assertIn((0xE2792ACA, b'raw'), [*forge.extensions(again)])

    def test_a_raw_disk_begins_like_qcow2(self):
        header = forge.forged(
            bytes(forge.CLUSTER), backing='/i/v/disk', backing_format='qcow2'
        )
        self.assertEqual(
            disk_headers.Header('/i/v/disk', 'qcow2'), _read(header)
        )
        with testtools.ExpectedException(
            exception.ForgedDisk, '.*begins like a file of the format qcow2.*'
        ):
            disk_headers.read('/m/h/volume', header, 'raw')

    def test_nothing_is_named_where_nothing_was_asked_for(self):
        self.assertEqual(disk_headers.Header(), _read(forge.blank()))
        self.assertEqual(
            disk_headers.Header('/i/_base/own', 'raw'),
            _read(forge.forged(_OWN)),
        )


class KeptTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.disk = os.path.join(directory.name, 'disk')
        with open(self.disk, 'wb') as file:
            file.write(_OWN.ljust(2 * forge.CLUSTER, b'x'))
        self._patch_kept(os.path.join(directory.name, 'kept'))

    def _patch_kept(self, path):
        patch = mock.patch.object(forge, 'KEPT', path)
        patch.start()
        self.addCleanup(patch.stop)

    def _content(self):
        with open(self.disk, 'rb') as file:
            return file.read()

    def _overwrite(self, text):
        with open(self.disk, 'r+b') as file:
            file.write(forge.forged(_OWN, backing=text))

    def test_the_first_header_is_put_back_after_several_forgeries(self):
        before = self._content()
        for name in ('/one', '/two'):
            self.assertEqual(before[: forge.CLUSTER], forge.keep(self.disk))
            self._overwrite(name)
        self.assertEqual([self.disk], forge.restore())
        self.assertEqual(before, self._content())
        self.assertEqual([], forge.restore())

    def test_what_a_raw_disk_began_with_is_put_back(self):
        with open(self.disk, 'wb') as file:
            file.write(b'a\0b')
        forge.keep(self.disk)
        with open(self.disk, 'r+b') as file:
            file.write(b'QFI')
        forge.restore()
        self.assertEqual(b'a\0b', self._content())

    def test_a_disk_that_is_gone_is_forgotten(self):
        forge.keep(self.disk)
        os.unlink(self.disk)
        self.assertEqual([], forge.restore())
        self.assertEqual([], os.listdir(forge.KEPT))


class TargetTest(testtools.TestCase):
    def test_what_is_told_is_what_the_driver_says(self):
        header = forge.forged(
            _OWN, **targets.Target.beside('/i/v/disk').names()
        )
        error = self.assertRaises(exception.ForgedDisk, _read, header)
        self.assertTrue(
            targets.Target.beside('/i/v/disk').is_told_in([str(error)])
        )

    def test_what_is_not_named_is_not_written(self):
        self.assertEqual(
            {'backing': '/b', 'backing_format': 'raw'},
            targets.Target.below('/b').names(),
        )
        self.assertEqual(
            {'data_file': '/d'}, targets.Target.beside('/d').names()
        )


class ReadsTest(testtools.TestCase):
    def test_reads_of_disks_that_stand_on_others_are_counted(self):
        def stats(good, bad):
            return {'rd_operations': good, 'failed_rd_operations': bad}

        self.assertEqual(
            (5, 1),
            guest.count_reads(
                [
                    {'stats': stats(2, 1), 'backing': {}},
                    {'stats': stats(3, 0), 'backing': {}},
                    {'stats': stats(7, 7)},
                ]
            ),
        )


class DiscTest(testtools.TestCase):
    def test_a_disc_has_a_primary_volume_descriptor_and_an_end(self):
        disc = guest.disc()
        self.assertEqual(1 << 20, len(disc))
        self.assertEqual(b'\1CD001\1', disc[32768:32775])
        self.assertEqual(b'\xffCD001\1', disc[34816:34823])
        # No boot sector, which would be another format.
        self.assertEqual(bytes(512), disc[:512])
