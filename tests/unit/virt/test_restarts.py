# SPDX-License-Identifier: Apache-2.0

import concurrent.futures
import threading

import testtools

from svirt_nova.virt import guards
from svirt_nova.virt import restarts


class RestartsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.restarts = restarts.Restarts()

    def test_an_instance_that_is_not_restarted_has_no_guard(self):
        self.assertIsNone(self.restarts.guard_of('uuid'))

    def test_a_restart_inside_another_shares_its_guard(self):
        first, second = guards.Guard(), guards.Guard()
        with self.restarts.running('uuid', first) as outer:
            with self.restarts.running('uuid', second) as inner:
                self.assertIs(first, outer)
                self.assertIs(first, inner)
            self.assertIs(first, self.restarts.guard_of('uuid'))
        self.assertIsNone(self.restarts.guard_of('uuid'))

    def test_a_restart_that_fails_leaves_no_guard(self):
        def fail():
            with self.restarts.running('uuid', guards.Guard()):
                raise RuntimeError

        self.assertRaises(RuntimeError, fail)
        self.assertIsNone(self.restarts.guard_of('uuid'))

    def test_the_count_changes_under_the_lock_alone(self):
        """Without a lock, a restart was lost, and the end of the next failed.

        Threads seldom meet there by themselves.
        """
        lock = self.restarts._lock
        changes = []

        class Watched(dict):
            def setdefault(self, *args):
                changes.append(lock.locked())
                return super().setdefault(*args)

            def get(self, *args):
                changes.append(lock.locked())
                return super().get(*args)

            def __delitem__(self, key):
                changes.append(lock.locked())
                super().__delitem__(key)

        self.restarts._running = Watched()
        with self.restarts.running('uuid', guards.UNGUARDED):
            self.restarts.guard_of('uuid')
        self.assertEqual([True] * 3, changes)

    def test_restarts_on_many_threads_end_without_error(self):
        threads, rounds = 8, 500
        begin = threading.Barrier(threads)

        def work():
            begin.wait()
            for _ in range(rounds):
                with self.restarts.running('uuid', guards.UNGUARDED):
                    self.assertIsNotNone(self.restarts.guard_of('uuid'))

        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            jobs = [pool.submit(work) for _ in range(threads)]
        for job in jobs:
            job.result()
        self.assertIsNone(self.restarts.guard_of('uuid'))
