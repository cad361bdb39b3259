# SPDX-License-Identifier: Apache-2.0
"""Which file a volume is, whose label it carries, who else has it."""

from __future__ import annotations

from unittest import mock

import testtools
from nova.virt.libvirt.volume import iscsi
from nova.virt.libvirt.volume import nfs

from svirt_nova.virt import volumes
from tests import samples

PATH = '/mnt/hash/volume-1'


class KindTest(testtools.TestCase):
    def test_a_volume_is_a_file_if_its_driver_says_so(self):
        info = {'data': {'device_path': PATH}}
        for kind, expected in (
            (nfs.LibvirtNFSVolumeDriver, PATH),
            (iscsi.LibvirtISCSIVolumeDriver, None),
        ):
            find = mock.Mock(return_value=mock.Mock(spec=kind))
            self.assertEqual(expected, volumes.file_of(find, info))
            find.assert_called_once_with(info)

    def test_a_file_that_was_not_connected_has_no_path(self):
        driver = mock.Mock(spec=nfs.LibvirtNFSVolumeDriver)
        found = volumes.file_of(lambda info: driver, {'data': {}})
        self.assertIsNone(found)

    def test_a_volume_is_read_only_by_its_access_mode(self):
        for mode, expected in (('ro', True), ('rw', False), (None, False)):
            info = {'data': {'access_mode': mode}}
            self.assertIs(expected, volumes.is_read_only(info))
        self.assertFalse(volumes.is_read_only({'data': {}}))

    def test_a_volume_is_shared_if_cinder_says_so(self):
        self.assertTrue(volumes.is_multiattach({'multiattach': True}))
        self.assertFalse(volumes.is_multiattach({'multiattach': False}))
        self.assertFalse(volumes.is_multiattach({}))


class KeptLabelTest(testtools.TestCase):
    def test_a_label_that_is_kept_is_taken_once(self):
        info = {}
        volumes.keep_label(info, samples.IMAGE)
        self.assertEqual(samples.IMAGE, volumes.kept_label(info))
        self.assertEqual({}, info)
        self.assertIsNone(volumes.kept_label(info))

    def test_a_label_that_is_libvirts_again_is_not_kept(self):
        info = {}
        volumes.keep_label(info, samples.IMAGE)
        volumes.keep_label(info, None)
        self.assertEqual({}, info)
