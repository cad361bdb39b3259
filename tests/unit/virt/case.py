# SPDX-License-Identifier: Apache-2.0
"""SvirtLibvirtDriver above a LibvirtDriver that only notes its calls."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import fixtures
import nova.conf
import testtools
from nova import exception as nova_exception
from nova.objects import migration
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt.volume import nfs

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from svirt_nova.virt import confinement
from svirt_nova.virt import confining
from svirt_nova.virt import driver
from tests import samples
from tests.fakes import kernel as fake_kernel

CONF = nova.conf.CONF
INSTANCES = spaces.LevelSpace.parse('c0.c9')
LEVEL = levels.Level.parse('s0:c1,c2')
CLAIM = 1_700_000_000_000_000
"""The number of the claim that this host has."""
VOLUME = {
    'driver_volume_type': 'nfs',
    'data': {'device_path': '/mnt/hash/volume-1'},
}


class DriverTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        self.instances = self.useFixture(fixtures.TempDir()).path
        self._flag('instances_path', self.instances)
        self._flag('state_path', self.useFixture(fixtures.TempDir()).path)
        self.driver = driver.SvirtLibvirtDriver.__new__(
            driver.SvirtLibvirtDriver
        )
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.adopt.return_value = self.allocator.acquire.return_value
        self.allocator.meet.return_value = types.Trust(1)
        self.held(LEVEL)
        known = self.allocator.get.return_value
        known.hosts = frozenset({'here'})
        known.claims, known.last_claim = {'here': CLAIM}, CLAIM
        self.confined = confinement.Confinement(
            process=samples.PROCESS,
            image=samples.IMAGE,
            content=samples.CONTENT,
        )
        self.kernel = self.useFixture(fake_kernel.Kernel())
        self.driver._host = mock.Mock()
        self.driver._volume_api = mock.Mock()
        self.extension = confining.Confining(
            self.allocator, 'here', self.driver._host, self.confined
        )
        self.driver._extension = self.extension
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.migrations = mock.Mock(return_value=[])
        self.useFixture(
            fixtures.MockPatchObject(
                migration.MigrationList, 'get_by_filters', self.migrations
            )
        )
        self.volume_driver = mock.Mock(spec=nfs.LibvirtNFSVolumeDriver)
        self.driver._get_volume_driver = lambda info: self.volume_driver
        self.calls = mock.Mock()
        self.calls.read_header.return_value = bytes(512)
        for name in ('label', 'share', 'restore', 'read', 'read_header'):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'svirt_nova.host.file_labels.{name}',
                    getattr(self.calls, name),
                )
            )
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.image_contexts.readable',
                lambda: samples.CONTENT,
            )
        )
        for name in (
            '_connect_volume',
            '_disconnect_volume',
            '_get_volume_config',
            'cleanup',
            'pre_live_migration',
            'live_migration',
            '_live_migration_operation',
            'resume',
            'confirm_migration',
            'delete_instance_files',
        ):
            self.useFixture(
                fixtures.MockPatchObject(
                    libvirt_driver.LibvirtDriver,
                    name,
                    getattr(self.calls, name),
                )
            )
        self.instance = SimpleNamespace(
            uuid='uuid',
            project_id='project',
            image_ref='image',
            migration_context=None,
            host='here',
            deleted=False,
            vm_state='active',
            task_state=None,
            system_metadata={},
        )

    def held(self, own, project=None):
        found = self.allocator.acquire.return_value
        found.level, found.project_level = own, project
        found.generation = None
        found.claims, found.last_claim = {'here': CLAIM}, CLAIM
        found.levels = types.InstanceLevels(own, project)

    def disk_of(self, info, **attributes):
        """What the driver makes of the disk that Nova makes of a volume.

        :returns: its configuration, and how its label is understood
        """
        config = libvirt_config.LibvirtConfigGuestDisk()
        config.source_type = 'file'
        config.source_path = '/mnt/hash/volume-1'
        config.target_dev, config.target_bus = 'vdb', 'virtio'
        for name, value in attributes.items():
            setattr(config, name, value)
        self.calls._get_volume_config.return_value = config
        found = self.driver._get_volume_config(info, {})
        [disk] = domain_xml.disks(
            f'<domain><devices>{found.to_xml()}</devices></domain>'
        )
        return found, disk

    def _flag(self, name, value, group=None):
        CONF.set_override(name, value, group=group)
        self.addCleanup(CONF.clear_override, name, group=group)

    def _names(self):
        """What was done; files are read all the time."""
        return [
            call[0]
            for call in self.calls.mock_calls
            if call[0] not in ('read', 'read_header')
        ]
