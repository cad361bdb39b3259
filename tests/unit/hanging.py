# SPDX-License-Identifier: Apache-2.0
"""Tests that hang, each in its own way, for the tests of the time limit.

They are found by name only: ``python -m testtools.run tests.unit.hanging``.
"""

import contextlib
import signal
import threading
import time

import testtools


def wait_for_good():
    threading.Event().wait()


class HangingTest(testtools.TestCase):
    def test_a_lock_that_nobody_releases(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def test_another_thread_hangs(self):
        thread = threading.Thread(
            target=wait_for_good, name='left behind', daemon=True
        )
        thread.start()
        thread.join()

    def test_every_exception_is_caught(self):
        with contextlib.suppress(Exception):
            wait_for_good()

    def test_a_cleanup(self):
        self.addCleanup(wait_for_good)

    def test_where_no_signal_reaches(self):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        wait_for_good()

    def test_the_end_of_the_process(self):
        threading.Thread(target=wait_for_good).start()


class LongTest(testtools.TestCase):
    time_limit = 20

    def test_takes_longer_than_others_may(self):
        time.sleep(1)


class NextTest(testtools.TestCase):
    def test_runs_all_the_same(self):
        pass
