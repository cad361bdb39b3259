# SPDX-License-Identifier: Apache-2.0

import testtools
from lxml import etree

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from tests import samples


class BaseContextTest(testtools.TestCase):
    def test_each_type_of_domain_has_its_own_context(self):
        self.assertEqual(
            'svirt_t',
            domain_xml.base_context(samples.CAPABILITIES, 'kvm').type,
        )
        self.assertEqual(
            'svirt_tcg_t',
            domain_xml.base_context(samples.CAPABILITIES, 'qemu').type,
        )

    def test_a_type_that_libvirt_does_not_confine_is_refused(self):
        error = self.assertRaises(
            exception.UnconfinedHost,
            domain_xml.base_context,
            samples.CAPABILITIES,
            'lxc',
        )
        self.assertIn("'lxc'", str(error))

    def test_a_host_without_the_selinux_driver_is_told_what_to_do(self):
        error = self.assertRaises(
            exception.UnconfinedHost,
            domain_xml.base_context,
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
            exception.SvirtError, domain_xml.base_context, hostile, 'kvm'
        )

    def test_broken_xml_is_an_error_of_ours(self):
        self.assertRaises(
            exception.LabelError, domain_xml.base_context, '<capab', 'kvm'
        )


class ConfineTest(testtools.TestCase):
    def _confine(self, more=''):
        return domain_xml.confine(
            samples.DOMAIN % more, samples.PROCESS, samples.IMAGE
        )

    def test_the_domain_gets_one_static_label(self):
        xml = self._confine(
            "<seclabel type='dynamic' model='selinux'/><seclabel type='none'/>"
        )

        label = domain_xml.read(xml)
        self.assertEqual(
            1,
            xml.count(
                'model="selinux" relabel="yes"><label>system_u:system_r:'
            ),
        )
        self.assertTrue(label.is_static)
        self.assertEqual(samples.PROCESS, label.label)
        self.assertNotIn('dynamic', xml)
        self.assertNotIn('type="none"', xml)

    def test_labels_of_other_models_stay(self):
        self.assertIn('+64055:+64055', self._confine())

    def test_read_only_disks_are_behind_the_level(self):
        labels = {
            disk.path: disk.label for disk in domain_xml.disks(self._confine())
        }
        self.assertEqual(domain_xml.DiskLabel.OWN, labels['/i/u/disk.config'])
        self.assertEqual(domain_xml.DiskLabel.OWN, labels['/m/h/read-only'])
        self.assertEqual(domain_xml.DiskLabel.SHARED, labels['/m/h/shared'])

    def test_what_a_project_shares_has_its_own_label(self):
        shared = samples.IMAGE.at(levels.Level.parse('s0:c12'))
        once = domain_xml.confine(
            samples.DOMAIN % '', samples.PROCESS, samples.IMAGE, shared
        )
        labels = {disk.path: disk.label for disk in domain_xml.disks(once)}
        self.assertEqual(domain_xml.DiskLabel.PROJECT, labels['/m/h/shared'])
        self.assertEqual(1, once.count(f'<label>{shared}</label>'))
        self.assertEqual(
            once,
            domain_xml.confine(once, samples.PROCESS, samples.IMAGE, shared),
        )
        # A project that shares nothing any more leaves it to libvirt.
        again = domain_xml.confine(once, samples.PROCESS, samples.IMAGE)
        self.assertNotIn(f'<label>{shared}</label>', again)

    def test_a_label_that_a_disk_had_is_replaced(self):
        source = etree.fromstring(
            '<source file="/disk">'
            '<seclabel model="selinux" relabel="no"/>'
            '<seclabel model="dac" relabel="no"/>'
            '<seclabel model="selinux"><label>other</label></seclabel>'
            '</source>'
        )

        domain_xml.set_disk_label(source, samples.IMAGE)

        [label] = source.findall('seclabel[@model="selinux"]')
        self.assertEqual(str(samples.IMAGE), label.findtext('label'))
        self.assertEqual(1, len(source.findall('seclabel[@model="dac"]')))

    def test_confining_twice_changes_nothing(self):
        once = self._confine()
        self.assertEqual(
            once, domain_xml.confine(once, samples.PROCESS, samples.IMAGE)
        )

    def test_another_level_replaces_the_first_everywhere(self):
        other = levels.Level.parse('s0:c1,c2')

        xml = domain_xml.confine(
            self._confine(), samples.PROCESS.at(other), samples.IMAGE.at(other)
        )

        self.assertNotIn('c900', xml)


class ReadTest(testtools.TestCase):
    def test_a_domain_without_a_label_has_none(self):
        self.assertIsNone(domain_xml.read(samples.DOMAIN % ''))

    def test_a_label_of_type_none_is_none(self):
        self.assertIsNone(
            domain_xml.read(
                samples.DOMAIN % "<seclabel type='none' model='selinux'/>"
            )
        )

    def test_a_running_domain_shows_both_labels(self):
        label = domain_xml.read(
            samples.DOMAIN
            % "<seclabel type='dynamic' model='selinux' relabel='yes'>"
            '<label>system_u:system_r:svirt_t:s0:c2,c1</label><imagelabel>'
            'system_u:object_r:svirt_image_t:s0:c1,c2</imagelabel></seclabel>'
        )
        self.assertFalse(label.is_static)
        self.assertEqual(label.label.level, label.imagelabel.level)

    def test_disks_that_are_remote_or_empty_are_not_listed(self):
        self.assertEqual(
            ['vda', 'sda', 'vdb', 'vdc', 'vdd'],
            [disk.target for disk in domain_xml.disks(samples.DOMAIN % '')],
        )

    def test_without_labels_of_their_own_libvirt_opens_read_only_disks(self):
        labels = {
            d.target: d.label for d in domain_xml.disks(samples.DOMAIN % '')
        }
        self.assertEqual(domain_xml.DiskLabel.CONTENT, labels['sda'])
        self.assertEqual(domain_xml.DiskLabel.CONTENT, labels['vdb'])
        self.assertEqual(domain_xml.DiskLabel.OWN, labels['vda'])
