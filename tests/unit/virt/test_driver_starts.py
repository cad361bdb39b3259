# SPDX-License-Identifier: Apache-2.0
"""Starts that make no new domain, and what must come before one."""

from __future__ import annotations

from unittest import mock

import fixtures
import libvirt
import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.mcs import levels
from tests import samples
from tests.unit.virt import case


class RestartTest(case.DriverTestCase):
    """Starts that make no new domain, and what must come before one."""

    def setUp(self):
        super().setUp()
        for name in (
            '_soft_reboot',
            'destroy',
            '_suspend_guest_for_snapshot',
            '_resume_guest_after_snapshot',
        ):
            self.useFixture(
                fixtures.MockPatchObject(
                    libvirt_driver.LibvirtDriver,
                    name,
                    getattr(self.calls, name),
                )
            )
        self.guest = mock.Mock()
        self.driver._host.get_guest.side_effect = None
        self.driver._host.get_guest.return_value = self.guest
        self.defined('static', case.LEVEL)

    def defined(self, kind, level):
        context = samples.PROCESS.at(level)
        self.guest.get_xml_desc.return_value = (
            f'<domain><seclabel type="{kind}" model="selinux">'
            f'<label>{context}</label></seclabel></domain>'
        )

    def test_a_soft_reboot_starts_what_is_defined_at_the_level(self):
        self.runs_at(case.LEVEL)
        self.assertTrue(self.driver._soft_reboot(self.instance))
        self.assertEqual(['_soft_reboot'], self._names())
        self.guest.poweroff.assert_not_called()

    def test_the_log_says_at_which_level_and_context_a_guest_runs(self):
        log = self.useFixture(fixtures.FakeLogger())
        context = samples.PROCESS.at(case.LEVEL)
        self.runs_at(case.LEVEL)
        self.driver._soft_reboot(self.instance)
        self.assertIn(
            f'The guest runs at the level {case.LEVEL}, as {context}',
            log.output,
        )

    def test_the_log_does_not_say_that_a_wrong_guest_runs_at_its_level(self):
        log = self.useFixture(fixtures.FakeLogger())
        nova.conf.CONF.set_override('mode', 'permissive', 'svirt')
        self.addCleanup(nova.conf.CONF.clear_override, 'mode', 'svirt')
        self.runs_at(levels.Level.parse('s0:c1,c3'))
        self.driver._soft_reboot(self.instance)
        self.assertNotIn('The guest runs at the level', log.output)

    def test_what_a_soft_reboot_started_at_another_level_is_stopped(self):
        self.runs_at(levels.Level.parse('s0:c1,c3'))
        self.assertRaises(
            nova_exception.InternalError,
            self.driver._soft_reboot,
            self.instance,
        )
        self.guest.poweroff.assert_called_once_with()

    def test_what_cannot_be_stopped_either_is_told_as_wrongly_labelled(self):
        self.runs_at(levels.Level.parse('s0:c1,c3'))
        self.guest.poweroff.side_effect = libvirt.libvirtError('is away')
        self.assertRaises(
            nova_exception.InternalError,
            self.driver._soft_reboot,
            self.instance,
        )

    def test_a_soft_reboot_that_does_not_succeed_is_not_looked_at(self):
        self.calls._soft_reboot.return_value = False
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.guest._domain.securityLabel.assert_not_called()

    def runs_at(self, level):
        """What is running; the definition stays."""
        defined = self.guest.get_xml_desc.return_value
        process = samples.PROCESS.at(level)
        running = (
            f'<domain><seclabel type="static" model="selinux">'
            f'<label>{process}</label>'
            f'<imagelabel>{samples.IMAGE.at(level)}</imagelabel>'
            f'</seclabel></domain>'
        )
        self.guest.get_xml_desc.side_effect = lambda dump_inactive=False: (
            defined if dump_inactive else running
        )
        self.guest._domain.securityLabel.return_value = (str(process), True)

    def test_a_soft_reboot_of_a_guest_from_before_becomes_a_hard_one(self):
        self.defined('dynamic', case.LEVEL)
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.assertEqual([], self._names())

    def test_a_soft_reboot_at_anothers_level_becomes_a_hard_one(self):
        self.defined('static', levels.Level.parse('s0:c1,c3'))
        self.assertFalse(self.driver._soft_reboot(self.instance))
        self.assertEqual([], self._names())

    def test_the_memory_of_a_guest_from_before_is_not_saved_for_a_snapshot(
        self,
    ):
        self.defined('dynamic', case.LEVEL)
        suspend = self.driver._suspend_guest_for_snapshot
        running = 1
        self.assertRaises(
            nova_exception.InternalError,
            suspend,
            'context',
            False,
            running,
            self.instance,
        )
        self.assertEqual([], self._names())
        # A live snapshot saves none.
        suspend('context', True, running, self.instance)
        self.assertEqual(['_suspend_guest_for_snapshot'], self._names())

    def _resume_after_snapshot(self, is_live):
        running = 1
        self.driver._resume_guest_after_snapshot(
            'context', is_live, running, self.instance, self.guest
        )

    def test_what_starts_again_after_a_snapshot_is_read_back(self):
        self.runs_at(case.LEVEL)
        self._resume_after_snapshot(False)
        self.guest._domain.securityLabel.assert_called_once_with()
        self.guest.poweroff.assert_not_called()

        self.runs_at(levels.Level.parse('s0:c1,c3'))
        self.assertRaises(
            nova_exception.InternalError, self._resume_after_snapshot, False
        )
        self.guest.poweroff.assert_called_once_with()

    def test_a_live_snapshot_starts_nothing(self):
        self._resume_after_snapshot(True)
        self.guest._domain.securityLabel.assert_not_called()

    def test_a_guest_of_which_libvirt_says_nothing_is_stopped(self):
        self.runs_at(case.LEVEL)
        self.guest._domain.securityLabel.side_effect = (
            libvirt_host.libvirt.libvirtError('no')
        )
        self.assertRaises(
            nova_exception.InternalError,
            self.driver._soft_reboot,
            self.instance,
        )
        self.guest.poweroff.assert_called_once_with()

    def test_a_guest_of_which_libvirt_says_nothing_runs_if_permissive(self):
        self._flag('mode', 'permissive', 'svirt')
        self.runs_at(case.LEVEL)
        self.guest._domain.securityLabel.side_effect = (
            libvirt_host.libvirt.libvirtError('no')
        )
        self.assertTrue(self.driver._soft_reboot(self.instance))
        self.guest.poweroff.assert_not_called()

    def test_a_resume_claims_before_the_memory_can_be_lost(self):
        self.allocator.acquire.side_effect = exception.StoreUnusable('broken')
        self.assertRaises(
            nova_exception.InternalError,
            self.driver.resume,
            'context',
            self.instance,
        )
        self.assertEqual([], self._names())

    def test_a_suspended_guest_without_a_domain_is_nova_s_to_make(self):
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.driver.resume('context', self.instance)
        self.assertEqual(['resume'], self._names())

    def test_a_rebuild_without_a_level_destroys_nothing(self):
        self.instance.task_state = 'rebuilding'
        self.driver._host.get_guest.side_effect = (
            nova_exception.InstanceNotFound(instance_id='uuid')
        )
        self.allocator.acquire.side_effect = exception.StoreUnreachable('away')
        self.assertRaises(
            nova_exception.InternalError,
            self.driver.destroy,
            'context',
            self.instance,
            [],
        )
        self.assertEqual([], self._names())

    def test_what_was_evacuated_is_destroyed_while_the_store_is_away(self):
        self.instance.task_state = 'rebuilding'
        self.allocator.acquire.side_effect = exception.StoreUnreachable('away')
        # Its name may come before that of this host, or after it.
        for host in ('elsewhere', 'there'):
            self.instance.host = host
            self.calls.reset_mock()
            self.driver.destroy('context', self.instance, [])
            self.assertEqual(['destroy'], self._names())

    def test_two_restarts_at_once_keep_the_claim_until_both_are_over(self):
        first = self.extension.restarting(self.instance)
        second = self.extension.restarting(self.instance)
        with mock.patch.object(self.extension.claims, 'settle') as settle:
            first.__enter__()
            calls = self.allocator.acquire.call_count
            second.__enter__()
            first.__exit__(None, None, None)
            self.extension.settle(self.instance)
            settle.assert_not_called()
            second.__exit__(None, None, None)
            self.extension.settle(self.instance)
            settle.assert_called_once_with(self.instance, False)
        # Both shared one claim.
        self.assertEqual(calls, self.allocator.acquire.call_count)
        self.assertGreater(calls, 0)

    def test_a_read_only_volume_is_not_opened_to_all(self):
        info = {
            **case.VOLUME,
            'data': {**case.VOLUME['data'], 'access_mode': 'ro'},
        }
        self.driver._connect_volume('context', info, self.instance)
        found, disk = self.disk_of(info, readonly=True)
        self.assertIs(domain_xml.DiskLabel.OWN, disk.label)
        self.assertEqual(2, found.to_xml().count('relabel="no"'))
        self.assertIn('<backingStore/>', found.to_xml())
