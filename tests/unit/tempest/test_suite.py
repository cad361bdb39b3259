# SPDX-License-Identifier: Apache-2.0
"""The plugin's tests pass in a cloud in order and fail in any other.

``fake_cloud.py`` simulates the clouds.
"""

import json
import os
import pathlib
import subprocess
import sys

import fixtures
import testtools

ROOT = pathlib.Path(__file__).parents[3]

OUTSIDE = {'svirt_nova.hosts': {}}

SCENARIOS = {
    'good': {},
    'outside': {'options': OUTSIDE},
    'soft deletion': {'faults': {'soft_delete': True}},
    'no svirt-nova': {'options': {'service_available.svirt_nova': False}},
    'no nova': {'options': {'service_available.nova': False}},
    'little': {
        'options': {
            'service_available.cinder': False,
            'compute.min_compute_nodes': 1,
            'compute-feature-enabled.resize': False,
            'compute-feature-enabled.shelve': False,
        },
        'no_allocator': True,
    },
    'a failed action': {
        'options': OUTSIDE,
        'faults': {'failed_action': 'rebuild'},
    },
    'a failed creation': {
        'options': OUTSIDE,
        'faults': {'failed_action': 'create'},
    },
    'a failed resize': {'faults': {'failed_action': 'resize'}},
    'an error': {
        'options': OUTSIDE,
        'faults': {
            'shown': {'status': 'ERROR', 'fault': {'message': 'No level'}}
        },
    },
    'another host': {'faults': {'host': 'three'}},
    'unreachable': {'faults': {'unreachable': 'two'}},
    'same level': {'faults': {'same_level': True}},
    'another contains it': {'faults': {'another': 's0:c0.c1023'}},
    'permissive': {'faults': {'permissive': True}},
    'new level': {'faults': {'new_level_at': 'rebuild'}},
    'new level on the way': {'faults': {'new_level_at': 'live-migration'}},
    'wrong disk': {'faults': {'disk_level': 's0:c1,c2'}},
    'volume': {'faults': {'volume_keeps_level': True}},
    'unmounted': {'faults': {'unmounted': True}},
    'domains stay': {'faults': {'domains_stay': True}},
    'directories stay': {'faults': {'directories_stay': True}},
    'claims stay': {'faults': {'claims_stay': True}},
    'claims lost': {'faults': {'claims_lost': True}},
    'another level allocated': {'faults': {'allocated': 's0:c7,c8'}},
    'level stays': {'faults': {'level_stays': True}},
    'level given again': {'faults': {'level_given_again': True}},
}


def failed(outcomes):
    return {
        name.rpartition('.')[2]
        for name, text in outcomes.items()
        if text and not text.startswith('skipped: ')
    }


def skipped(outcomes):
    return {
        name.rpartition('.')[2]: text.removeprefix('skipped: ')
        for name, text in outcomes.items()
        if text and text.startswith('skipped: ')
    }


class SuiteTest(testtools.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with fixtures.TempDir() as directory:
            home = pathlib.Path(directory.path)
            (home / 'tempest.conf').write_text(
                f'[oslo_concurrency]\nlock_path = {home}\n'
            )
            done = subprocess.run(
                [
                    sys.executable,
                    '-m',
                    'tests.unit.tempest.run_suite',
                    home / 'outcomes',
                ],
                input=json.dumps(SCENARIOS),
                cwd=ROOT,
                env={**os.environ, 'TEMPEST_CONFIG_DIR': str(home)},
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert not done.returncode, done.stderr
            cls.outcomes = json.loads((home / 'outcomes').read_text())

    def only_failed(self, scenario, *names):
        self.assertEqual(
            set(names),
            failed(self.outcomes[scenario]),
            json.dumps(self.outcomes[scenario], indent=1),
        )

    def says(self, scenario, name, text):
        found = self.outcomes[scenario][f'test_inside.InsideTest.{name}']
        self.assertIn(text, found or '')

    def test_each_test_passes_in_a_cloud_in_order(self):
        outcomes = self.outcomes['good']
        self.only_failed('good')
        self.assertEqual(
            {'OutsideOperationsTest', 'OutsideAdministrationTest'},
            set(skipped(outcomes)),
        )
        self.assertEqual(17, len(outcomes) - 2)

    def test_a_server_that_nova_would_keep_for_a_while_is_deleted(self):
        self.only_failed('soft deletion')

    def test_without_hosts_what_the_api_shows_is_checked(self):
        outcomes = self.outcomes['outside']
        self.only_failed('outside')
        self.assertEqual({'InsideTest'}, set(skipped(outcomes)))
        self.assertEqual(14, len(outcomes) - 1)

    def test_a_cloud_without_svirt_nova_skips_all_tests(self):
        for scenario in ('no svirt-nova', 'no nova'):
            outcomes = self.outcomes[scenario]
            self.assertEqual(
                {
                    'InsideTest',
                    'OutsideOperationsTest',
                    'OutsideAdministrationTest',
                },
                set(skipped(outcomes)),
            )
            self.assertEqual(3, len(outcomes))

    def test_each_skip_says_why(self):
        reasons = skipped(self.outcomes['little'])
        self.only_failed('little')
        for name, text in (
            ('test_volume', '[service_available] cinder'),
            ('test_live_migration', '[compute] min_compute_nodes'),
            ('test_migration_confirm', '[compute] min_compute_nodes'),
            ('test_migration_revert', '[compute] min_compute_nodes'),
            ('test_resize_1_revert', 'resize is False'),
            ('test_resize_2_confirm', 'resize is False'),
            ('test_shelve_unshelve', 'shelve is False'),
            ('test_levels_store', '[svirt_nova] manage_host'),
        ):
            self.assertIn(text, reasons[name])

    def test_a_skip_names_the_host_that_tempest_conf_does_not(self):
        self.only_failed('another host')
        for text in skipped(self.outcomes['another host']).values():
            self.assertTrue(
                'is on host three' in text or 'InsideTest does' in text, text
            )

    def test_a_host_that_cannot_be_reached_skips_all_tests(self):
        self.only_failed('unreachable')
        self.assertIn(
            'two is far away',
            skipped(self.outcomes['unreachable'])['InsideTest'],
        )

    def test_a_failed_action_fails_its_test(self):
        self.only_failed('a failed creation', 'test_boot')
        self.only_failed('a failed action', 'test_rebuild')
        self.only_failed(
            'a failed resize', 'test_resize_1_revert', 'test_resize_2_confirm'
        )
        self.says(
            'a failed resize',
            'test_resize_1_revert',
            'is ACTIVE, not VERIFY_RESIZE; Nova failed: resize',
        )
        self.says('a failed resize', 'test_resize_1_revert', 'is no level')

    def test_an_instance_in_error_fails_with_the_fault_of_nova(self):
        self.only_failed(
            'an error', 'OutsideOperationsTest', 'OutsideAdministrationTest'
        )
        for name, text in self.outcomes['an error'].items():
            if name != 'InsideTest':
                self.assertIn('No level', text)

    def test_levels_that_meet_fail_a_test(self):
        for scenario, text in (
            ('same level', 'each can open'),
            ('another contains it', 's0:c0.c1023 on two at s0:c0.c1023 can'),
        ):
            self.assertIn('test_levels_apart', failed(self.outcomes[scenario]))
            self.says(scenario, 'test_levels_apart', text)

    def test_a_level_that_changes_fails_the_test_of_the_operation(self):
        self.assertIn('test_rebuild', failed(self.outcomes['new level']))
        for text in (
            'the process with system_u:system_r:svirt_t:s0:c7,c8 of instance',
            'on one is at s0:c7,c8, and the level of the instance is s0:c1',
        ):
            self.says('new level', 'test_rebuild', text)
        self.assertIn(
            'test_live_migration',
            failed(self.outcomes['new level on the way']),
        )

    def test_a_disk_at_another_level_fails_each_test(self):
        outcomes = self.outcomes['wrong disk']
        self.assertEqual(17, len(failed(outcomes)))
        self.says(
            'wrong disk', 'test_boot', 'svirt_image_t:s0:c1,c2 of instance'
        )

    def test_a_kernel_that_does_not_enforce_fails_each_test(self):
        self.assertEqual(17, len(failed(self.outcomes['permissive'])))
        self.says('permissive', 'test_boot', 'kernel does not enforce')

    def test_a_volume_that_keeps_the_level_fails_a_test(self):
        self.only_failed('volume', 'test_volume')
        self.says('volume', 'test_volume', 'still carries')

    def test_a_volume_that_cannot_be_seen_skips_its_test(self):
        self.only_failed('unmounted')
        self.says('unmounted', 'test_volume', '[svirt_nova] volumes_path')

    def test_a_host_that_keeps_something_fails_a_test(self):
        self.only_failed(
            'domains stay',
            'test_live_migration',
            'test_migration_confirm',
            'test_migration_revert',
            'test_shelve_unshelve',
        )
        self.only_failed('directories stay', 'test_withdraw')
        self.says(
            'directories stay', 'test_withdraw', 'still has the directory'
        )

    def test_an_allocator_that_keeps_something_fails_a_test(self):
        found = failed(self.outcomes['claims stay'])
        self.assertIn('test_live_migration', found)
        self.assertIn('test_shelve_unshelve', found)
        self.says(
            'claims stay', 'test_live_migration', 'stale claim: one claims'
        )
        self.only_failed('level stays', 'test_withdraw')
        self.says('level stays', 'test_withdraw', 'still held')

    def test_a_level_that_another_instance_has_by_now_is_given_back(self):
        self.only_failed('level given again')

    def test_a_host_without_a_claim_fails_a_test(self):
        self.only_failed(
            'claims lost',
            'test_levels_store',
            'test_live_migration',
            'test_migration_confirm',
            'test_migration_revert',
        )
        self.says('claims lost', 'test_levels_store', 'claimed by no host')

    def test_an_allocator_with_another_level_fails_a_test(self):
        self.only_failed(
            'another level allocated',
            'test_levels_store',
            'test_live_migration',
            'test_migration_confirm',
            'test_migration_revert',
            'test_shelve_unshelve',
        )
        self.says(
            'another level allocated', 'test_levels_store', 'has s0:c7,c8 now'
        )
