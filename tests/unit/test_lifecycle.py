# SPDX-License-Identifier: Apache-2.0

import testscenarios
import testtools

from svirt_nova import lifecycle

load_tests = testscenarios.load_tests_apply_scenarios


class GoneForGoodTest(testtools.TestCase):
    """The evidence, as recorded from Nova's operations."""

    scenarios = [
        (name, {'state': state, 'gone': gone})
        for name, state, gone in [
            ('delete', (False, 'active', 'deleting', 'here'), True),
            ('delete while the compute was down',
             (True, 'deleted', None, 'here'), True),
            ('the same, after an evacuation',
             (True, 'deleted', None, 'there'), True),
            ('marked as deleted', (False, 'deleted', None, 'there'), True),
            ('reclaim', (False, 'soft-delete', None, 'here'), True),
            ('failed build', (False, 'building', 'spawning', 'here'), False),
            ('rebuild', (False, 'active', 'rebuilding', 'here'), False),
            ('shelve offload',
             (False, 'shelved', 'shelving_offloading', 'here'), False),
            ('confirm of a resize', (False, 'resized', None, 'there'), False),
            ('confirm because the server is deleted',
             (False, 'resized', 'deleting', 'there'), False),
            ('revert on the destination',
             (False, 'resized', 'resize_reverting', 'here'), False),
            ('source back after an evacuation',
             (False, 'active', None, 'there'), False),
            ('rolled back live migration',
             (False, 'active', 'migrating', 'there'), False),
            ('soft-deleted and now elsewhere',
             (False, 'soft-delete', None, 'there'), False),
            ('no host', (False, 'error', 'deleting', None), False),
        ]
    ]

    def test_only_the_deletion_itself_is_evidence(self):
        deleted, vm_state, task_state, host = self.state
        instance = lifecycle.InstanceState(deleted, vm_state, task_state, host)

        self.assertEqual(
            self.gone, lifecycle.is_gone_for_good(instance, 'here'))


class RemainsTest(testtools.TestCase):

    def test_a_domain_or_a_directory_keeps_the_claim(self):
        self.assertTrue(lifecycle.Remains(True, ()))
        self.assertTrue(lifecycle.Remains(False, ('/i/u_del',)))
        self.assertFalse(lifecycle.Remains(False, ()))
