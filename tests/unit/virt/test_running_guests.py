# SPDX-License-Identifier: Apache-2.0
"""What a reconciliation finds running, and what it does about it."""

from __future__ import annotations

import nova.conf

from tests import samples
from tests.unit.virt import cloud_case

CONF = nova.conf.CONF
UUID = cloud_case.UUID


class RunningGuestTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level

    def _reconcile(self):
        self.cloud.now += CONF.svirt.reconcile_interval + 1
        with self.cloud.processes.on('A'):
            self.cloud.reconcile_if_due('A')

    def _run_as(self, seclabel):
        """Have the guest run with another seclabel, behind Nova's back."""
        live = cloud_case.with_seclabel(
            self.record().live, lambda former: seclabel
        )
        self.redefine('A', live=live)

    def _drawn(self, level):
        self._run_as(
            '<seclabel type="dynamic" model="selinux" relabel="yes">'
            f'<label>{samples.PROCESS_TEXT}:{level}</label></seclabel>'
        )

    def test_a_guest_at_its_level_is_not_told(self):
        self._reconcile()
        self.assertNotIn('NOT isolated', self.log.output)

    def test_a_guest_without_a_label_is_told_and_runs_on(self):
        self._run_as('')
        self._reconcile()
        self.assertIn(f'Instance {UUID} is NOT isolated', self.log.output)
        self.assertIsNotNone(self.record().live)
        self.assertFalse(self.record().is_paused)

    def test_a_guest_at_a_level_that_libvirt_drew_is_told(self):
        self._drawn('c5,c6')
        self._reconcile()
        self.assertIn('at a level that libvirt drew', self.log.output)

    def test_a_guest_that_was_adopted_is_not_told(self):
        self._drawn(str(self.level).removeprefix('s0:'))
        self._reconcile()
        self.assertNotIn('NOT isolated', self.log.output)

    def test_a_guest_in_another_domain_is_told(self):
        self.redefine(
            'A', process=f'system_u:system_r:unconfined_t:{self.level}'
        )
        self._reconcile()
        self.assertIn(
            'it runs as system_u:system_r:unconfined_t', self.log.output
        )

    def test_a_guest_at_another_level_is_told(self):
        self.redefine('A', process=f'{samples.PROCESS_TEXT}:c5,c6')
        self._reconcile()
        self.assertIn(
            f'is at s0:c5,c6, and the level of the instance is {self.level}',
            self.log.output,
        )

    def test_a_guest_is_paused_if_so_configured(self):
        self.flag('on_violation', 'pause')
        self._run_as('')
        self._reconcile()
        self.assertTrue(self.record().is_paused)
        self.assertIn('does not run on', self.log.output)

    def test_a_guest_is_stopped_if_so_configured(self):
        self.flag('on_violation', 'stop')
        self._drawn('c5,c6')
        self._reconcile()
        self.assertIsNone(self.record().live)

    def test_nothing_is_done_to_a_guest_in_permissive_mode(self):
        self.flag('on_violation', 'stop')
        self.flag('mode', 'permissive')
        self._run_as('')
        self._reconcile()
        self.assertIsNotNone(self.record().live)

    def test_a_guest_that_nova_works_on_is_left_to_it(self):
        self.flag('on_violation', 'stop')
        self._run_as('')
        with self.cloud.compute('A').locked(UUID):
            self._reconcile()
        self.assertIsNotNone(self.record().live)

    def test_a_guest_from_before_svirt_nova_is_never_touched(self):
        self.flag('on_violation', 'stop')
        self._drawn('c5,c6')
        live = self.record().live.replace(UUID, cloud_case.OTHER)
        live = live.replace('<devices>', f'{samples.OWNER}<devices>')
        self.cloud.hosts['A'].put(
            cloud_case.OTHER, self.record().but(live=live)
        )
        self.redefine('A', live=self.record().definition)
        self._reconcile()
        self.assertIn(
            f'Instance {cloud_case.OTHER} holds no level', self.log.output
        )
        self.assertIsNotNone(self.record(uuid=cloud_case.OTHER).live)

    def test_a_guest_that_nova_did_not_make_is_not_told(self):
        live = self.record().live.replace(UUID, cloud_case.OTHER)
        self.cloud.hosts['A'].put(
            cloud_case.OTHER, self.record().but(live=live)
        )
        self._reconcile()
        for text in ('holds no level', 'NOT isolated'):
            self.assertNotIn(text, self.log.output)

    def test_what_runs_already_is_checked_when_nova_compute_starts(self):
        self.flag('on_violation', 'stop')
        self._run_as('')
        self.cloud.restart('A')
        self.assertIsNone(self.record().live)
