# SPDX-License-Identifier: Apache-2.0
"""How values are kept, shared and added up."""

import math
import os
import signal
import threading

import testtools

from svirt_nova.metrics import definitions
from svirt_nova.metrics import recorder
from svirt_nova.metrics import tallies
from tests import metrics_case

COUNTED = definitions.Definition(
    'svirt_nova_things_total',
    definitions.Kind.COUNTER,
    'Things.',
    {'kind': ('a', 'b', definitions.OTHER)},
)
LEVEL = definitions.Definition(
    'svirt_nova_level', definitions.Kind.GAUGE, 'A level.', is_shared=True
)
TIMES = definitions.Definition(
    'svirt_nova_seconds',
    definitions.Kind.HISTOGRAM,
    'Times.',
    buckets=(0.1, 1.0),
)


class TalliesTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.values = tallies.Tallies(
            'p', [COUNTED, LEVEL, TIMES], ['one', 'two']
        )

    def in_a_child(self, part, work, ends=None):
        """Do something in a process that has forked.

        :param ends: ends the child by a signal; None to let it end
        """
        child = os.fork()
        if not child:
            self.values.use(part)
            work()
            os.kill(os.getpid(), ends or signal.SIGKILL)
        os.waitpid(child, 0)

    def test_counters_are_there_before_anything_is_counted(self):
        found = metrics_case.shown(self.values)
        for kind in ('a', 'b', 'other'):
            self.assertEqual(0, found['svirt_nova_things_total', kind])
        self.assertEqual(0, found['svirt_nova_seconds_count',])

    def test_gauge_that_nobody_set_is_not_shown(self):
        self.assertNotIn(
            ('svirt_nova_level', 'p'), metrics_case.shown(self.values)
        )
        self.values.set(LEVEL, 0)
        self.assertEqual(
            0, metrics_case.shown(self.values)['svirt_nova_level', 'p']
        )
        self.values.set(LEVEL, math.nan)
        self.assertNotIn(
            ('svirt_nova_level', 'p'), metrics_case.shown(self.values)
        )

    def test_value_of_a_label_that_is_not_defined_counts_as_other(self):
        for kind in ('x', 'y" 1\n', 'a'):
            self.values.add(COUNTED, kind)
        found = metrics_case.shown(self.values)
        self.assertEqual(2, found['svirt_nova_things_total', 'other'])
        self.assertEqual(1, found['svirt_nova_things_total', 'a'])
        self.assertEqual(3, len([k for k in found if 'things' in k[0]]))

    def test_what_killed_processes_counted_stays_and_is_counted_on(self):
        for _ in range(3):
            self.in_a_child('one', lambda: self.values.add(COUNTED, 'a'))
        self.in_a_child('two', lambda: self.values.add(COUNTED, 'a'))
        found = metrics_case.shown(self.values)
        self.assertEqual(4, found['svirt_nova_things_total', 'a'])

    def test_gauge_has_the_highest_value_of_the_processes(self):
        self.in_a_child('one', lambda: self.values.set(LEVEL, 7))
        self.in_a_child('two', lambda: self.values.set(LEVEL, 5))
        self.assertEqual(
            7, metrics_case.shown(self.values)['svirt_nova_level', 'p']
        )

    def test_each_bucket_has_all_values_up_to_its_bound(self):
        self.in_a_child('one', lambda: self.values.observe(TIMES, 0.05))
        for value in (0.1, 0.5, 4.0):
            self.values.observe(TIMES, value)
        found = metrics_case.shown(self.values)
        self.assertEqual(
            [2, 3, 4],
            [
                found['svirt_nova_seconds_bucket', bound]
                for bound in ('0.1', '1.0', '+Inf')
            ],
        )
        self.assertEqual(4, found['svirt_nova_seconds_count',])
        self.assertAlmostEqual(4.65, found['svirt_nova_seconds_sum',])

    def test_threads_lose_no_count(self):
        def work():
            for _ in range(5_000):
                self.values.add(COUNTED, 'a')

        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(
            20_000,
            metrics_case.shown(self.values)['svirt_nova_things_total', 'a'],
        )

    def test_process_without_a_part_is_refused(self):
        self.assertRaises(ValueError, self.values.use, 'three')


class RecorderTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(recorder.start, None)

    def count_all(self):
        recorder.add(COUNTED, 'a')
        recorder.set_value(LEVEL, 1)
        recorder.observe(TIMES, 1)

    def test_nothing_is_counted_in_a_program_without_metrics(self):
        recorder.start(None)
        self.count_all()

    def test_metrics_that_a_program_has_not_are_not_counted(self):
        values = tallies.Tallies('p', [COUNTED])
        recorder.start(values)
        self.count_all()
        self.assertEqual(
            1, metrics_case.shown(values)['svirt_nova_things_total', 'a']
        )
