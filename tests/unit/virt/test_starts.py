# SPDX-License-Identifier: Apache-2.0
"""How a guest is started: labelled, launched, read back, let run."""

from __future__ import annotations

import fixtures
from nova import exception as nova_exception

from tests.fakes import domains
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import UUID

START = [
    'after libvirt define',
    'after label disk',
    'after libvirt launch',
    'libvirt XML',
    'libvirt process label',
    'after libvirt resume',
]
"""What is done, in this order, whenever a domain is defined anew."""


class OrderTest(cloud_case.CloudTestCase):
    def _started(self, host='A'):
        """What was done from the definition of the domain on."""
        names = [
            name for name in self.done() if not name.startswith('before ')
        ]
        begin = names.index(START[0])
        return names[begin : begin + len(START)]

    def _check_start(self, host='A'):
        self.assertEqual(START, self._started())
        record = self.record(host)
        self.assertEqual('', record.omitted)
        self.assertFalse(record.is_paused)

    def test_a_new_guest_runs_when_its_labels_were_read_back(self):
        self.api.boot(UUID, ('A',))
        self._check_start()

    def test_a_rebooted_guest_runs_when_its_labels_were_read_back(self):
        self.api.boot(UUID, ('A',))
        self.done()
        self.api.reboot(UUID, 'HARD')
        self._check_start()

    def test_a_resumed_guest_runs_when_its_labels_were_read_back(self):
        self.api.boot(UUID, ('A',))
        self.api.suspend(UUID)
        self.done()
        self.api.resume(UUID)
        self._check_start()

    def test_a_moved_guest_runs_when_its_labels_were_read_back(self):
        self.api.boot(UUID, ('A',))
        self.done()
        self.api.migrate(UUID, 'B')
        self._check_start('B')

    def test_a_guest_that_moved_back_runs_when_its_labels_were_read(self):
        self.api.boot(UUID, ('A',))
        self.api.migrate(UUID, 'B')
        self.done()
        self.api.revert(UUID)
        self._check_start()

    def test_an_unrescued_guest_runs_when_its_labels_were_read_back(self):
        self.api.boot(UUID, ('A',))
        self.api.rescue(UUID)
        self.done()
        self.api.unrescue(UUID)
        self._check_start()

    def firsts(self, *names):
        """In which order steps were done for the first time.

        The first claim of a process is made twice.
        """
        return [*dict.fromkeys(self.done(*names))]

    def test_the_level_is_claimed_before_anything_is_written(self):
        self.api.boot(UUID, ('A',))
        self.assertEqual(
            ['after store acquire', 'before make disk'],
            self.firsts('after store acquire', 'before make disk'),
        )

    def test_a_destination_claims_before_it_writes_anything(self):
        self.api.boot(UUID, ('A',))
        self.done()
        self.api.migrate(UUID, 'B')
        self.assertEqual(
            ['after store adopt', 'before make disk'],
            self.firsts('after store adopt', 'before make disk'),
        )

    def test_a_live_migration_claims_before_anything_is_written(self):
        self.api.boot(UUID, ('A',))
        self.done()
        self.api.migrate_live(UUID, 'B')
        self.assertEqual(
            ['after store adopt', 'before make disk'],
            self.firsts('after store adopt', 'before make disk'),
        )
        self.assertEqual({'B'}, self.claimants())


class StartTest(cloud_case.CloudTestCase):
    """Nova's ``_create_guest``, with all that it may be told."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.xml = self.driver()._get_guest_xml(None, self.instance())
        self.driver()._destroy(self.instance())
        self.done()

    def _create(self, **options):
        return self.driver()._create_guest(
            None, self.xml, self.instance(), **options
        )

    def test_a_guest_that_is_only_defined_does_not_run(self):
        self._create(power_on=False)
        self.assertIsNone(self.record().live)
        self.assertEqual([], self.done('launch', 'resume', 'process label'))
        self.assertIn(
            str(self.allocator.get(UUID).level), self.record().definition
        )

    def test_a_guest_that_is_only_defined_has_its_files_labelled(self):
        self._create(power_on=False)
        self.assertEqual(['after label disk'], self.done('after label'))

    def test_a_guest_that_starts_paused_is_read_back_and_stays_paused(self):
        for power_on in (True, False):
            self._create(power_on=power_on, pause=True)
            self.assertTrue(self.record().is_paused)
            names = self.done('process label', 'resume')
            self.assertEqual(['libvirt process label'], names)
            self.driver()._destroy(self.instance())
            self.done()

    def test_a_paused_guest_that_nova_lets_go_on_was_read_back(self):
        guest = self._create(pause=True)
        guest.resume()
        self.assertEqual('', self.record().omitted)

    def test_the_fake_finds_a_guest_that_runs_unread(self):
        guest = self.cloud.hosts['A'].write_instance_config(self.xml)
        guest.launch(pause=True)
        guest.resume()
        self.assertEqual(domains.UNREAD, self.record().omitted)
        guest.poweroff()
        guest.define(self.xml)
        guest.launch()
        self.assertEqual(domains.UNREAD, self.record().omitted)

    def test_files_are_labelled_after_nova_has_made_the_last(self):
        self._create(
            post_xml_callback=lambda: self.steps.reach('config drive')
        )
        self.assertEqual(
            ['config drive', 'after label disk', 'after libvirt launch'],
            self.done('config drive', 'after label', 'after libvirt launch'),
        )

    def _check_refused(self, path):
        """Check that a guest with such a disk neither starts nor gets it."""
        self.cloud.storage.make_directory(path.rpartition('/')[0])
        self.cloud.files.make(path)
        self.xml = self.xml.replace(f'/A/instances/{UUID}/disk', path).replace(
            '<target', '<serial>volume</serial><target'
        )
        error = self.assertRaises(
            nova_exception.InternalError, self._create, power_on=False
        )
        self.assertIn(path, str(error))
        self.assertEqual('s0', self.label(path))
        self.assertEqual([], self.done('define'))

    def test_a_file_of_another_name_is_no_disk_of_an_instance(self):
        self._check_refused(f'/A/instances/{UUID}/disk.info')

    def test_a_directory_with_a_longer_name_is_another_instances(self):
        self._check_refused(f'/A/instances/{UUID}_x/disk')

    def test_a_base_image_is_no_disk_of_an_instance(self):
        self._check_refused('/A/instances/_base/disk')

    def test_a_file_elsewhere_that_is_no_volume_is_refused(self):
        self.cloud.storage.make_directory('/elsewhere')
        self.cloud.files.make('/elsewhere/disk')
        self.xml = self.xml.replace(
            f'/A/instances/{UUID}/disk', '/elsewhere/disk'
        )
        error = self.assertRaises(nova_exception.InternalError, self._create)
        self.assertIn('nor a volume', str(error))
        self.assertEqual('s0', self.label('/elsewhere/disk'))


class RefusedStartTest(cloud_case.CloudTestCase):
    """A guest that must not run is stopped before its CPUs run."""

    def _check_refused(self):
        self.assertNotIn('after libvirt resume', self.done('resume'))
        record = self.record()
        self.assertTrue(record is None or record.live is None)

    def test_a_guest_at_another_level_never_runs(self):
        self.cloud.hosts['A'].misapplied.add(UUID)
        self.api.boot(UUID, ('A',))
        self._check_refused()
        self.assertEqual('error', self.instance().vm_state)
        self.assertEqual(set(), self.claimants())

    def test_a_guest_at_another_level_after_a_reboot_never_runs(self):
        self.api.boot(UUID, ('A',))
        self.done()
        self.cloud.hosts['A'].misapplied.add(UUID)
        self.api.reboot(UUID, 'HARD')
        self._check_refused()
        self.assertEqual('error', self.instance().vm_state)

    def test_storage_that_drops_the_label_stops_the_guest(self):
        self.cloud.files.refused.add('disk')
        self.api.boot(UUID, ('A',))
        self._check_refused()
        self.assertEqual('error', self.instance().vm_state)

    def test_a_file_that_lost_its_label_stops_the_guest(self):
        self.api.boot(UUID, ('A',))
        xml = self.driver()._get_guest_xml(None, self.instance())
        self.driver()._destroy(self.instance())
        self.done()
        self.cloud.files.read = lambda path: None
        error = self.assertRaises(
            nova_exception.InternalError,
            self.driver()._create_guest,
            None,
            xml,
            self.instance(),
        )
        self.assertIn('carries no SELinux labels', str(error))
        self._check_refused()

    def test_no_guest_is_defined_without_a_level(self):
        self.cloud.faults.is_away = True
        self.api.boot(UUID, ('A',))
        self.assertEqual([], self.done('define', 'make disk'))
        self.assertEqual('error', self.instance().vm_state)


class MultiattachTest(cloud_case.CloudTestCase):
    def test_a_reboot_is_refused_before_the_domain_goes(self):
        self.api.boot(UUID, ('A',))
        claims = self.driver()._extension.claims
        self.useFixture(
            fixtures.MockPatchObject(
                claims, 'shares_nothing', return_value=True
            )
        )
        volume = {'connection_info': {'multiattach': True, 'data': {}}}
        self.done()
        error = self.assertRaises(
            nova_exception.InternalError,
            self.driver()._hard_reboot,
            None,
            self.instance(),
            None,
            None,
            {'block_device_mapping': [volume]},
        )
        self.assertIn('has no part that its project shares', str(error))
        self.assertEqual([], self.done('destroy', 'undefine'))
        self.assertFalse(self.record().is_paused)
