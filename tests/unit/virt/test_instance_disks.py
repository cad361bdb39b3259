# SPDX-License-Identifier: Apache-2.0
"""What an instance's disks are made of, and whose label their files get."""

from __future__ import annotations

import hashlib

import fixtures
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host

from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from tests import samples
from tests.fakes import database
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID

DISK = f'/A/instances/{UUID}/disk'
NAME = hashlib.sha1(database.IMAGE.encode()).hexdigest()
BASE = f'/A/instances/_base/{NAME}'


class _Case(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.files = self.cloud.files
        self.cloud.storage.make_directory('/A/instances/_base')
        self.files.make(BASE)
        self.files.headers[BASE] = bytes(512)
        self.files.headers[DISK] = samples.qcow2_header(BASE)

    def level_of(self, uuid=UUID):
        return self.allocator.get(uuid).level

    def carry(self, path, level):
        """Have a file carry the level of a guest."""
        self.cloud.storage.write(path, str(samples.IMAGE.at(level)))


class BaseTest(_Case):
    """A file of the image cache, which many instances stand on."""

    def test_it_is_for_everybody_to_read_and_no_instances(self):
        self.api.boot(UUID, ('A',))
        self.assertEqual(samples.CONTENT_TEXT, self.cloud.storage.read(BASE))

    def test_it_is_the_same_for_each_kind_of_disk(self):
        """Libvirt gives it the level of a cdrom that stands on it."""
        other = f'/A/instances/{OTHER}/disk'
        self.files.headers[other] = samples.qcow2_header(BASE)
        labels = []
        write = self.cloud.storage.write

        def note(path, text):
            if path == BASE:
                labels.append(text)
            write(path, text)

        self.cloud.storage.write = note
        self.api.boot(UUID, ('A',))
        as_cdrom = self.record().definition.replace(
            'device="disk"', 'device="cdrom"'
        )
        self.driver()._destroy(self.instance())
        self.driver()._create_guest(None, as_cdrom, self.instance())
        self.api.boot(OTHER, ('A',))
        self.assertEqual({samples.CONTENT_TEXT}, set(labels))
        self.assertEqual(
            self.level_of(), domain_xml.read(self.record().live).label.level
        )

    def test_a_label_that_libvirt_has_left_on_it_goes(self):
        self.carry(BASE, levels.Level.parse('s0:c1,c2'))
        self.api.boot(UUID, ('A',))
        self.assertEqual(samples.CONTENT_TEXT, self.cloud.storage.read(BASE))

    def test_an_image_that_is_not_flat_is_refused(self):
        self.files.headers[BASE] = samples.qcow2_header('/etc/shadow')
        self.files.headers[DISK] = samples.qcow2_header(BASE, 'qcow2')
        self.api.boot(UUID, ('A',))
        self.assertEqual([], self.done('launch'))
        self.assertIn('names a backing file', self.log.output)

    def test_a_qcow2_image_is_written_into_the_xml_as_that(self):
        self.files.headers[BASE] = samples.qcow2_header()
        self.files.headers[DISK] = samples.qcow2_header(BASE, 'qcow2')
        self.api.boot(UUID, ('A',))
        self.assertIn('<format type="qcow2"/>', self.record().live)


class OwnFileTest(_Case):
    """A file in the directory of an instance is that instance's."""

    def setUp(self):
        super().setUp()
        self.api.boot(OTHER, ('A',))
        self.api.boot(UUID, ('A',))
        self.api.stop(UUID)

    def test_it_keeps_its_level_when_the_guest_ends(self):
        self.assertEqual(str(self.level_of()), self.label(DISK))

    def test_any_level_that_was_left_on_it_is_replaced(self):
        self.carry(DISK, self.level_of(OTHER))
        self.api.start(UUID)
        self.assertEqual(str(self.level_of()), self.label(DISK))
        self.assertIsNotNone(self.record().live)

    def test_its_level_is_read_back_before_the_guest_runs(self):
        label = self.files.label

        def lose(root, path, level, replaced=()):
            label(root, path, level, replaced)
            if path == DISK:
                self.files.make(path)

        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.file_labels.label', lose)
        )
        self.assertRaises(
            libvirt_host.libvirt.libvirtError, self.api.start, UUID
        )
        record = self.record()
        self.assertTrue(record is None or record.live is None)


class VolumeTest(_Case):
    """A volume that carries a level may be another instance's."""

    def setUp(self):
        super().setUp()
        self.api.boot(OTHER, ('A',))
        self.api.boot(UUID, ('A',))
        self.done()

    def _attach(self, level):
        name = self.cloud.new_volume()
        self.path = f'/volumes/hash/{name}'
        self.carry(self.path, level)
        driver = self.driver()
        driver.attach_volume(
            None, self.cloud.connection(name), self.instance(), '/dev/vdb'
        )

    def test_the_level_of_another_instance_is_not_replaced(self):
        level = self.level_of(OTHER)
        error = self.assertRaises(
            nova_exception.InternalError, self._attach, level
        )
        self.assertIn(f'restorecon -F {self.path}', str(error))
        self.assertEqual(str(level), self.label(self.path))
        self.assertEqual([], self.done('libvirt attach'))

    def test_a_level_that_nobody_holds_is_replaced(self):
        level = self.level_of(OTHER)
        self.api.delete(OTHER)
        self._attach(level)
        self.assertEqual(str(self.level_of()), self.label(self.path))

    def test_the_level_of_the_instance_stays(self):
        self._attach(self.level_of())
        self.assertEqual([], self.done('store is_held'))

    def test_a_store_that_is_away_keeps_a_foreign_level(self):
        level = self.level_of(OTHER)
        self.cloud.faults.is_away = True
        self.assertRaises(nova_exception.NovaException, self._attach, level)
        self.assertEqual(str(level), self.label(self.path))

    def test_a_file_of_everybody_becomes_the_instances(self):
        self._attach(disk_chains.EVERYBODY)
        self.assertEqual(str(self.level_of()), self.label(self.path))

    def test_what_it_is_made_of_is_in_the_xml_and_it_is_left_alone(self):
        self._attach(levels.Level.parse('s0'))
        self.assertEqual(
            [], domain_xml.chains_of(self.record().live)[self.path]
        )
