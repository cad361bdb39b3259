# SPDX-License-Identifier: Apache-2.0

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.mcs import contexts
from svirt_nova.virt import confinement
from tests import samples


class OfHostTest(testtools.TestCase):
    def _host(self, enabled=1, enforcing=1):
        image = contexts.Context.parse('system_u:object_r:svirt_image_t:s0')
        for name, value in (
            ('selinux.is_selinux_enabled', enabled),
            ('selinux.security_getenforce', enforcing),
            ('svirt_nova.host.image_contexts.writable', image),
            ('svirt_nova.host.image_contexts.readable', samples.CONTENT),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(name, lambda value=value: value)
            )
        return confinement.of_host(samples.CAPABILITIES, 'qemu')

    def test_contexts_come_from_libvirt_and_the_policy(self):
        host = self._host()
        self.assertEqual('svirt_tcg_t', host.process.type)
        self.assertEqual('svirt_image_t', host.image.type)
        self.assertEqual('virt_content_t', host.content.type)

    def test_a_permissive_kernel_is_refused(self):
        error = self.assertRaises(
            exception.UnconfinedHost, self._host, enforcing=0
        )
        self.assertIn('setenforce 1', str(error))

    def test_a_kernel_without_selinux_is_refused(self):
        self.assertRaises(exception.UnconfinedHost, self._host, enabled=0)
