# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova import exception
from svirt_nova.host import base_labels
from tests import samples


class BaseContextTest(testtools.TestCase):
    def test_each_type_of_domain_has_its_own_context(self):
        self.assertEqual(
            'svirt_t',
            base_labels.context(samples.CAPABILITIES, 'kvm').type,
        )
        self.assertEqual(
            'svirt_tcg_t',
            base_labels.context(samples.CAPABILITIES, 'qemu').type,
        )

    def test_a_type_that_libvirt_does_not_confine_is_refused(self):
        error = self.assertRaises(
            exception.UnconfinedHost,
            base_labels.context,
            samples.CAPABILITIES,
            'lxc',
        )
        self.assertIn("'lxc'", str(error))

    def test_a_host_without_the_selinux_driver_is_told_what_to_do(self):
        error = self.assertRaises(
            exception.UnconfinedHost,
            base_labels.context,
            '<capabilities><host/></capabilities>',
            'kvm',
        )
        self.assertIn('security_driver', str(error))
        self.assertIn('[svirt] mode', str(error))

    def test_no_entity_is_resolved(self):
        hostile = (
            '<!DOCTYPE c [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
            '<capabilities><host><secmodel><model>selinux</model>'
            "<baselabel type='kvm'>&x;</baselabel>"
            '</secmodel></host></capabilities>'
        )
        self.assertRaises(
            exception.SvirtError, base_labels.context, hostile, 'kvm'
        )

    def test_broken_xml_is_an_error_of_ours(self):
        self.assertRaises(
            exception.LabelError, base_labels.context, '<capab', 'kvm'
        )


class UserTest(testtools.TestCase):
    def test_the_user_is_that_of_the_type_of_the_domain(self):
        self.assertEqual(64055, base_labels.user(samples.CAPABILITIES, 'kvm'))
        self.assertIsNone(base_labels.user(samples.CAPABILITIES, 'lxc'))

    def test_a_user_that_is_no_number_is_not_known(self):
        named = samples.CAPABILITIES.replace('+64055', 'qemu')
        self.assertIsNone(base_labels.user(named, 'kvm'))

    def test_a_host_without_that_driver_names_no_user(self):
        none = samples.CAPABILITIES.replace('<model>dac', '<model>other')
        self.assertIsNone(base_labels.user(none, 'kvm'))
