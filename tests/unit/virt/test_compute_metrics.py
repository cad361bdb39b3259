# SPDX-License-Identifier: Apache-2.0
"""What nova-compute shows of what its periodic work has found."""

from __future__ import annotations

import pathlib
import time
import urllib.request

import fixtures
import nova.conf
import testtools
from nova.compute import provider_tree
from oslo_utils.fixture import uuidsentinel

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.lifecycle import violations
from svirt_nova.mcs import levels
from svirt_nova.metrics import recorder
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import outages
from svirt_nova.virt import reconcile
from svirt_nova.virt import traits
from tests import metrics_case
from tests.lab import processes
from tests.unit.virt import cloud_case

CONF = nova.conf.CONF
UUID = cloud_case.UUID
VIOLATIONS = 'svirt_nova_violating_guests'
DRIFT = 'svirt_nova_drifting_guests'


class ReconciledTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.counted = self.useFixture(
            metrics_case.Counted(compute_metrics.DEFINITIONS)
        )

    def reconcile(self):
        self.cloud.now += CONF.svirt.reconcile_interval + 1
        with self.cloud.processes.on('A'):
            self.cloud.reconcile_if_due('A')
        return self.counted.shown()

    def run_as(self, seclabel):
        live = cloud_case.with_seclabel(
            self.record().live, lambda former: seclabel
        )
        self.redefine('A', live=live)

    def test_guest_at_its_level_is_confined(self):
        before = time.time()
        found = self.reconcile()
        self.assertEqual(1, found['svirt_nova_confined_guests',])
        self.assertEqual(1, found['svirt_nova_host_claims',])
        self.assertEqual(1, found['svirt_nova_store_reachable', 'test'])
        self.assertEqual(1, found['svirt_nova_store_trusted', 'test'])
        self.assertEqual(1, found['svirt_nova_kernel_keeps_guests_apart',])
        self.assertEqual({}, self.counted.not_zero(VIOLATIONS))
        self.assertEqual({}, self.counted.not_zero(DRIFT))
        self.assertEqual(1, found['svirt_nova_reconciliations_total', 'done'])
        last = 'svirt_nova_last_reconciliation_timestamp_seconds'
        self.assertLessEqual(before, found[last, 'done'])
        self.assertNotIn((last, 'failed'), found)

    def test_guest_without_a_label_violates_until_it_is_right(self):
        right = self.record().live
        self.run_as('')
        found = self.reconcile()
        self.assertEqual(
            {('unconfined',): 1}, self.counted.not_zero(VIOLATIONS)
        )
        self.assertEqual(0, found['svirt_nova_confined_guests',])
        self.redefine('A', live=right)
        found = self.reconcile()
        self.assertEqual({}, self.counted.not_zero(VIOLATIONS))
        self.assertEqual(1, found['svirt_nova_confined_guests',])

    def test_guest_with_two_problems_counts_once_for_each_kind(self):
        self.redefine('A', process='system_u:system_r:unconfined_t:s0:c5,c6')
        self.reconcile()
        self.assertEqual(
            {('other',): 1, ('other_level',): 1},
            self.counted.not_zero(VIOLATIONS),
        )

    def test_disk_at_another_level_is_drift_and_no_violation(self):
        self.cloud.files.put(
            f'/A/instances/{UUID}/disk', levels.Level.parse('s0:c5,c6')
        )
        self.reconcile()
        self.assertEqual({('files',): 1}, self.counted.not_zero(DRIFT))
        self.assertEqual({}, self.counted.not_zero(VIOLATIONS))

    def test_labels_of_violations_are_those_of_the_kinds_that_are_found(self):
        known = compute_metrics.VIOLATIONS.labels['kind']
        for kind in (
            violations.Kind.UNCONFINED,
            violations.Kind.DRAWN_LEVEL,
            violations.Kind.OTHER_LEVEL,
            violations.Kind.UNKNOWN_LEVEL,
        ):
            self.assertIn(compute_metrics._label(kind), known)


class StartTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_nova.conf.register_opts(CONF)
        self.useFixture(fixtures.FakeLogger())
        self.addCleanup(recorder.start, None)

    def flag(self, name, value, group='svirt_metrics'):
        CONF.set_override(name, value, group)
        self.addCleanup(CONF.clear_override, name, group)

    def test_driver_that_is_started_again_shows_what_it_counts_then(self):
        [port] = processes.free_ports(1)
        self.flag('listen', [f'127.0.0.1:{port}'])
        for number in (3, 5):
            shown = compute_metrics.start(CONF)
            self.assertEqual(port, shown.port)
            compute_metrics.claimed(number)
            with urllib.request.urlopen(
                f'http://127.0.0.1:{port}/metrics', timeout=10
            ) as answer:
                found = metrics_case.read(answer.read().decode())
            self.assertEqual(number, found['svirt_nova_host_claims',])
        shown.close()

    def test_nothing_is_shown_unless_an_option_says_so(self):
        self.assertIsNone(compute_metrics.start(CONF))

    def test_mode_and_interval_are_shown_from_the_start(self):
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.flag('textfile_directory', str(directory))
        self.flag('mode', 'permissive', 'svirt')
        self.addCleanup(compute_metrics.start(CONF).close)
        path = directory / 'nova-compute.prom'
        deadline = time.monotonic() + 10
        while not path.exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        found = metrics_case.read(path.read_text())
        self.assertEqual(
            {'enforcing': 0, 'permissive': 1, 'disabled': 0},
            {
                key[1]: value
                for key, value in found.items()
                if key[0] == 'svirt_nova_mode'
            },
        )
        self.assertEqual(600, found['svirt_nova_reconcile_interval_seconds',])


class NotedTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.counted = self.useFixture(
            metrics_case.Counted(compute_metrics.DEFINITIONS)
        )

    def test_comparison_that_is_broken_off_has_failed(self):
        def fail():
            raise exception.StoreUnreachable('x')

        reconcile.Schedule(fail, 60, 60).run_if_due()
        found = self.counted.shown()
        self.assertEqual(
            1, found['svirt_nova_reconciliations_total', 'failed']
        )
        self.assertNotIn(
            ('svirt_nova_last_reconciliation_timestamp_seconds', 'done'),
            found,
        )

    def test_store_is_reachable_as_it_last_answered(self):
        def fail(error):
            raise error

        memory = outages.OutageMemory()
        for error, expected in (
            (exception.StoreUnreachable, 0),
            (exception.UnknownInstance, 1),
            (exception.StoreUnusable, 0),
        ):
            self.assertRaises(error, memory.ask, fail, error)
            self.assertEqual(
                expected,
                self.counted.get('svirt_nova_store_reachable', 'test'),
            )
            memory.ask(lambda: None)
            self.assertEqual(
                1, self.counted.get('svirt_nova_store_reachable', 'test')
            )

    def test_trait_is_shown_as_nova_was_told(self):
        tree = provider_tree.ProviderTree()
        tree.new_root('here', uuidsentinel.here)
        for given in (True, False):
            traits.update(tree, 'here', keeps_apart=given)
            self.assertEqual(given, self.counted.get('svirt_nova_trait_given'))
