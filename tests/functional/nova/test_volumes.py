# SPDX-License-Identifier: Apache-2.0
"""What is done to a server's disks leaves the server its level."""

from __future__ import annotations

from unittest import mock

from lxml import etree
from nova.tests import fixtures as nova_fixtures
from nova.virt.libvirt import utils as libvirt_utils

from svirt_nova.host import domain_xml
from tests.functional.nova import confined_host
from tests.functional.nova import two_hosts


class _DiskTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.cinder = self.useFixture(nova_fixtures.CinderFixture(self))
        self.server = self._boot()

    def _check(self):
        self._assert_held(self.server, 'here')
        self._assert_runs_at_its_level(self.server, 'here')


class VolumeTest(_DiskTest):
    def test_a_swapped_volume_leaves_the_server_its_level(self):
        self._attach_volume(self.server, self.cinder.SWAP_OLD_VOL)
        self.cinder.swap_volume_instance_uuid = self.server['id']
        self.api.put_server_volume(
            self.server['id'],
            self.cinder.SWAP_OLD_VOL,
            self.cinder.SWAP_NEW_VOL,
        )
        self._wait_for_volume_attach(
            self.server['id'], self.cinder.SWAP_NEW_VOL
        )

        self._check()

    def test_an_extended_volume_leaves_the_server_its_level(self):
        self.host_fixture._patch(
            'nova.virt.libvirt.volume.volume.LibvirtFakeVolumeDriver'
            '.extend_volume',
            lambda driver, connection_info, instance, size: size,
        )
        volume = self.cinder.IMAGE_BACKED_VOL
        info = {
            'driver_volume_type': 'fake',
            'data': {'device_path': '/dev/vdb'},
        }
        with mock.patch.dict(
            self.cinder.VOLUME_CONNECTION_INFO, {volume: info}
        ):
            self._attach_volume(self.server, volume)
        with mock.patch.object(confined_host.Domain, 'blockResize') as resize:
            self.api.create_server_external_events(
                [
                    {
                        'name': 'volume-extended',
                        'server_uuid': self.server['id'],
                        'tag': volume,
                    }
                ]
            )
            self._wait_for_instance_action_event(
                self.server,
                'extend_volume',
                'compute_extend_volume',
                'success',
            )

        self.assertTrue(resize.called)
        self._check()

    def test_a_read_only_volume_leaves_the_server_its_level(self):
        attached = []

        def attach(domain, xml, flags):
            attached.append(xml)
            return original(domain, xml, flags)

        original = confined_host.Domain.attachDeviceFlags
        volume = self.cinder.IMAGE_BACKED_VOL
        info = {'driver_volume_type': 'fake', 'data': {'access_mode': 'ro'}}
        with (
            mock.patch.dict(
                self.cinder.VOLUME_CONNECTION_INFO, {volume: info}
            ),
            mock.patch.object(
                confined_host.Domain, 'attachDeviceFlags', attach
            ),
        ):
            self._attach_volume(self.server, volume)

        self.assertIn('<readonly/>', attached[0])
        self._check()

    def test_a_volume_of_two_servers_leaves_them_their_levels(self):
        volume = self.cinder.MULTIATTACH_VOL
        level = self.level
        other = self._boot()
        for server in (self.server, other):
            self._attach_volume(server, volume)
        self._assert_held(other, 'here')
        self._assert_runs_at_its_level(other, 'here')
        self.level = level
        self._check()

        for server in (self.server, other):
            self.api.delete_server_volume(server['id'], volume)
            self._wait_for_volume_detach(server['id'], volume)

        self._check()


class SnapshotTest(_DiskTest):
    def _snapshot(self):
        self._snapshot_server(self.server, 'snapshot')
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None}
        )
        self._wait_for_instance_action_event(
            self.server, 'createImage', 'compute_snapshot_instance', 'success'
        )

    def test_a_live_snapshot_leaves_the_server_its_level(self):
        self.flags(disable_libvirt_livesnapshot=False, group='workarounds')
        for name in ('get_disk_size', 'create_image', 'extract_snapshot'):
            self.useFixture(
                nova_fixtures.fixtures.MockPatchObject(libvirt_utils, name)
            )
        seen = []

        def copy(domain, disk, xml, flags):
            seen.append(domain.isPersistent())
            found = etree.fromstring(xml)
            self.assertEqual('raw', found.find('driver').get('type'))
            path = found.find('source').get('file')
            self.assertIsNotNone(
                domain_xml.chains_of(
                    f'<domain><devices>{xml}</devices></domain>'
                )[path]
            )
            # It has the level of the server before QEMU gets it.
            carried = self.host_fixture.files.labels[path]
            self.assertEqual(self.level, carried.level)
            self._reconcile_host('here')
            self._check()
            return 0

        with mock.patch.object(confined_host.Domain, 'blockCopy', copy):
            self._snapshot()

        self.assertEqual([True], seen)
        self._check()

    def test_a_cold_snapshot_leaves_the_server_its_level(self):
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        with mock.patch.object(confined_host.Domain, 'managedSave') as save:
            self._snapshot()

        self.assertTrue(save.called)
        self._check()

    def test_a_snapshot_of_a_stopped_server_leaves_it_its_level(self):
        self._stop_server(self.server)

        self._snapshot()

        self._check()
        self._start_server(self.server)
        self._check()
