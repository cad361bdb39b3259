# SPDX-License-Identifier: Apache-2.0

import datetime
import os
import sqlite3
import subprocess
import sys
import threading
import time
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests.functional.allocator import contract
from tests.functional.allocator import fixture


class SqliteContractTest(contract.AllocatorContract, testtools.TestCase):
    """The contract, on SQLite."""

    def setUp(self):
        self.store = fixture.SqliteStore('c0.c9')
        self.store.setUp()
        self.addCleanup(self.store.cleanUp)
        super().setUp()

    def make(self, cooling_time, **options):
        return self.store.allocator(cooling_time, **options)

    def wait_a_tick(self):
        time.sleep(0.01)


class SqliteFileTest(testtools.TestCase):
    """How the file is made, found and refused."""

    def setUp(self):
        super().setUp()
        self.fixture = self.useFixture(fixture.SqliteStore())
        self.path = self.fixture.path
        self.conf = fixture.make_conf(self.path)

    def run_sql(self, *statements):
        connection = sqlite3.connect(self.path)
        connection.execute('PRAGMA foreign_keys = ON')
        try:
            with connection:
                return [
                    connection.execute(statement).fetchall()
                    for statement in statements
                ]
        finally:
            connection.close()

    def assert_refused(self, kind, *words):
        def content():
            if not self.path.is_file():
                return None
            return self.path.read_bytes()

        before = content()
        for call in (
            lambda: sql_allocator.SqlAllocator(self.conf).stats(),
            lambda: sql_allocator.SqlAllocator(self.conf).acquire(
                fixture.new_uuid(), 'p', 'a'
            ),
            lambda: stores.sync(self.conf),
        ):
            error = self.assertRaises(exception.SvirtError, call)
            self.assertIs(kind, type(error))
            for word in words:
                self.assertIn(word, str(error))
            self.assertNotIn('\n', str(error))
            self.assertEqual(before, content())

    def test_made_at_first_use(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        self.assertFalse(self.path.exists())
        self.assertEqual(523776, allocator.stats().free)
        self.assertEqual('2 of c0.c1023', str(allocator.space()))
        self.assertEqual([[('wal',)]], self.run_sql('PRAGMA journal_mode'))
        self.assertEqual(0o640, self.path.stat().st_mode & 0o777)

    def test_durable(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        self.assertEqual(
            (2, 1),
            allocator._store.write(
                lambda connection: (
                    connection.exec_driver_sql('PRAGMA synchronous').scalar(),
                    connection.exec_driver_sql('PRAGMA foreign_keys').scalar(),
                )
            ),
        )

    def test_root_gives_it_the_owner_of_its_directory(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: only root may give files away')
        os.chown(self.fixture.directory, 12345, 23456)
        sql_allocator.SqlAllocator(self.conf).acquire(
            fixture.new_uuid(), 'p', 'a'
        )
        for path in self.fixture.directory.iterdir():
            status = path.stat()
            self.assertEqual((12345, 23456), (status.st_uid, status.st_gid))

    def test_made_once_by_several_processes(self):
        code = (
            'import sys, pathlib\n'
            'from tests.functional.allocator import fixture\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'conf = fixture.make_conf(sys.argv[1])\n'
            'print(sql_allocator.SqlAllocator(conf).acquire('
            'fixture.new_uuid(), "p", "a").level)\n'
        )
        workers = [
            subprocess.Popen(
                [sys.executable, '-c', code, str(self.path)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        results = [worker.communicate(timeout=120) for worker in workers]
        self.assertEqual(
            [0] * 4, [worker.returncode for worker in workers], results
        )
        self.assertEqual(4, sql_allocator.SqlAllocator(self.conf).stats().held)

    def test_a_space_is_settled_once(self):
        chosen = spaces.LevelSpace.parse('c0.c99', 3, 'c5')
        self.assertEqual(chosen, stores.sync(self.conf, chosen))
        self.assertEqual(chosen, stores.sync(self.conf))
        self.assertEqual(chosen, stores.sync(self.conf, chosen))
        error = self.assertRaises(
            exception.InvalidSpace,
            stores.sync,
            self.conf,
            spaces.LevelSpace.parse('c0.c99'),
        )
        self.assertIn(str(chosen), str(error))
        self.assertEqual(chosen, sql_allocator.SqlAllocator(self.conf).space())

    def test_no_directory(self):
        self.conf = fixture.make_conf(self.path / 'no' / 'file')
        self.assert_refused(exception.StoreUnreachable, str(self.path / 'no'))

    def test_a_directory_in_its_place(self):
        self.path.mkdir()
        self.assert_refused(exception.StoreUnreachable, str(self.path))

    def test_not_a_database(self):
        self.path.write_text('level = s0:c1,c2\n' * 100)
        self.assert_refused(
            exception.StoreUnusable, str(self.path), 'not an SQLite database'
        )

    def test_a_damaged_database(self):
        stores.sync(self.conf)
        self.run_sql('PRAGMA wal_checkpoint(TRUNCATE)')
        content = bytearray(self.path.read_bytes())
        content[100:] = b'\xa5' * (len(content) - 100)
        self.path.write_bytes(content)
        self.assert_refused(exception.StoreUnusable, str(self.path), 'damaged')

    def test_a_database_of_something_else(self):
        self.run_sql('CREATE TABLE instances (id INTEGER)')
        self.assert_refused(exception.StoreUnusable, 'something else')

    def test_a_store_of_a_newer_release(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE svirt_nova_version SET version_num = 'zzzz'")
        self.run_sql("UPDATE level_space SET oldest_release = 'zzzz'")
        self.assert_refused(exception.StoreTooNew, 'zzzz', 'upgrade')

    def test_a_store_of_a_newer_release_that_this_one_can_use(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE svirt_nova_version SET version_num = 'zzzz'")
        self.assertEqual(
            523776, sql_allocator.SqlAllocator(self.conf).stats().free
        )

    def test_an_empty_file_is_a_new_store(self):
        self.path.touch()
        self.assertEqual(
            523776, sql_allocator.SqlAllocator(self.conf).stats().free
        )

    def test_an_impossible_space(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE level_space SET categories = 'c9'")
        self.assert_refused(exception.StoreUnusable, 'impossible')

    def test_not_writable(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: becomes another user')
        stores.sync(self.conf)
        self.path.chmod(0o644)
        self.fixture.directory.chmod(0o755)
        code = (
            'import os, sys\n'
            'from tests.functional.allocator import fixture\n'
            'from svirt_nova import exception\n'
            'from svirt_nova.allocator.sql import sql_allocator\n'
            'conf = fixture.make_conf(sys.argv[1])\n'
            'a = sql_allocator.SqlAllocator(conf)\n'
            'os.setgid(65534); os.setuid(65534)\n'
            'for call in (a.stats, lambda: a.retire(fixture.new_uuid())):\n'
            '    try:\n'
            '        print("done", call())\n'
            '    except exception.StoreUnreachable as error:\n'
            '        print("refused", error)\n'
        )
        path = self.path
        for parent in path.parents:
            if parent.stat().st_mode & 0o005 != 0o005:
                self.skipTest(f'another user may not enter {parent}')
        result = subprocess.run(
            [sys.executable, '-c', code, str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        self.assertEqual((0, ''), (result.returncode, result.stderr))
        lines = result.stdout.splitlines()
        self.assertEqual(2, len(lines), lines)
        self.assertTrue(lines[1].startswith('refused'), lines)
        for line in lines:
            if line.startswith('refused'):
                self.assertIn(str(path), line)

    def test_replaced_while_in_use(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.path.rename(self.path.with_name('elsewhere'))
        self.assertRaises(exception.StoreUnusable, allocator.stats)
        stores.sync(self.conf)
        self.assertRaises(
            exception.StoreUnusable,
            allocator.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )

    def test_a_stuck_writer_is_waited_for_only_so_long(self):
        conf = fixture.make_conf(self.path, timeout=0.3)
        stores.sync(conf)
        allocator = sql_allocator.SqlAllocator(conf)
        allocator.stats()
        connection = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(connection.close)
        connection.execute('BEGIN IMMEDIATE')
        start = time.monotonic()
        error = self.assertRaises(
            exception.StoreUnreachable,
            allocator.acquire,
            fixture.new_uuid(),
            'p',
            'a',
        )
        self.assertLess(time.monotonic() - start, 5)
        self.assertIn('try again', str(error))
        self.assertEqual(0, allocator.stats().held)
        connection.execute('ROLLBACK')
        allocator.acquire(fixture.new_uuid(), 'p', 'a')

    def test_threads(self):
        allocator = self.fixture.allocator()
        got = []

        def work():
            for _ in range(25):
                got.append(allocator.acquire(fixture.new_uuid(), 'p', 'a'))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(200, len({found.level for found in got}))
        self.assertEqual(200, allocator.stats().held)

    def test_after_a_fork(self):
        allocator = self.fixture.allocator()
        uuid = fixture.new_uuid()
        level = allocator.acquire(uuid, 'p', 'a').level
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if allocator.acquire(uuid, 'p', 'b').level == level:
                    status = 0
            finally:
                os._exit(status)
        self.assertEqual(0, os.waitpid(child, 0)[1])
        self.assertEqual({'a', 'b'}, allocator.get(uuid).hosts)

    def test_bad_connections(self):
        for connection in (
            'sqlite://',
            'sqlite:///:memory:',
            'no url',
            'sqlite:////tmp/x?timeout=soon',
            'nosuch://host/name',
        ):
            self.conf.set_override('connection', connection, 'svirt_database')
            self.assertRaises(
                exception.InvalidOption, sql_allocator.SqlAllocator, self.conf
            )

    def test_a_full_space_is_not_counted_for_those_who_have_a_level(self):
        fixed = self.useFixture(fixture.SqliteStore('c0.c9'))
        allocator = fixed.allocator()
        held = [
            allocator.acquire(fixture.new_uuid(), 'p', 'a')
            for _ in range(allocator.space().size)
        ]
        # Not even when nearly all candidates have collided.
        allocator._space.cache().of_part(None).failure_rate = 1.0
        with mock.patch.object(
            allocator._allocation, '_refresh', side_effect=AssertionError
        ):
            for host in ('a', 'b'):
                for found in held[:5]:
                    again = allocator.acquire(found.instance_uuid, 'p', host)
                    self.assertEqual(found.level, again.level)

    def test_an_adoption_whose_answer_was_lost_has_succeeded(self):
        allocator = self.fixture.allocator()
        level = allocator.acquire(fixture.new_uuid(), 'p', 'a').level
        allocator.give_back(allocator.find(level).instance_uuid, 'a')
        uuid, write = fixture.new_uuid(), allocator._store.write

        def lost(work):
            write(work)
            return write(work)

        allocator._cooling = datetime.timedelta(0)
        allocator._allocation.cooling = datetime.timedelta(0)
        with mock.patch.object(allocator._store, 'write', lost):
            adopted = allocator.adopt(uuid, 'p', 'a', level)
        self.assertEqual(level, adopted.level)
        self.assertEqual(adopted, allocator.get(uuid))

    def test_the_forecast_is_the_rate_since_the_first_level(self):
        allocator = self.fixture.allocator()
        first = fixture.new_uuid()
        allocator.acquire(first, 'p', 'a')
        for _ in range(9):
            allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.run_sql(
            "UPDATE allocation SET created_at = strftime('%Y-%m-%d "
            "%H:%M:%f000', created_at, '-2 days') "
            f"WHERE instance_uuid = '{first}'"
        )
        usage = allocator.usage()
        # Nine came in two days.
        self.assertAlmostEqual(4.5, usage.per_day, places=3)
        left = usage.full_at - datetime.datetime.now(datetime.UTC)
        days = allocator.stats().free / 4.5
        self.assertAlmostEqual(days, left.total_seconds() / 86400, delta=1)

    def test_a_space_that_fills_in_ages_has_no_end(self):
        stores.sync(self.conf, spaces.LevelSpace.parse('c0.c1023', 4))
        allocator = sql_allocator.SqlAllocator(self.conf)
        first, second = fixture.new_uuid(), fixture.new_uuid()
        allocator.acquire(first, 'p', 'a')
        allocator.acquire(second, 'p', 'a')
        self.run_sql(
            "UPDATE allocation SET created_at = strftime('%Y-%m-%d "
            "%H:%M:%f000', created_at, '-2 days') "
            f"WHERE instance_uuid = '{first}'"
        )
        usage = allocator.usage()
        self.assertAlmostEqual(0.5, usage.per_day, places=3)
        self.assertIsNone(usage.full_at)

    def test_without_growth_there_is_no_end(self):
        allocator = self.fixture.allocator()
        allocator.acquire(fixture.new_uuid(), 'p', 'a')
        self.run_sql(
            "UPDATE allocation SET created_at = strftime('%Y-%m-%d "
            "%H:%M:%f000', created_at, '-2 days')"
        )
        usage = allocator.usage()
        self.assertEqual(0, usage.per_day)
        self.assertIsNone(usage.full_at)

    def test_the_schema_keeps_the_invariants(self):
        allocator = self.fixture.allocator()
        uuid = fixture.new_uuid()
        allocator.acquire(uuid, 'p', 'a')
        held = allocator.acquire(uuid, 'p', 'b').level
        rank = ranking.rank(held.categories)
        space = "'c0.c9', 2, '', 0, 1, NULL, '1')"
        row = "NULL, NULL, 0, '2026-01-01 00:00:00.000000', NULL, '')"
        for statement in (
            # One level, one holder; one instance, one level.
            f"INSERT INTO allocation VALUES ({rank}, 'x', 'p', {row}",
            f"INSERT INTO allocation VALUES (1000000, '{uuid}', 'p', {row}",
            f"INSERT INTO allocation VALUES (-1, 'y', 'p', {row}",
            # What is reserved has no owner, what is held has both.
            f"INSERT INTO allocation VALUES (1000001, NULL, 'p', {row}",
            f"INSERT INTO allocation VALUES (1000002, 'z', NULL, {row}",
            'INSERT INTO allocation VALUES (1000003, NULL, NULL, NULL, NULL, '
            "0, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', "
            "'')",
            "INSERT INTO allocation VALUES (1000003, NULL, NULL, NULL, 'a', "
            "0, '2026-01-01 00:00:00.000000', NULL, '')",
            # A level of a project has the project's part.
            "INSERT INTO allocation VALUES (1000004, 'z', 'p', 5, 'a', "
            "0, '2026-01-01 00:00:00.000000', NULL, '')",
            # A claimed level is not freed, an unknown one not claimed.
            f"DELETE FROM allocation WHERE instance_uuid = '{uuid}'",
            "UPDATE allocation SET instance_uuid = 'other' "
            f"WHERE instance_uuid = '{uuid}'",
            "INSERT INTO claim VALUES ('nobody', 'a')",
            f"INSERT INTO claim VALUES ('{uuid}', 'b')",
            # There is one level space.
            f'INSERT INTO level_space VALUES (2, {space}',
            f'INSERT INTO level_space VALUES (1, {space}',
            'UPDATE level_space SET per_level = 0',
        ):
            self.assertRaises(sqlite3.IntegrityError, self.run_sql, statement)
        self.assertEqual(1, len(allocator.list()))
