# SPDX-License-Identifier: Apache-2.0
"""Files that an instance uses elsewhere while its domain ends here."""

from __future__ import annotations

from unittest import mock

import fixtures
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import context as contexts
from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova.virt import shared_files
from tests.unit import test_seclabel
from tests.unit.virt import case

DISK = '/shared/uuid/disk'
VOLUME = '/mnt/hash/volume-1'
OTHER = levels.Level.parse('s0:c7,c8')
DEFAULT = contexts.Context.parse('system_u:object_r:virt_image_t:s0')


def _disk(path, more='', kind='file'):
    attribute = 'file' if kind == 'file' else 'dev'
    return (
        f'<disk type="{kind}" device="disk"><source {attribute}="{path}"/>'
        f'<target dev="vda"/>{more}</disk>'
    )


class SharedFilesTest(case.DriverTestCase):
    def setUp(self):
        super().setUp()
        self.instance.host = 'there'
        self.instance.system_metadata = {}
        image = test_seclabel.IMAGE
        self.carried = {
            DISK: image.at(case.LEVEL),
            VOLUME: image.at(case.LEVEL),
        }
        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.files.read', self._read)
        )
        self.useFixture(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, '_destroy', self._end
            )
        )
        self.has(_disk(DISK), _disk(VOLUME))

    def has(self, *disks):
        """The host has a domain with these disks, at the level."""
        guest = mock.Mock()
        guest.get_xml_desc.return_value = (
            f'<domain><devices>{"".join(disks)}</devices>'
            f'<seclabel type="static" model="selinux" relabel="yes"><label>'
            f'{test_seclabel.PROCESS.at(case.LEVEL)}</label></seclabel>'
            '</domain>'
        )
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = guest
        return guest

    def _read(self, path):
        if path not in self.carried:
            raise exception.LabelError(f'{path} cannot be read')
        return self.carried[path]

    def _end(self, instance):
        self.carried = dict.fromkeys(self.carried, DEFAULT)

    def _given_back(self):
        return [call.args[1:] for call in self.calls.label.call_args_list]

    def test_the_levels_of_a_domain_that_stayed_behind_are_given_back(self):
        self.driver._destroy(self.instance)
        self.assertEqual(
            [(DISK, case.LEVEL), (VOLUME, case.LEVEL)], self._given_back()
        )

    def test_what_sets_labels_runs_before_libvirt_takes_them_off(self):
        carried = []

        def restore(root, path, given):
            carried.append(self.carried[path])
            self.assertEqual((), given)
            raise exception.LabelNotApplied('no helper')

        self.calls.restore.side_effect = restore
        self.driver._destroy(self.instance)
        self.assertEqual([test_seclabel.IMAGE.at(case.LEVEL)], carried)
        self.assertEqual(2, len(self._given_back()))

    def test_libvirt_puts_the_files_of_an_instance_of_this_host_back(self):
        self.instance.host = 'here'
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_files_that_kept_their_levels_are_left_alone(self):
        with shared_files.kept(self.driver._host, self.instance):
            pass
        self.assertEqual([], self._given_back())

    def test_a_volume_that_another_instance_has_by_now_keeps_its_level(self):
        self.carried[VOLUME] = test_seclabel.IMAGE.at(OTHER)
        self.driver._destroy(self.instance)
        self.assertEqual(
            [(DISK, case.LEVEL), (VOLUME, OTHER)], self._given_back()
        )

    def test_a_file_that_had_no_level_gets_none(self):
        self.carried = {DISK: DEFAULT, VOLUME: None}
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_a_level_that_came_from_elsewhere_meanwhile_stays(self):
        with shared_files.kept(self.driver._host, self.instance):
            self.carried[DISK] = test_seclabel.IMAGE.at(OTHER)
        self.assertEqual([], self._given_back())

    def test_what_libvirt_does_not_put_back_is_left_alone(self):
        self.has(
            _disk(DISK, '<readonly/>'),
            _disk(VOLUME, '<shareable/>'),
            _disk('/dev/sda', kind='block'),
        )
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_levels_come_back_where_the_end_of_the_domain_fails(self):
        def end(driver, instance):
            self._end(instance)
            raise libvirt_host.libvirt.libvirtError('busy')

        self.useFixture(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, '_destroy', end
            )
        )
        self.assertRaises(
            libvirt_host.libvirt.libvirtError,
            self.driver._destroy,
            self.instance,
        )
        self.assertEqual(2, len(self._given_back()))

    def test_a_file_that_takes_no_label_is_told_and_the_others_get_theirs(
        self,
    ):
        log = self.useFixture(fixtures.FakeLogger())
        self.calls.label.side_effect = [
            exception.LabelNotApplied('refused'),
            None,
        ]
        self.useFixture(
            fixtures.MonkeyPatch('os.path.lexists', lambda path: True)
        )
        self.driver._destroy(self.instance)
        self.assertEqual(2, len(self._given_back()))
        self.assertIn('refused', log.output)

    def test_a_file_that_went_with_the_domain_is_no_matter(self):
        log = self.useFixture(fixtures.FakeLogger())

        def end(driver, instance):
            self.carried = {}

        self.useFixture(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, '_destroy', end
            )
        )
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())
        self.assertEqual('', log.output)

    def test_the_domain_ends_whatever_libvirt_says_of_it(self):
        log = self.useFixture(fixtures.FakeLogger())
        guest = self.has()
        guest.get_xml_desc.side_effect = libvirt_host.libvirt.libvirtError('x')
        self.driver._destroy(self.instance)
        self.assertIn('may lose access', log.output)
        self.assertEqual(dict.fromkeys((DISK, VOLUME), DEFAULT), self.carried)
