# SPDX-License-Identifier: Apache-2.0
"""Nova's own cross-cell tests, which know its fake driver, over libvirt."""

from __future__ import annotations

import os
import re
from unittest import mock

import fixtures
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional import test_cross_cell_migrate
from oslo_utils.fixture import uuidsentinel as uuids

from tests.functional.nova import confined
from tests.functional.nova import test_cross_cell

CONF = nova.conf.CONF
_DRIVER = 'nova.virt.libvirt.driver.LibvirtDriver'
# The others are about the scheduler, and periodic tasks of the manager.
_WANTED = re.compile(
    r'test_(resize_(confirm_image_backed|revert_volume_backed|'
    r'(confirm|revert)_from_stopped)|delete_while_in_verify_resize_status|'
    r'cold_migrate_target_host_in_other_cell)'
)


class MultiCellMigrateTest(
    confined.ConfinedMixin, test_cross_cell_migrate.TestMultiCellMigrate
):
    compute_driver = 'libvirt.LibvirtDriver'

    def _fake_libvirt(self):
        self.flags(instances_path=self.useFixture(fixtures.TempDir()).path)
        for fixture in (
            nova_fixtures.LibvirtImageBackendFixture(),
            nova_fixtures.CGroupsFixture(),
            nova_fixtures.LibvirtFixture(),
            nova_fixtures.OSBrickFixture(),
        ):
            self.useFixture(fixture)
        for name, new in (
            (f'{_DRIVER}._create_image', self._create_image),
            (f'{_DRIVER}.snapshot', test_cross_cell._snapshot),
            (
                f'{_DRIVER}._get_local_gb_info',
                lambda: {'total': 128, 'used': 44, 'free': 84},
            ),
            (
                'nova.virt.libvirt.host.Host.get_online_cpus',
                lambda host: set(range(16)),
            ),
            ('nova.privsep.utils.supports_direct_io', lambda path: True),
        ):
            self.host_fixture._patch(name, new)

    @staticmethod
    def _create_image(driver, context, instance, *args, **kwargs):
        os.makedirs(
            os.path.join(CONF.instances_path, instance.uuid), exist_ok=True
        )
        return False, False

    def _start_compute(self, host, cell_name=None):
        if not self.host_fixture.drivers:
            self._fake_libvirt()
        connection = fakelibvirt.Connection(
            'qemu:///system',
            host_info=fakelibvirt.HostInfo(
                cpu_nodes=2, cpu_sockets=1, cpu_cores=2, cpu_threads=2
            ),
            hostname=host,
        )
        with (
            mock.patch(
                'nova.virt.libvirt.host.Host.get_connection',
                return_value=connection,
            ),
            mock.patch(
                'nova.virt.node.get_local_node_uuid',
                return_value=str(getattr(uuids, f'node_{host}')),
            ),
        ):
            service = super()._start_compute(host, cell_name=cell_name)
            service.driver._host.get_node_uuid()
        service.driver._host.get_connection = lambda: connection
        return service


for _name in dir(MultiCellMigrateTest):
    if _name.startswith('test_') and not _WANTED.fullmatch(_name):
        # What is no function, unittest does not take for a test.
        setattr(MultiCellMigrateTest, _name, None)
