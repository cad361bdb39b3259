# SPDX-License-Identifier: Apache-2.0
"""What operators are told of a store that cannot be used."""

import json
import os
import pwd
import shutil
import sqlite3

from svirt_nova.allocator.sql.tables import schema
from tests.functional import program_case

WEB = 'aaaaaaaa-0000-4000-8000-000000000001'


class BadStoreTest(program_case.ProgramTestCase):
    def check_refused(self, *reasons: str, user: int | None = None) -> None:
        before = self.contents()
        for args in (
            ('label', 'list'),
            ('label', 'stats'),
            ('space', 'show'),
            ('db', 'sync'),
        ):
            with self.subTest(args):
                line = self.refusal(*args, user=user)
                for reason in reasons:
                    self.assertIn(reason, line)
        self.assertEqual(before, self.contents())

    def check_status_fails(self) -> None:
        done = self.run_program(
            'svirt-nova-status', 'upgrade', 'check', '--json'
        )
        self.assertEqual(2, done.returncode, done.stdout + done.stderr)
        self.assertNotIn('Traceback', done.stdout + done.stderr)
        results = {
            each['check']: each['result']
            for each in json.loads(done.stdout)['checks']
        }
        self.assertEqual(2, results['Store'])

    def test_a_store_in_no_directory_is_refused(self):
        self.configure('connection = sqlite:////no/such/directory/x.sqlite')
        self.check_refused('/no/such/directory')
        self.check_status_fails()

    def test_not_a_database(self):
        self.store.write_text('a letter to a friend\n' * 100)
        self.check_refused(str(self.store), 'not an SQLite database')
        self.check_status_fails()

    def test_a_damaged_database(self):
        # In a process of its own: this one must not have the file open,
        # or SQLite answers from what it still knows of it.
        done = self.run_program('svirt-nova', 'db', 'sync')
        self.assertEqual(0, done.returncode, done.stderr)
        with self.store.open('r+b') as opened:
            opened.seek(100)
            opened.write(b'\xa5' * 8000)
        for name in ('-wal', '-shm'):
            self.store.with_name(self.store.name + name).unlink(
                missing_ok=True
            )
        self.check_refused(str(self.store))
        self.check_status_fails()

    def test_anothers_database(self):
        with sqlite3.connect(self.store) as connection:
            connection.execute('CREATE TABLE birds (name TEXT)')
        connection.close()
        self.check_refused(str(self.store), 'something else')
        self.check_status_fails()

    def make_newer(self, oldest_release: str) -> None:
        self.program('db', 'sync')
        with sqlite3.connect(self.store) as connection:
            connection.execute(
                'UPDATE svirt_nova_version SET version_num = "9999"'
            )
            connection.execute(
                'UPDATE level_space SET oldest_release = ?', [oldest_release]
            )
        with sqlite3.connect(self.store) as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        connection.close()

    def test_a_newer_schema_that_this_release_can_use(self):
        self.make_newer(schema.REVISION)
        self.assertEqual([], self.answer('label', 'list'))
        self.allocator().acquire(WEB, 'p1', 'host1')
        self.assertEqual(1, len(self.answer('label', 'list')))

    def test_a_newer_schema(self):
        self.make_newer('9999')
        self.check_refused(str(self.store), '9999', 'upgrade svirt-nova')
        self.check_status_fails()

    def test_an_unreadable_or_unwritable_store(self):
        if os.geteuid():
            self.skipTest('only root can become somebody else')
        nobody = pwd.getpwnam('nobody').pw_uid
        self.check_refused(str(self.store), user=nobody)
        self.assertFalse(self.store.exists())
        self.program('db', 'sync')
        self.store.chmod(0o600)
        self.check_refused(str(self.store), user=nobody)

    def test_a_directory_in_its_place(self):
        self.store.mkdir()
        self.check_refused(str(self.store))
        shutil.rmtree(self.store)

    def test_a_server_that_does_not_answer(self):
        self.configure(
            'connection = mysql+pymysql://nova@127.0.0.1:1/svirt\n'
            'call_timeout = 1'
        )
        self.check_refused('127.0.0.1')
        self.check_status_fails()
