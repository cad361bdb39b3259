# SPDX-License-Identifier: Apache-2.0
"""What a reconciliation says of levels that do not agree."""

from __future__ import annotations

import nova.conf

from svirt_nova.mcs import levels
from tests import samples
from tests.unit.virt import cloud_case

CONF = nova.conf.CONF
UUID = cloud_case.UUID
STRANGE = levels.Level.parse('s0:c5,c6')


class DriftWatchTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level
        self.disk = f'/A/instances/{UUID}/disk'

    def _reconcile(self):
        self.cloud.now += CONF.svirt.reconcile_interval + 1
        with self.cloud.processes.on('A'):
            self.cloud.reconcile_if_due('A')

    def _told(self):
        self._reconcile()
        lines = [
            line
            for line in self.log.output.splitlines()
            if 'do not agree' in line
        ]
        self.assertEqual(1, len(lines), self.log.output)
        self.assertIn(f'The levels of instance {UUID} on host A', lines[0])
        self.assertIn(f'Expected: {self.level}. Found: ', lines[0])
        return lines[0]

    def _assert_silent(self):
        self._reconcile()
        for text in ('do not agree', 'NOT isolated'):
            self.assertNotIn(text, self.log.output)

    def test_levels_that_agree_are_not_told(self):
        self._assert_silent()

    def test_levels_of_a_stopped_guest_that_agree_are_not_told(self):
        self.api.stop(UUID)
        self._assert_silent()

    def test_a_disk_at_another_level_is_told_with_both_levels(self):
        self.cloud.files.put(self.disk, STRANGE)
        line = self._told()
        self.assertIn(f'{self.disk} of instance {UUID} on A', line)
        self.assertIn(
            f'is at {STRANGE}, and the level of the instance is {self.level}',
            line,
        )

    def test_a_disk_that_every_guest_may_read_is_told(self):
        self.cloud.storage.write(self.disk, str(samples.CONTENT))
        self.assertIn('every guest may read it', self._told())

    def test_a_disk_that_its_guest_may_not_use_is_told(self):
        """As after a crash in the middle of a detachment."""
        self.cloud.files.make(self.disk)
        self.assertIn('keeps the guest itself from it', self._told())

    def test_a_disk_of_a_stopped_guest_at_another_level_is_told(self):
        self.api.stop(UUID)
        self.cloud.files.put(self.disk, STRANGE)
        self.assertIn(f'is at {STRANGE}', self._told())

    def test_a_disk_of_a_stopped_guest_that_guests_may_not_use_is_silent(self):
        self.api.stop(UUID)
        self.cloud.files.make(self.disk)
        self._assert_silent()

    def test_a_disk_without_a_label_is_told(self):
        self.cloud.files.refused.add('disk')
        self.assertIn('carries no SELinux labels', self._told())

    def test_a_disk_without_a_label_that_was_accepted_is_silent(self):
        self.flag('unlabeled_storage', 'warn')
        self.cloud.files.refused.add('disk')
        self._assert_silent()

    def test_a_definition_at_another_level_is_told(self):
        definition = self.record().definition.replace(
            str(self.level), str(STRANGE)
        )
        self.redefine('A', definition=definition)
        self.assertIn(
            f'the definition in libvirt of instance {UUID} on A is at '
            f'{STRANGE}',
            self._told(),
        )

    def test_a_level_that_cools_while_its_guest_runs_is_told(self):
        self.allocator.give_back(UUID, 'A')
        with self.cloud.processes.on('A'):
            # A whole reconciliation would claim it again before.
            self.driver()._extension.drift_watch.check()
        self.assertIn('is cooling while the domain', self.log.output)
        self.assertIn('does not claim its level', self.log.output)

    def test_a_guest_that_nova_works_on_is_left_to_it(self):
        self.cloud.files.put(self.disk, STRANGE)
        with self.cloud.compute('A').locked(UUID):
            self._assert_silent()

    def test_a_disk_at_another_level_neither_pauses_nor_stops_a_guest(self):
        self.flag('on_violation', 'stop')
        self.cloud.files.put(self.disk, STRANGE)
        self._told()
        self.assertIsNotNone(self.record().live)

    def test_a_guest_that_runs_at_another_level_is_told_once(self):
        """By what may stop it."""
        self.redefine('A', process=f'{samples.PROCESS_TEXT}:c5,c6')
        self._reconcile()
        self.assertIn('NOT isolated', self.log.output)
        self.assertNotIn('do not agree', self.log.output)
