# SPDX-License-Identifier: Apache-2.0
"""Files that an instance uses elsewhere while its domain ends here."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from unittest import mock

import fixtures
import oslo_messaging
from nova import exception as nova_exception
from nova.objects import block_device
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import shared_files
from tests import samples
from tests.unit.virt import case

VOLUME = '/mnt/hash/volume-1'
OTHER = levels.Level.parse('s0:c7,c8')
DEFAULT = contexts.Context.parse('system_u:object_r:virt_image_t:s0')


def _volume(path=VOLUME, more=''):
    return _disk(path, f'<serial>of {path}</serial>{more}')


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
        # As Nova and the allocator have it.
        self.holders = {f'of {VOLUME}': 'uuid'}
        self.names = {}
        self.holds = {'uuid': case.LEVEL, 'other': OTHER}
        self.allocator.get.side_effect = self._held
        self.useFixture(
            fixtures.MockPatchObject(
                block_device.BlockDeviceMapping,
                'get_by_volume',
                self._attached,
            )
        )
        self.own = os.path.join(self.instances, 'uuid', 'disk')
        image = samples.IMAGE
        self.carried = {
            self.own: image.at(case.LEVEL),
            VOLUME: image.at(case.LEVEL),
        }
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read', self._read
            )
        )
        self.useFixture(
            fixtures.MockPatchObject(
                shared_files, '_is_gone', lambda path: path not in self.carried
            )
        )
        self.useFixture(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, '_destroy', self._end
            )
        )
        self.has(_disk(self.own), _volume())

    def _held(self, uuid):
        if uuid not in self.holds:
            raise exception.UnknownInstance(uuid)
        return mock.Mock(level=self.holds[uuid], state=types.State.HELD)

    def _attached(self, context, volume):
        holder = self.holders.get(volume)
        if holder is None:
            raise nova_exception.VolumeBDMNotFound(volume_id=volume)
        if isinstance(holder, Exception):
            raise holder
        name = self.names.get(volume, 'volume-1')
        return SimpleNamespace(
            instance_uuid=holder,
            connection_info=name and json.dumps({'data': {'name': name}}),
        )

    def has(self, *disks):
        """The host has a domain with these disks, at the level."""
        guest = mock.Mock()
        guest.get_xml_desc.return_value = (
            f'<domain><devices>{"".join(disks)}</devices>'
            f'<seclabel type="static" model="selinux" relabel="yes"><label>'
            f'{samples.PROCESS.at(case.LEVEL)}</label></seclabel>'
            '</domain>'
        )
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = guest
        return guest

    def _read(self, path):
        if path not in self.carried:
            raise exception.LabelError(path)
        found = self.carried[path]
        if isinstance(found, Exception):
            raise found
        return found

    def _end(self, instance):
        self.carried = dict.fromkeys(self.carried, DEFAULT)

    def put_back(self):
        return shared_files.put_back(
            self.driver._host, self.extension.claims, self.instance
        )

    def _given_back(self):
        return [call.args[1:] for call in self.calls.label.call_args_list]

    def test_the_levels_of_a_domain_that_stayed_behind_are_given_back(self):
        self.driver._destroy(self.instance)
        self.assertEqual(
            [
                mock.call(self.instances, self.own, case.LEVEL),
                mock.call('/mnt/hash', VOLUME, case.LEVEL),
            ],
            self.calls.label.call_args_list,
        )
        # Nothing was taken off again.
        self.calls.restore.assert_called_once_with(
            self.instances, self.own, ()
        )

    def test_what_sets_labels_runs_before_libvirt_takes_them_off(self):
        carried = []

        def restore(root, path, given):
            carried.append(self.carried[path])
            self.assertEqual((), given)
            raise exception.LabelNotApplied('no helper')

        self.calls.restore.side_effect = restore
        self.driver._destroy(self.instance)
        self.assertEqual([samples.IMAGE.at(case.LEVEL)], carried)
        self.assertEqual(2, len(self._given_back()))

    def test_libvirt_puts_the_files_of_an_instance_of_this_host_back(self):
        self.instance.host = 'here'
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_an_evacuation_need_not_have_ended(self):
        """Only then Nova notes the new host of the instance."""
        self.instance.host = 'here'
        for answer in (
            [SimpleNamespace(status='pre-migrating')],
            nova_exception.NovaException('no conductor'),
            oslo_messaging.MessagingTimeout('no conductor'),
        ):
            self.calls.label.reset_mock()
            self.carried = dict.fromkeys(
                self.carried, samples.IMAGE.at(case.LEVEL)
            )
            self.migrations.side_effect = [answer]
            self.driver._destroy(self.instance)
            self.assertEqual(2, len(self._given_back()))
        self.assertEqual(
            {
                'instance_uuid': 'uuid',
                'source_compute': 'here',
                'migration_type': 'evacuation',
                'status': ['accepted', 'pre-migrating', 'done'],
            },
            self.migrations.call_args.args[1],
        )

    def test_the_host_counts_once_an_evacuation_has_ended(self):
        """Nova leaves the record until the source starts again."""
        self.instance.host = 'here'
        self.migrations.return_value = [SimpleNamespace(status='done')]
        now = SimpleNamespace(host='here')
        with mock.patch('nova.objects.Instance.get_by_uuid', return_value=now):
            self.driver._destroy(self.instance)
            self.assertEqual([], self._given_back())
            now.host = 'there'
            self.carried = dict.fromkeys(
                self.carried, samples.IMAGE.at(case.LEVEL)
            )
            self.driver._destroy(self.instance)
        self.assertEqual(2, len(self._given_back()))

    def test_files_that_kept_their_levels_are_left_alone(self):
        with self.put_back():
            pass
        self.assertEqual([], self._given_back())

    def test_a_volume_that_another_instance_has_by_now_gets_its_level(self):
        """Whatever it seemed to carry: what NFS shows may be a minute old."""
        self.holders[f'of {VOLUME}'] = 'other'
        for shown in (OTHER, case.LEVEL):
            self.calls.label.reset_mock()
            self.carried[VOLUME] = samples.IMAGE.at(shown)
            self.driver._destroy(self.instance)
            self.assertIn((VOLUME, OTHER), self._given_back())
            self.assertNotIn((VOLUME, case.LEVEL), self._given_back())

    def test_a_volume_that_nobody_is_known_to_hold_gets_no_level(self):
        log = self.useFixture(fixtures.FakeLogger())
        holders = (
            None,
            'of Nova alone',
            nova_exception.VolumeBDMIsMultiAttach(volume_id='of'),
            nova_exception.NovaException('no conductor'),
            oslo_messaging.MessagingTimeout('no conductor'),
        )
        for number, holder in enumerate(holders, 1):
            self.calls.label.reset_mock()
            self.carried[VOLUME] = samples.IMAGE.at(case.LEVEL)
            self.holders[f'of {VOLUME}'] = holder
            self.driver._destroy(self.instance)
            self.assertNotIn(VOLUME, [path for path, _ in self._given_back()])
            told = log.output.count(f'{VOLUME} may have lost')
            self.assertEqual(number, told)

    def test_a_volume_gets_no_level_while_the_allocator_is_away(self):
        another = '/mnt/hash/volume-2'
        self.has(_disk(self.own), _volume(), _volume(another))
        self.holders[f'of {another}'] = 'uuid'
        self.names[f'of {another}'] = 'volume-2'
        self.carried[another] = self.carried[VOLUME]
        self.allocator.get.side_effect = exception.StoreUnreachable
        self.driver._destroy(self.instance)
        self.assertEqual([(self.own, case.LEVEL)], self._given_back())
        # It is waited for only once.
        self.allocator.get.assert_called_once_with('uuid')

    def test_a_volume_whose_file_is_another_by_now_gets_no_level(self):
        """After a swap the domain still has the first one's UUID."""
        for name in ('volume-2', None):
            self.calls.label.reset_mock()
            self.carried[VOLUME] = samples.IMAGE.at(case.LEVEL)
            self.names[f'of {VOLUME}'] = name
            self.driver._destroy(self.instance)
            self.assertNotIn(VOLUME, [path for path, _ in self._given_back()])

    def test_the_level_of_a_volume_that_leaves_meanwhile_goes_again(self):
        for then in (None, 'other'):
            self.carried[VOLUME] = samples.IMAGE.at(case.LEVEL)
            self.holders[f'of {VOLUME}'] = 'uuid'
            self.calls.restore.reset_mock()

            def label(root, path, level, then=then):
                if path == VOLUME:
                    self.holders[f'of {VOLUME}'] = then

            self.calls.label.side_effect = label
            self.driver._destroy(self.instance)
            self.assertEqual(
                mock.call('/mnt/hash', VOLUME, [case.LEVEL]),
                self.calls.restore.call_args,
            )
        self.assertEqual((VOLUME, OTHER), self._given_back()[-1])

    def test_a_domain_that_does_not_run_takes_nothing_off(self):
        self.has(_disk(self.own)).is_active.return_value = False
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_what_is_neither_the_instance_s_nor_a_volume_is_left(self):
        stranger = os.path.join(self.instances, 'other', 'disk')
        self.has(_disk(stranger))
        self.carried[stranger] = samples.IMAGE.at(case.LEVEL)
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_a_file_whose_label_cannot_be_read_is_told(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.carried[self.own] = exception.LabelError('Stale file handle')
        with self.put_back():
            pass
        self.assertIn('Stale file handle', log.output)

    def test_a_file_that_had_no_level_gets_none(self):
        self.carried = {self.own: DEFAULT, VOLUME: None}
        self.driver._destroy(self.instance)
        self.assertEqual([], self._given_back())

    def test_a_level_that_came_from_elsewhere_meanwhile_stays(self):
        with self.put_back():
            self.carried[self.own] = samples.IMAGE.at(OTHER)
        self.assertEqual([], self._given_back())

    def test_what_libvirt_does_not_put_back_is_left_alone(self):
        self.has(
            _disk(self.own, '<readonly/>'),
            _volume(more='<shareable/>'),
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
        self.assertEqual(
            dict.fromkeys((self.own, VOLUME), DEFAULT), self.carried
        )
