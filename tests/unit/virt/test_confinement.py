# SPDX-License-Identifier: Apache-2.0

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.mcs import contexts
from svirt_nova.virt import confinement
from tests import samples
from tests.fakes import kernel as fake_kernel


class OfHostTest(testtools.TestCase):
    def _host(self, enabled=1, enforcing=1, virt_type='qemu'):
        kernel = self.useFixture(fake_kernel.Kernel())
        kernel.enforces = enforcing
        image = contexts.Context.parse('system_u:object_r:svirt_image_t:s0')
        for name, value in (
            ('selinux.is_selinux_enabled', enabled),
            ('svirt_nova.host.image_contexts.writable', image),
            ('svirt_nova.host.image_contexts.readable', samples.CONTENT),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(name, lambda value=value: value)
            )
        return confinement.of_host(samples.CAPABILITIES, virt_type)

    def test_contexts_come_from_libvirt_and_the_policy(self):
        host = self._host()
        self.assertEqual('svirt_tcg_t', host.process.type)
        self.assertEqual('svirt_image_t', host.image.type)
        self.assertEqual('virt_content_t', host.content.type)

    def test_an_emulated_domain_on_a_host_with_kvm_has_its_own_context(self):
        """Nova makes it for an image with hw_emulation_architecture."""
        host = self._host(virt_type='kvm')
        held = types.InstanceLevels(samples.LEVEL, None)
        for kind, domain in (('kvm', 'svirt_t'), ('qemu', 'svirt_tcg_t')):
            xml = host.confine(
                (samples.DOMAIN % '').replace("type='kvm'", f"type='{kind}'"),
                held,
                samples.chains(),
            )
            label = domain_xml.read(xml).label
            self.assertEqual(domain, label.type)
            self.assertEqual(samples.LEVEL, label.level)
            self.assertEqual(domain, host.process_of(xml).type)

    def test_a_host_without_kvm_has_one_context(self):
        capabilities = samples.CAPABILITIES.replace("'kvm'", "'xen'")
        with fixtures.MonkeyPatch('tests.samples.CAPABILITIES', capabilities):
            self.assertEqual({}, self._host().others)

    def test_a_permissive_kernel_is_refused(self):
        error = self.assertRaises(
            exception.UnconfinedHost, self._host, enforcing=0
        )
        self.assertIn('setenforce 1', str(error))

    def test_a_kernel_without_selinux_is_refused(self):
        self.assertRaises(exception.UnconfinedHost, self._host, enabled=0)
