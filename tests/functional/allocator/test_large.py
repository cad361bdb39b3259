# SPDX-License-Identifier: Apache-2.0

import random
import sqlite3
import subprocess
import sys
import time

import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests import quick_store

FREE = 20


class WholeSpaceTest(testtools.TestCase):
    """The default space, to its last level."""

    def test_the_last_of_523776_levels_are_found_and_then_none(self):
        store = self.useFixture(quick_store.QuickStore(upgrade.DEFAULT_SPACE))
        allocator = store.make()
        first, size = ranking.first(2), allocator.space().size
        ranks = range(first, first + size)
        free = set(random.sample(ranks, FREE))
        connection = sqlite3.connect(store.path)
        with connection:
            connection.execute(
                'WITH RECURSIVE ranks(n) AS (SELECT ? UNION ALL '
                'SELECT n + 1 FROM ranks WHERE n + 1 < ?) '
                'INSERT INTO allocation (level_rank, instance_uuid, '
                'project_id, is_outside, created_at, note) '
                "SELECT n, printf('%036d', n), 'p', 0, "
                "'2026-01-01 00:00:00.000000', '' FROM ranks "
                f'WHERE n NOT IN ({", ".join(map(str, free))})',
                (first, first + size),
            )
        connection.close()
        got = {
            allocator.acquire(contract.new_uuid(), 'p', 'a').level.categories
            for _ in range(FREE)
        }
        self.assertEqual(free, set(map(ranking.rank, got)))
        start = time.monotonic()
        error = self.assertRaises(
            exception.SpaceFull,
            allocator.acquire,
            contract.new_uuid(),
            'p',
            'a',
        )
        # At once: long before the store's timeout of 30 s.
        self.assertLess(time.monotonic() - start, 10)
        self.assertIn('523776', str(error))
        self.assertEqual(0, allocator.stats().free)


class GreenThreadsTest(testtools.TestCase):
    """Under eventlet, as nova-compute 33 runs."""

    def test_green_threads_of_two_processes_get_different_levels(self):
        space = spaces.LevelSpace.parse('c0.c40')
        store = self.useFixture(quick_store.QuickStore(space))
        code = (
            'import eventlet\n'
            'eventlet.monkey_patch()\n'
            'import sys\n'
            'from svirt_nova.allocator import contract\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'from tests.quick_store import make_conf\n'
            'a = sql_allocator.SqlAllocator(make_conf(sys.argv[1]))\n'
            'def work(n):\n'
            '    return [a.acquire(contract.new_uuid(), "p", "a").level\n'
            '            for _ in range(10)]\n'
            'pool = eventlet.GreenPool(10)\n'
            'got = [l for ls in pool.imap(work, range(10)) for l in ls]\n'
            'print(len(set(got)))\n'
        )
        workers = [
            subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', code, store.url],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for worker in workers:
            output, errors = worker.communicate(timeout=120)
            if 'No module named' in errors and 'eventlet' in errors:
                self.skipTest('eventlet is not installed')
            self.assertEqual('100\n', output, errors)
        self.assertEqual(200, store.make().stats().held)
        self.assertEqual(space, store.make().space())
