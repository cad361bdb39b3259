# SPDX-License-Identifier: Apache-2.0

import fcntl
import os
import pathlib
import sqlite3
import time
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import sqlite
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests import quick_store


class SqliteFileTest(testtools.TestCase):
    """How the file is made, found and refused."""

    def setUp(self):
        super().setUp()
        directory = self.useFixture(
            fixtures.TempDir(rootdir=quick_store.MEMORY)
        )
        self.path = pathlib.Path(directory.path, 'levels.sqlite')
        self.conf = self.make_conf(self.path)

    @staticmethod
    def make_conf(path, timeout=30):
        return quick_store.make_conf(f'sqlite:///{path}?timeout={timeout}')

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
                contract.new_uuid(), 'p', 'a'
            ),
            lambda: stores.sync(self.conf),
        ):
            error = self.assertRaises(exception.SvirtError, call)
            self.assertIs(kind, type(error))
            for word in words:
                self.assertIn(word, str(error))
            self.assertNotIn('\n', str(error))
            self.assertEqual(before, content())

    def test_the_file_is_made_at_its_first_use(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        self.assertFalse(self.path.exists())
        self.assertEqual(523776, allocator.stats().free)
        self.assertEqual('2 of c0.c1023', str(allocator.space()))
        self.assertEqual([[('wal',)]], self.run_sql('PRAGMA journal_mode'))
        self.assertEqual(0o640, self.path.stat().st_mode & 0o777)

    def test_commits_wait_for_the_disk_and_foreign_keys_count(self):
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

    def test_a_file_that_root_makes_has_the_owner_of_its_directory(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: only root may give files away')
        os.chown(self.path.parent, 12345, 23456)
        sql_allocator.SqlAllocator(self.conf).acquire(
            contract.new_uuid(), 'p', 'a'
        )
        for path in self.path.parent.iterdir():
            status = path.stat()
            self.assertEqual((12345, 23456), (status.st_uid, status.st_gid))

    def test_root_does_nothing_to_what_the_directorys_owner_puts_there(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: only root may give files away')
        victim = pathlib.Path(
            self.useFixture(fixtures.TempDir()).join('victim')
        )
        victim.write_text('secret')
        victim.chmod(0o600)
        os.chown(self.path.parent, 12345, 23456)

        def exchange(name):
            # The owner of the directory puts a link in place of the file.
            directory = os.path.dirname(name)
            os.rename(directory, f'{directory}.old')
            os.mkdir(directory)
            os.symlink(victim, name)

        with fixtures.MonkeyPatch(
            'svirt_nova.allocator.sql.engine.sqlite._write_ahead', exchange
        ):
            self.assertRaises(
                exception.StoreUnreachable, stores.sync, self.conf
            )
        status = victim.stat()
        self.assertEqual(
            (0, 0, 0o600),
            (status.st_uid, status.st_gid, status.st_mode & 0o777),
        )
        self.assertEqual('secret', victim.read_text())

    def test_root_has_its_rights_again_when_the_file_is_made(self):
        if os.geteuid() != 0:
            self.skipTest('takes root: only root has rights to lose')
        os.chown(self.path.parent, 12345, 23456)
        stores.sync(self.conf)
        made = self.path.with_name('by-root')
        made.write_text('')
        status = made.stat()
        self.assertEqual((0, 0), (status.st_uid, status.st_gid))

    def test_a_link_in_place_of_the_lock_is_not_followed(self):
        os.symlink('/dev/null', f'{self.path}.lock')
        self.assertRaises(exception.StoreUnreachable, stores.sync, self.conf)

    def test_the_space_of_a_store_is_settled_once(self):
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

    def test_a_file_in_no_directory_is_refused(self):
        self.conf = self.make_conf(self.path / 'no' / 'file')
        self.assert_refused(exception.StoreUnreachable, str(self.path / 'no'))

    def test_a_directory_in_place_of_the_file_is_refused(self):
        self.path.mkdir()
        self.assert_refused(exception.StoreUnreachable, str(self.path))

    def test_a_file_that_is_no_database_is_refused(self):
        self.path.write_text('level = s0:c1,c2\n' * 100)
        self.assert_refused(
            exception.StoreUnusable, str(self.path), 'not an SQLite database'
        )

    def test_a_damaged_database_is_refused(self):
        stores.sync(self.conf)
        self.run_sql('PRAGMA wal_checkpoint(TRUNCATE)')
        content = bytearray(self.path.read_bytes())
        content[100:] = b'\xa5' * (len(content) - 100)
        self.path.write_bytes(content)
        self.assert_refused(exception.StoreUnusable, str(self.path), 'damaged')

    def test_a_database_of_something_else_is_refused(self):
        self.run_sql('CREATE TABLE instances (id INTEGER)')
        self.assert_refused(exception.StoreUnusable, 'something else')

    def test_a_store_that_a_newer_release_keeps_to_itself_is_refused(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE svirt_nova_version SET version_num = 'zzzz'")
        self.run_sql("UPDATE level_space SET oldest_release = 'zzzz'")
        self.assert_refused(exception.StoreTooNew, 'zzzz', 'upgrade')

    def test_a_store_of_a_newer_release_that_lets_this_one_in_works(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE svirt_nova_version SET version_num = 'zzzz'")
        self.assertEqual(
            523776, sql_allocator.SqlAllocator(self.conf).stats().free
        )

    def test_a_store_whose_schema_was_begun_is_completed(self):
        self.run_sql('CREATE TABLE svirt_nova_version (version_num TEXT)')

        self.assertEqual(
            523776, sql_allocator.SqlAllocator(self.conf).stats().free
        )

    def test_an_empty_file_becomes_a_new_store(self):
        self.path.touch()
        self.assertEqual(
            523776, sql_allocator.SqlAllocator(self.conf).stats().free
        )

    def test_a_store_with_an_impossible_space_is_refused(self):
        stores.sync(self.conf)
        self.run_sql("UPDATE level_space SET categories = 'c9'")
        self.assert_refused(exception.StoreUnusable, 'impossible')

    def test_a_file_that_was_replaced_while_in_use_is_refused(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        allocator.acquire(contract.new_uuid(), 'p', 'a')
        self.path.rename(self.path.with_name('elsewhere'))
        self.assertRaises(exception.StoreUnusable, allocator.stats)
        stores.sync(self.conf)
        self.assertRaises(
            exception.StoreUnusable,
            allocator.acquire,
            contract.new_uuid(),
            'p',
            'a',
        )

    def test_a_stuck_writer_is_waited_for_only_so_long(self):
        conf = self.make_conf(self.path, timeout=0.3)
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
            contract.new_uuid(),
            'p',
            'a',
        )
        self.assertLess(time.monotonic() - start, 5)
        self.assertIn('try again', str(error))
        self.assertEqual(0, allocator.stats().held)
        connection.execute('ROLLBACK')
        allocator.acquire(contract.new_uuid(), 'p', 'a')

    def test_a_writer_that_holds_the_lock_for_a_moment_is_waited_for(self):
        allocator = sql_allocator.SqlAllocator(self.conf)
        allocator.stats()
        lock = self.path.with_name(f'{self.path.name}.lock').open('w')
        fcntl.flock(lock, fcntl.LOCK_EX)
        pauses = []

        def sleep(seconds):
            pauses.append(seconds)
            if len(pauses) == 20:
                lock.close()

        with mock.patch.object(sqlite.time, 'sleep', sleep):
            allocator.acquire(contract.new_uuid(), 'p', 'a')
        self.assertEqual(20, len(pauses))
        self.assertTrue(all(0 < pause < 0.1 for pause in pauses), pauses)

    def test_urls_that_name_no_plain_file_are_refused(self):
        for connection in (
            'sqlite://',
            'sqlite:///:memory:',
            'no url',
            'sqlite:////tmp/x?timeout=soon',
            'sqlite:////tmp/x?timeout=1&timeout=2',
            'nosuch://host/name',
        ):
            self.conf.set_override('connection', connection, 'svirt_database')
            self.assertRaises(
                exception.InvalidOption, sql_allocator.SqlAllocator, self.conf
            )
