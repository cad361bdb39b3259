# SPDX-License-Identifier: Apache-2.0

import os
import pathlib
import subprocess
import sys
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
