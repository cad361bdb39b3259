# SPDX-License-Identifier: Apache-2.0

import random
import sqlite3
import subprocess
import sys
import time
import uuid

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture

FREE = 20


class WholeSpaceTest(testtools.TestCase):
    """The default space, to its last level."""

    def test_the_last_of_523776(self):
        fixed = self.useFixture(fixture.SqliteStore())
        allocator = fixed.allocator()
        first, size = ranking.first(2), allocator.space().size
        ranks = range(first, first + size)
        free = set(random.sample(ranks, FREE))
        connection = sqlite3.connect(fixed.path)
        with connection:
            connection.executemany(
                'INSERT INTO allocation (level_rank, instance_uuid, '
                'project_id, is_outside, created_at, note) '
                "VALUES (?, ?, 'p', 0, '2026-01-01 00:00:00.000000', '')",
                (
                    (rank, str(uuid.UUID(int=rank)))
                    for rank in ranks
                    if rank not in free
                ),
            )
        connection.close()
        got = {
            allocator.acquire(fixture.new_uuid(), 'p', 'a').level.categories
            for _ in range(FREE)
        }
        self.assertEqual(free, set(map(ranking.rank, got)))
        start = time.monotonic()
        error = self.assertRaises(
            exception.SpaceFull,
            allocator.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )
        # At once: long before the store's timeout of 30 s.
        self.assertLess(time.monotonic() - start, 10)
        self.assertIn('523776', str(error))
        self.assertEqual(0, allocator.stats().free)


class LargeSpaceTest(testtools.TestCase):
    """A space too large for a bitmap."""

    def test_178_million(self):
        fixed = self.useFixture(fixture.SqliteStore(per_level=3))
        allocator = fixed.allocator()
        kind = candidates.of_sets(range(1024), 3)
        self.assertFalse(kind.is_loadable)
        got = {
            allocator.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(50)
        }
        self.assertEqual(50, len(got))
        self.assertTrue(all(len(level.categories) == 3 for level in got))

    def test_a_full_space_is_known_without_a_bitmap(self):
        fixed = self.useFixture(fixture.SqliteStore('c0.c9'))
        allocator = fixed.allocator()
        self.useFixture(
            fixtures.MonkeyPatch(f'{candidates.__name__}.MAX_BITS', 44)
        )
        got = {
            allocator.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(45)
        }
        self.assertEqual(45, len(got))
        self.assertRaises(
            exception.SpaceFull,
            allocator.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )


class GreenThreadsTest(testtools.TestCase):
    """Under eventlet, as nova-compute 33 runs."""

    def test_green_threads_queue(self):
        fixed = self.useFixture(fixture.SqliteStore('c0.c40'))
        stores.sync(fixture.make_conf(fixed.path), fixed.level_space)
        code = (
            'import eventlet\n'
            'eventlet.monkey_patch()\n'
            'import sys\n'
            'from tests.functional.allocator import fixture\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'a = sql_allocator.SqlAllocator(fixture.make_conf(sys.argv[1]))\n'
            'def work(n):\n'
            '    return [a.acquire(fixture.new_uuid(), "p", "a").level\n'
            '            for _ in range(10)]\n'
            'pool = eventlet.GreenPool(10)\n'
            'got = [l for ls in pool.imap(work, range(10)) for l in ls]\n'
            'print(len(set(got)))\n'
        )
        workers = [
            subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', code, str(fixed.path)],
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
        allocator = sql_allocator.SqlAllocator(fixture.make_conf(fixed.path))
        self.assertEqual(200, allocator.stats().held)
        self.assertEqual(spaces.LevelSpace.parse('c0.c40'), allocator.space())
