# SPDX-License-Identifier: Apache-2.0

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

import testtools

from tests import time_limit

ROOT = pathlib.Path(__file__).parents[2]
CASES = 'tests.unit.hanging'

# The hard limit comes soon after the gentle one.
PROGRAM = """
import sys
if sys.argv.pop(1) == 'eventlet':
    import eventlet
    eventlet.monkey_patch()
from testtools import run
from tests import time_limit
time_limit.GRACE, time_limit.REPEAT = 1, 0.5
run.main(['testtools.run', *sys.argv[1:]], sys.stdout)
"""


def run(*names, threads='native'):
    """Run tests that hang, with a limit of half a second for each."""
    return subprocess.run(
        [
            sys.executable,
            # Unbuffered: a process that is ended leaves nothing behind.
            '-u',
            '-c',
            PROGRAM,
            threads,
            *(f'{CASES}.{name}' for name in names),
        ],
        cwd=ROOT,
        env={**os.environ, 'OS_TEST_TIMEOUT': '0.5'},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TimeLimitTest(testtools.TestCase):
    def test_tests_that_hang_fail_and_the_next_one_runs(self):
        names = [
            'test_a_lock_that_nobody_releases',
            'test_another_thread_hangs',
            'test_every_exception_is_caught',
            'test_a_cleanup',
        ]

        done = run(*(f'HangingTest.{name}' for name in names), 'NextTest')

        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn('Ran 5 tests', done.stdout)
        self.assertIn('FAILED (failures=4)', done.stdout)
        for name in names:
            self.assertIn(f'{CASES}.HangingTest.{name}\n', done.stdout)
        self.assertIn('longer than its time limit, 0.5 s', done.stdout)
        self.assertEqual(4, done.stdout.count('stacks of all threads: {'))
        self.assertIn('Thread left behind:\n', done.stdout)
        self.assertIn('in wait_for_good', done.stdout)

    def test_a_test_that_hangs_with_eventlet_fails(self):
        names = ['test_another_thread_hangs', 'test_every_exception_is_caught']

        done = run(
            *(f'HangingTest.{name}' for name in names),
            'NextTest',
            threads='eventlet',
        )

        self.assertIn('Ran 3 tests', done.stdout)
        self.assertIn('FAILED (failures=2)', done.stdout)
        # The main green thread, seen from the one that waits for all.
        self.assertIn('in test_another_thread_hangs', done.stdout)

    def test_a_test_that_no_signal_reaches_ends_the_process(self):
        done = run('HangingTest.test_where_no_signal_reaches', 'NextTest')

        self.assertEqual(1, done.returncode)
        self.assertIn('Timeout (0:00:01.500000)!', done.stderr)
        self.assertIn('in wait_for_good', done.stderr)
        self.assertNotIn('Ran ', done.stdout)

    def test_a_thread_cannot_keep_the_process_from_its_end(self):
        done = run('HangingTest.test_the_end_of_the_process', 'NextTest')

        self.assertEqual(1, done.returncode)
        self.assertIn('Ran 2 tests', done.stdout)
        self.assertIn('OK', done.stdout)
        self.assertIn('in wait_for_good', done.stderr)

    def test_a_class_may_have_a_longer_limit(self):
        done = run('LongTest')

        self.assertEqual(0, done.returncode, done.stderr)

    def test_there_is_no_limit_where_it_is_switched_off(self):
        self.patch(time_limit, 'DEFAULT', 0)

        self.assertEqual(0, time_limit.limit_of(self))


class LimitTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        # This test has a limit of its own, which must not be cancelled.
        self.ends = []
        self.patch(
            time_limit,
            '_end_process_after',
            lambda limit, grace=None: self.ends.append((limit, grace)),
        )
        # The stacks of all threads say nothing here.
        self.patch(time_limit, 'stacks', lambda: '')
        self.interrupted = []

    def sleep(self, seconds, limit, **kwargs):
        with time_limit.limit(
            'the sleep',
            limit,
            interrupt=lambda: self.interrupted.append(1),
            **kwargs,
        ):
            time.sleep(seconds)

    def test_what_ends_in_time_is_left_alone(self):
        self.sleep(0, 5)

        self.assertEqual([], self.interrupted)

    def test_what_hangs_is_interrupted_and_named(self):
        error = self.assertRaises(
            time_limit.TimeLimitExceeded, self.sleep, 60, 0.1
        )

        self.assertIn('the sleep took longer', str(error))
        self.assertEqual([1], self.interrupted)

    def test_a_wait_for_another_thread_ends(self):
        def wait():
            with time_limit.limit('the wait', 0.1):
                threading.Event().wait()

        self.assertRaises(time_limit.TimeLimitExceeded, wait)

    def test_what_goes_on_nevertheless_is_interrupted_again(self):
        self.patch(time_limit, 'REPEAT', 0.1)

        def hang_twice():
            with time_limit.limit(
                'both', 0.1, lambda: self.interrupted.append(1)
            ):
                try:
                    time.sleep(60)
                except time_limit.TimeLimitExceeded:
                    time.sleep(60)

        self.assertRaises(time_limit.TimeLimitExceeded, hang_twice)
        self.assertEqual([1, 1], self.interrupted)

    def test_the_process_is_ended_after_the_grace_and_only_then(self):
        self.sleep(0, 5, grace=7)

        self.assertEqual([(time_limit.SCALE * 5, 7), (0, None)], self.ends)

    def test_nothing_is_left_of_a_limit(self):
        handler = signal.getsignal(signal.SIGALRM)
        seconds, _ = signal.getitimer(signal.ITIMER_REAL)

        self.sleep(0, 0.5)

        self.assertIs(handler, signal.getsignal(signal.SIGALRM))
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        self.assertAlmostEqual(seconds, left, delta=5)

    def test_there_is_no_limit_where_limits_are_switched_off(self):
        self.patch(time_limit, 'DEFAULT', 0)

        self.sleep(0.2, 0.1)

        self.assertEqual([], self.interrupted)


class SuiteTest(testtools.TestCase):
    def test_every_unit_test_has_a_limit(self):
        self.assertEqual(
            [], time_limit.without_limit(time_limit.suite('unit'))
        )

    def test_a_test_without_a_limit_is_found(self):
        class Forgetful(testtools.TestCase):
            run_tests_with = testtools.RunTest

            def test(self):
                pass

        class Plain(unittest.TestCase):
            def test(self):
                pass

        suite = unittest.TestSuite([Forgetful('test'), Plain('test')])

        self.assertEqual(2, len(time_limit.without_limit(suite)))
