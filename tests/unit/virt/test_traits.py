# SPDX-License-Identifier: Apache-2.0

from unittest import mock

import fixtures
from nova.compute import provider_tree
from nova.virt.libvirt import driver as libvirt_driver
from oslo_utils.fixture import uuidsentinel

from svirt_nova.host import mounts
from svirt_nova.virt import extension
from svirt_nova.virt import traits
from svirt_nova.virt import unstarted
from tests.unit.virt import case

OTHER = 'CUSTOM_OF_AN_OPERATOR'


class TraitsTest(case.DriverTestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.mounts.file_system',
                lambda path: mounts.FileSystem('xfs', '/'),
            )
        )
        self.nova = self.useFixture(
            fixtures.MockPatchObject(
                libvirt_driver.LibvirtDriver, 'update_provider_tree'
            )
        ).mock
        self.tree = provider_tree.ProviderTree()
        self.tree.new_root('here', uuidsentinel.here)
        self.tree.add_traits('here', OTHER)

    def update(self):
        self.driver.update_provider_tree(self.tree, 'here', {'a': 1})
        return self.tree.data('here').traits

    def test_a_host_that_enforces_gets_the_trait_beside_others(self):
        self.assertEqual({traits.ENFORCING, OTHER}, self.update())
        self.assertEqual(
            [mock.call(self.tree, 'here', {'a': 1})], self.nova.mock_calls
        )

    def test_a_kernel_that_keeps_nobody_apart_takes_it_off(self):
        self.update()
        self.kernel.permissive = {'svirt_t'}
        self.assertEqual({OTHER}, self.update())
        self.kernel.permissive = set()
        self.kernel.enforces = 0
        self.assertEqual({OTHER}, self.update())

    def test_the_mode_permissive_takes_it_off(self):
        self.update()
        self._flag('mode', 'permissive', 'svirt')
        self.assertEqual({OTHER}, self.update())

    def test_a_host_that_confines_nobody_takes_it_off(self):
        for kind in (
            extension.Extension(),
            extension.Claiming(self.allocator, 'here', self.driver._host),
            unstarted.Unstarted(),
        ):
            self.tree.add_traits('here', traits.ENFORCING)
            self.driver._extension = kind
            self.assertEqual({OTHER}, self.update(), kind)
