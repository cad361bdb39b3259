# SPDX-License-Identifier: Apache-2.0
"""A policy that changes while nova-compute runs."""

from __future__ import annotations

import fixtures
import nova.conf
from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova.host import mounts
from svirt_nova.host import policy
from svirt_nova.virt import policy_watch
from tests import samples
from tests.unit.virt import case
from tests.unit.virt import cloud_case

CONF = nova.conf.CONF


class WatchTest(case.DriverTestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.mount = mounts.FileSystem('xfs', '/')
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.mounts.file_system', lambda path: self.mount
            )
        )
        self.watch = policy_watch.PolicyWatch(self.confined)

    def _refusal(self):
        return str(
            self.assertRaises(exception.UnconfinedHost, self.watch.check)
        )

    def test_a_good_policy_is_asked_each_time_and_not_told(self):
        self.watch.check()
        asked = self.kernel.asked
        self.watch.check()
        self.assertEqual(2 * asked, self.kernel.asked)
        self.watch.look_again()
        self.assertEqual('', self.log.output)

    def test_a_domain_that_becomes_permissive_is_refused_and_told_once(self):
        self.watch.check()
        self.kernel.permissive = {'svirt_t'}
        self.watch.look_again()
        self.assertIn('no guest is started here', self.log.output)
        for _ in range(2):
            self.assertIn('semanage permissive -d', self._refusal())
        self.assertEqual(1, self.log.output.count('keep guests apart'))

    def test_a_policy_that_is_right_again_is_told_and_accepted(self):
        self.kernel.enforces = 0
        self.assertIn('setenforce 1', self._refusal())
        self.kernel.enforces = 1
        self.watch.check()
        self.assertIn('keeps guests apart again', self.log.output)

    def test_what_only_deserves_a_warning_refuses_nothing(self):
        self.kernel.at_rest[policy.Party.NVRAM] = str(
            samples.IMAGE.at(policy.OWN)
        )
        self.watch.check()
        self.assertIn('the NVRAM of a stopped guest', self.log.output)

    def test_a_permissive_mode_is_told_and_refuses_nothing(self):
        self._flag('mode', 'permissive', 'svirt')
        self.kernel.permissive = {'svirt_t'}
        self.watch.check()
        self.assertIn('NOT isolated', self.log.output)

    def test_files_are_looked_at_anew_by_a_reconciliation(self):
        self.watch.check()
        self.kernel.at_rest = {
            policy.Party.NEW_FILE: str(samples.IMAGE.at(policy.OWN))
        }
        self.watch.look_again()
        self.assertIn('instances_path', self._refusal())

    def test_files_are_looked_at_anew_before_a_start_is_refused(self):
        right = self.kernel.at_rest
        self.kernel.at_rest = {
            policy.Party.LIBVIRT: str(samples.IMAGE.at(policy.OWN))
        }
        self.assertIn('by a symbolic link', self._refusal())
        self.kernel.at_rest = right
        self.watch.check()

    def test_storage_without_labels_is_left_to_its_own_option(self):
        self.kernel.at_rest = {
            policy.Party.NEW_FILE: str(samples.IMAGE.at(policy.OWN))
        }
        self.mount = mounts.FileSystem('nfs4', '/', takes_labels=False)
        self.watch.check()

    def test_emulation_is_asked_about_where_there_is_no_kvm(self):
        self.kernel.denied = {'execmem'}
        self.watch.check()
        self._flag('virt_type', 'qemu', 'libvirt')
        self.assertIn('execmem', self._refusal())

    def test_a_boolean_is_named_when_it_is_switched_on(self):
        self.watch.look_again()
        self.kernel.booleans = ['virt_use_nfs']
        self.watch.look_again()
        self.watch.look_again()
        self.assertEqual(1, self.log.output.count('virt_use_nfs is on'))


class StartTest(cloud_case.CloudTestCase):
    """No guest starts on a host whose kernel does not keep guests apart."""

    def setUp(self):
        super().setUp()
        self.api.boot(cloud_case.UUID, ('A',))

    def _spoil(self):
        self.below.kernel.permissive = {'svirt_t'}

    def test_a_new_instance_is_refused(self):
        self._spoil()
        self.api.boot(cloud_case.OTHER, ('A',))
        self.assertIsNone(self.record(uuid=cloud_case.OTHER))
        self.assertIn('semanage permissive -d svirt_t', self.log.output)

    def test_a_hard_reboot_is_refused_before_the_guest_ends(self):
        self._spoil()
        before = self.record()
        driver = self.driver()
        self.assertRaises(
            nova_exception.InternalError,
            driver.reboot,
            None,
            self.instance(),
            None,
            'HARD',
        )
        self.assertEqual(before.live, self.record().live)

    def test_a_running_guest_may_be_deleted(self):
        self._spoil()
        self.api.delete(cloud_case.UUID)
        self.assertIsNone(self.record())
