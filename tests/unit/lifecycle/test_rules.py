# SPDX-License-Identifier: Apache-2.0

import dataclasses

import testscenarios
import testtools
from nova.compute import task_states

from svirt_nova.lifecycle import rules
from svirt_nova.lifecycle import table
from svirt_nova.mcs import levels

load_tests = testscenarios.load_tests_apply_scenarios


class LifecycleTableTest(testtools.TestCase):
    """The evidence, in each of Nova's operations."""

    scenarios = [
        (row.operation, {'row': row}) for row in table.ROWS if row.is_ending
    ]

    def test_the_rules_follow_the_table(self):
        gone = rules.is_gone_for_good(self.row.instance, table.HERE)
        self.assertEqual(self.row.claim is table.Claim.GIVE_BACK, gone)
        # Once nothing is left here, the claim may go in any case.
        self.assertTrue(rules.may_unclaim(rules.Remains(), gone))

    def test_a_task_of_deleting_is_no_evidence_on_another_host(self):
        instance = dataclasses.replace(
            self.row.instance, task_state=rules.DELETING, host=table.THERE
        )
        self.assertEqual(
            instance.deleted or instance.vm_state == rules.DELETED,
            rules.is_gone_for_good(instance, table.HERE),
        )


class MayUnclaimTest(testtools.TestCase):
    def test_a_claim_goes_when_nothing_is_left(self):
        self.assertTrue(rules.may_unclaim(rules.Remains(), False))
        self.assertTrue(rules.may_unclaim(rules.Remains(), True))

    def test_a_domain_or_a_local_directory_keeps_it(self):
        for remains in (
            rules.Remains(domain=True),
            rules.Remains(local=('/i/u_del',)),
        ):
            self.assertFalse(rules.may_unclaim(remains, False))
            self.assertFalse(rules.may_unclaim(remains, True))

    def test_a_shared_directory_keeps_it_only_once_nobody_needs_it(self):
        remains = rules.Remains(shared=('/i/u',))
        self.assertTrue(rules.may_unclaim(remains, False))
        self.assertFalse(rules.may_unclaim(remains, True))


class StaleClaimsTest(testtools.TestCase):
    def test_a_claim_is_stale_after_the_grace_time(self):
        stale = rules.StaleClaims(60)
        self.assertEqual([], stale.find(['a', 'b'], ['b'], 0))
        self.assertEqual([], stale.find(['a', 'b'], ['b'], 59))
        self.assertEqual(['a'], stale.find(['a', 'b'], ['b'], 60))

    def test_what_comes_back_starts_anew(self):
        stale = rules.StaleClaims(60)
        stale.find(['a'], [], 0)
        stale.find(['a'], ['a'], 30)
        self.assertEqual([], stale.find(['a'], [], 70))
        self.assertEqual(['a'], stale.find(['a'], [], 130))

    def test_what_is_not_claimed_is_forgotten(self):
        stale = rules.StaleClaims(60)
        stale.find(['a'], [], 0)
        stale.find([], [], 30)
        self.assertEqual([], stale.find(['a'], [], 70))


class RememberedLevelTest(testtools.TestCase):
    """Where an instance may get another level than Nova remembers."""

    def test_guest_that_begins_anew_may_get_another_level(self):
        for state in (
            task_states.REBOOT_PENDING_HARD,
            task_states.REBOOT_STARTED_HARD,
            task_states.REBOOTING_HARD,
            task_states.REBUILD_BLOCK_DEVICE_MAPPING,
            task_states.REBUILD_SPAWNING,
            task_states.REBUILDING,
            task_states.SPAWNING,
            task_states.UNSHELVING,
        ):
            self.assertTrue(rules.may_change_level(state), state)

    def test_guest_that_goes_on_keeps_its_level(self):
        for state in (
            None,
            task_states.MIGRATING,
            task_states.POWERING_ON,
            task_states.REBOOTING,
            task_states.RESIZE_FINISH,
            task_states.RESUMING,
            task_states.UNRESCUING,
        ):
            self.assertFalse(rules.may_change_level(state), state)

    def test_level_that_the_store_does_not_have_is_missing(self):
        one, other = map(levels.Level.parse, ('s0:c1,c2', 's0:c3,c4'))
        self.assertEqual(
            ['u1', 'u3'],
            rules.levels_missing(
                {'u3': one, 'u2': other, 'u1': one},
                {'u1': other, 'u2': other, None: one},
            ),
        )
        self.assertEqual([], rules.levels_missing({}, {'u1': one}))
