# SPDX-License-Identifier: Apache-2.0

import testtools
from lxml import etree

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from tests import samples


class ConfineTest(testtools.TestCase):
    def _confine(self, more='', xml=None, shared=None, level=samples.LEVEL):
        return domain_xml.confine(
            xml or samples.DOMAIN % more,
            samples.PROCESS.at(level),
            samples.IMAGE.at(level),
            samples.chains(None if shared is None else shared.level),
            shared,
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

    def test_a_read_only_device_is_behind_the_level(self):
        """Every guest could read one that is left to libvirt."""
        device = (
            "<devices><disk type='block' device='disk'>"
            "<source dev='/dev/vg/z'/><target dev='vdg'/><readonly/></disk>"
        )
        xml = (samples.DOMAIN % '').replace('<devices>', device)
        labels = {disk.path: disk.label for disk in domain_xml.disks(xml)}
        self.assertEqual(domain_xml.DiskLabel.CONTENT, labels['/dev/vg/z'])
        labels = {
            disk.path: disk.label
            for disk in domain_xml.disks(self._confine(xml=xml))
        }
        self.assertEqual(domain_xml.DiskLabel.OWN, labels['/dev/vg/z'])

    def test_what_a_project_shares_has_its_own_label(self):
        shared = samples.IMAGE.at(levels.Level.parse('s0:c12'))
        device = (
            "<devices><disk type='block' device='disk'>"
            "<source dev='/dev/vg/y'/><target dev='vdf'/><shareable/></disk>"
        )
        xml = (samples.DOMAIN % '').replace('<devices>', device)
        once = self._confine(xml=xml, shared=shared)
        labels = {disk.path: disk.label for disk in domain_xml.disks(once)}
        self.assertEqual(domain_xml.DiskLabel.PROJECT, labels['/m/h/shared'])
        self.assertEqual(domain_xml.DiskLabel.PROJECT, labels['/dev/vg/y'])
        self.assertEqual(1, once.count(f'<label>{shared}</label>'))
        self.assertEqual(once, self._confine(xml=once, shared=shared))
        # A project that shares nothing any more leaves it to libvirt.
        again = self._confine(xml=once)
        labels = {disk.path: disk.label for disk in domain_xml.disks(again)}
        self.assertEqual(domain_xml.DiskLabel.SHARED, labels['/m/h/shared'])
        self.assertEqual(domain_xml.DiskLabel.SHARED, labels['/dev/vg/y'])

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
        self.assertEqual(once, self._confine(xml=once))

    def test_another_level_replaces_the_first_everywhere(self):
        other = levels.Level.parse('s0:c1,c2')
        xml = self._confine(xml=self._confine(), level=other)
        self.assertNotIn('c900', xml)


class ChainTest(testtools.TestCase):
    def _disk(self, path, xml=samples.DOMAIN % '', chains=None):
        root = etree.fromstring(
            domain_xml.confine(
                xml,
                samples.PROCESS,
                samples.IMAGE,
                samples.chains() if chains is None else chains,
            )
        )
        for disk in root.findall('devices/disk'):
            if disk.find('source').get('file') == path:
                return disk
        return None

    def _kept(self, source):
        return {
            each.get('model')
            for each in source.findall('seclabel')
            if each.get('relabel') == 'no' and not len(each)
        }

    def test_each_file_of_a_chain_is_named_and_left_alone(self):
        disk = self._disk('/i/u/disk')
        self.assertEqual('qcow2', disk.find('driver').get('type'))
        self.assertEqual({'selinux', 'dac'}, self._kept(disk.find('source')))
        base = disk.find('backingStore')
        self.assertEqual('raw', base.find('format').get('type'))
        self.assertEqual(samples.BASE, base.find('source').get('file'))
        self.assertEqual({'selinux', 'dac'}, self._kept(base.find('source')))
        self.assertEqual(0, len(base.find('backingStore')))
        self.assertFalse(base.find('backingStore').attrib)

    def test_a_cdrom_does_not_give_its_label_to_the_image_below(self):
        """As libvirt does with the label of a disk, down to the last file."""
        xml = (samples.DOMAIN % '').replace(
            "device='disk'>\n      <source file='/i/u/disk'/>",
            "device='cdrom'>\n      <source file='/i/u/disk'/>",
        )
        disk = self._disk('/i/u/disk', xml=xml)
        self.assertEqual('cdrom', disk.get('device'))
        self.assertEqual([], disk.findall('.//label'))
        for source in (disk.find('source'), disk.find('backingStore/source')):
            self.assertEqual({'selinux', 'dac'}, self._kept(source))

    def test_a_file_without_one_below_has_a_chain_that_ends(self):
        disk = self._disk('/i/u/disk.config')
        self.assertEqual('raw', disk.find('driver').get('type'))
        self.assertEqual(0, len(disk.find('backingStore')))

    def test_a_chain_that_libvirt_wrote_is_replaced(self):
        found = (
            "<backingStore type='file'><format type='raw'/>"
            "<source file='/etc/shadow'/><backingStore/></backingStore>"
        )
        xml = (samples.DOMAIN % '').replace(
            "<source file='/i/u/disk'/>", f"<source file='/i/u/disk'/>{found}"
        )
        text = etree.tostring(self._disk('/i/u/disk', xml)).decode()
        self.assertNotIn('shadow', text)
        self.assertEqual(1, text.count(samples.BASE))

    def test_a_file_that_is_libvirts_has_a_chain_that_ends(self):
        disk = self._disk('/m/h/shared')
        self.assertEqual(set(), self._kept(disk.find('source')))
        self.assertEqual(0, len(disk.find('backingStore')))

    def test_a_disk_of_which_nothing_is_known_is_refused(self):
        chains = dict(samples.chains())
        del chains['/i/u/disk']
        error = self.assertRaises(
            exception.LabelError, self._disk, '', chains=chains
        )
        self.assertIn('/i/u/disk', str(error))

    def test_a_disk_that_is_let_go_stays_as_nova_made_it(self):
        disk = self._disk(
            '/i/u/disk', chains={**samples.chains(), '/i/u/disk': None}
        )
        self.assertEqual(
            ['source', 'target'], [each.tag for each in disk.iterchildren()]
        )

    def test_chains_are_read_as_they_were_written(self):
        xml = domain_xml.confine(
            samples.DOMAIN % '',
            samples.PROCESS,
            samples.IMAGE,
            samples.chains(levels.Level.parse('s0:c12')),
        )
        self.assertEqual(
            {
                '/i/u/disk': [samples.BASE],
                '/i/u/disk.config': [],
                '/m/h/read-only': [],
                '/m/h/shared': [],
            },
            domain_xml.chains_of(xml),
        )

    def test_a_chain_that_is_not_wholly_ours_is_noticed(self):
        written = etree.tostring(self._disk('/i/u/disk')).decode()
        label = '<seclabel model="dac" relabel="no"/>'
        data_file = '<dataStore type="file"><source file="/x"/></dataStore>'
        for found, other in (
            (label, ''),
            ('<backingStore/>', ''),
            (f'{label}</source>', f'{label}{data_file}</source>'),
        ):
            self.assertIn(found, written)
            for changed in (
                written.replace(found, other, 1),
                other.join(written.rsplit(found, 1)),
            ):
                xml = f'<domain><devices>{changed}</devices></domain>'
                self.assertEqual(
                    {'/i/u/disk': None}, domain_xml.chains_of(xml)
                )


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
