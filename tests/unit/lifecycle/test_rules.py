# SPDX-License-Identifier: Apache-2.0

import testscenarios
import testtools

from svirt_nova.lifecycle import rules

load_tests = testscenarios.load_tests_apply_scenarios


class GoneForGoodTest(testtools.TestCase):
    """The evidence, as recorded from Nova's operations."""

    scenarios = [
        (name, {'state': state, 'gone': gone})
        for name, state, gone in [
            ('delete', (False, 'active', 'deleting', 'here'), True),
            (
                'delete while the compute was down',
                (True, 'deleted', None, 'here'),
                True,
            ),
            (
                'the same, after an evacuation',
                (True, 'deleted', None, 'there'),
                True,
            ),
            ('marked as deleted', (False, 'deleted', None, 'there'), True),
            ('reclaim', (False, 'soft-delete', None, 'here'), True),
            ('failed build', (False, 'building', 'spawning', 'here'), False),
            ('rebuild', (False, 'active', 'rebuilding', 'here'), False),
            (
                'shelve offload',
                (False, 'shelved', 'shelving_offloading', 'here'),
                False,
            ),
            ('confirm of a resize', (False, 'resized', None, 'there'), False),
            (
                'confirm because the server is deleted',
                (False, 'resized', 'deleting', 'there'),
                False,
            ),
            (
                'revert on the destination',
                (False, 'resized', 'resize_reverting', 'here'),
                False,
            ),
            (
                'source back after an evacuation',
                (False, 'active', None, 'there'),
                False,
            ),
            (
                'rolled back live migration',
                (False, 'active', 'migrating', 'there'),
                False,
            ),
            (
                'soft-deleted and now elsewhere',
                (False, 'soft-delete', None, 'there'),
                False,
            ),
            ('no host', (False, 'error', 'deleting', None), False),
        ]
    ]

    def test_only_the_deletion_itself_is_evidence(self):
        deleted, vm_state, task_state, host = self.state
        instance = rules.InstanceState(deleted, vm_state, task_state, host)

        self.assertEqual(self.gone, rules.is_gone_for_good(instance, 'here'))


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
