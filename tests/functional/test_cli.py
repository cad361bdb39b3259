# SPDX-License-Identifier: Apache-2.0
"""The programs as an operator runs them, on real stores."""

import contextlib
import gc
import hashlib
import io
import json
import os
import pathlib
import pwd
import shutil
import sqlite3
import subprocess
import sys
import threading

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.cmd import manage

PROGRAMS = pathlib.Path(sys.executable).parent

WEB = 'aaaaaaaa-0000-4000-8000-000000000001'
DB = 'aaaaaaaa-0000-4000-8000-000000000002'


class OwnWords(io.StringIO):
    """Takes what the thread says that made it, and nobody else.

    Other tests of this process stop message buses, for which its threads
    go on looking, and say so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._owner = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() != self._owner:
            return len(text)
        return super().write(text)


class ProgramTestCase(testtools.TestCase):
    """A directory with a configuration, and the programs on it."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # Another user must reach the store in some of the tests.
        self.directory.chmod(0o755)
        self.store = self.directory / 'svirt-nova.sqlite'
        self.config = self.directory / 'nova.conf'
        self.configure(f'connection = sqlite:///{self.store}')

    def configure(self, database: str, svirt: str = '') -> None:
        self.config.write_text(
            f'[svirt]\n{svirt}\n[svirt_database]\n{database}\n'
        )

    def run_program(
        self, name: str, *args: str, user: int | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / name, '--config-file', self.config, *args],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=60,
            user=user,
            env={'PATH': os.environ['PATH'], 'HOME': str(self.directory)},
            cwd='/',
        )

    def call_program(self, *args: str) -> tuple[int, str, str]:
        """Run svirt-nova in this process, which is quicker."""
        out, err = OwnWords(), OwnWords()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = manage.main(
                    ['--config-file', str(self.config), *args]
                )
            except SystemExit as stop:
                status = int(stop.code or 0)
        # The end of a process closes its store, which SQLite then tidies.
        gc.collect()
        return status, out.getvalue(), err.getvalue()

    def program(self, *args: str) -> str:
        """The standard output of a command that must succeed."""
        status, out, err = self.call_program(*args)
        self.assertEqual((0, ''), (status, err))
        return out

    def answer(self, *args: str) -> object:
        return json.loads(self.program(*args, '-f', 'json'))

    def refusal(self, *args: str, user: int | None = None) -> str:
        """The one line of a command that must fail."""
        if user is None:
            status, out, err = self.call_program(*args)
        else:
            done = self.run_program('svirt-nova', *args, user=user)
            status, out, err = done.returncode, done.stdout, done.stderr
        self.assertEqual((1, ''), (status, out), err)
        self.assertEqual(1, err.count('\n'), err)
        self.assertNotIn('Traceback', err)
        return err

    def allocator(self) -> base.Allocator:
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf(['--config-file', str(self.config)])
        return base.load(conf)

    def contents(self) -> dict[str, str]:
        """A checksum of each file that holds something.

        An empty write-ahead log comes and goes with connections, and what
        is beside it is a lock or shared memory.
        """
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.directory.iterdir()
            if path.is_file()
            and not path.name.endswith(('.lock', '-shm'))
            and not (path.name.endswith('-wal') and not path.stat().st_size)
        }


class OperatorTest(ProgramTestCase):
    def test_a_day_with_a_store(self):
        self.assertEqual(
            {
                'Scheme': 'instance',
                'Categories': 'c0.c4,c6.c99',
                'Per Level': 2,
                'Project Categories': None,
                'Per Project': 0,
                'Levels': 4851,
            },
            self.answer(
                'db', 'sync', '--categories', 'c0.c99', '--exclude', 'c5'
            ),
        )
        self.assertEqual([], self.answer('label', 'list'))

        allocator = self.allocator()
        web = allocator.acquire(WEB, 'p1', 'host1')
        allocator.acquire(WEB, 'p1', 'host2')
        gone = allocator.acquire(DB, 'p2', 'host1')
        allocator.give_back(DB, 'host1')

        by_instance = self.answer('label', 'show', WEB)
        self.assertEqual(
            (str(web.level), 'held', ['host1', 'host2'], 'p1', None),
            tuple(
                by_instance[name]
                for name in ('Level', 'State', 'Hosts', 'Project', 'Retired')
            ),
        )
        categories = [f'c{n}' for n in sorted(web.level.categories)]
        for target in (
            f's0:{",".join(reversed(categories))}',
            f'system_u:object_r:svirt_image_t:{web.level}',
        ):
            self.assertEqual(by_instance, self.answer('label', 'show', target))

        listed = self.answer('label', 'list', '--state', 'cooling')
        self.assertEqual(
            [(str(gone.level), DB)],
            [(row['Level'], row['Instance']) for row in listed],
        )
        listed = self.answer('label', 'list', '--host', 'host2')
        self.assertEqual([WEB], [row['Instance'] for row in listed])
        self.assertEqual(
            {
                'Levels': 4851,
                'Free': 4849,
                'Held': 1,
                'Retired': 0,
                'Cooling': 1,
                'Reserved': 0,
                'Used %': 0.041,
                'Per Day': None,
                'Full At': None,
            },
            self.answer('label', 'stats'),
        )
        self.assertIn(f'| {web.level} ', self.program('label', 'list'))

    def test_syncing_again_changes_nothing(self):
        first = self.answer('db', 'sync', '--per-level', '3')
        self.allocator().acquire(WEB, 'p1', 'host1')
        before = self.answer('label', 'list')
        self.assertEqual(first, self.answer('db', 'sync'))
        self.assertEqual(first, self.answer('db', 'sync', '--per-level', '3'))
        self.assertEqual(before, self.answer('label', 'list'))

    def test_a_store_that_root_makes_belongs_to_its_directorys_owner(self):
        if os.geteuid():
            self.skipTest('only root can give files away')
        nobody = pwd.getpwnam('nobody')
        os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
        self.program('db', 'sync')
        self.assertEqual(nobody.pw_uid, self.store.stat().st_uid)


class BadInputTest(ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.program('db', 'sync', '--categories', 'c0.c9')
        self.allocator().acquire(WEB, 'p1', 'host1')
        # All of the log into the file, so that its checksum counts.
        with sqlite3.connect(self.store) as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        connection.close()

    def check_refused(self, reason: str, *args: str) -> None:
        before = self.contents()
        self.assertIn(reason, self.refusal(*args))
        self.assertEqual(before, self.contents())

    def test_an_impossible_level_is_refused_with_the_reason(self):
        for text, reason in (
            ('s0:c1024,c1', 'c1024'),
            ('s0:c5.c2', 'c5.c2'),
            ('s0:c01,c2', 'c01'),
            ('s1:c1,c2', 's1'),
            ('s0:c1, c2', 'not a category'),
            ('s0:c1', 'space'),
            ('s0:c10,c11', 'space'),
            ('web', 'neither'),
            (DB, DB),
        ):
            with self.subTest(text):
                self.check_refused(reason, 'label', 'show', text)

    def test_an_impossible_range_is_refused_with_the_reason(self):
        for args, reason in (
            (('--categories', 'c0.c1024'), 'c1024'),
            (('--categories', 'c9.c0'), 'c9.c0'),
            (('--categories', 'c0.c9', '--per-level', '10'), '10'),
            (('--categories', 'c0.c9', '--per-level', '0'), 'categories'),
            (('--exclude', 'x'), "'x'"),
            (('--categories', 'c0.c19'), 'nothing was changed'),
            (('--per-level', '3'), 'nothing was changed'),
        ):
            with self.subTest(args):
                self.check_refused(reason, 'db', 'sync', *args)

    def test_an_impossible_option_is_refused_with_the_reason(self):
        for database, svirt, reason in (
            ('', 'mode = loose', 'mode'),
            ('', 'cooling_time = soon', 'cooling_time'),
            ('', 'allocator = etcd', 'etcd'),
            ('connection = here', '', 'connection'),
            ('connection = nosuchdb://x/y', '', 'connection'),
            ('max_retries = many', '', 'max_retries'),
        ):
            with self.subTest(database + svirt):
                self.configure(
                    database or f'connection = sqlite:///{self.store}', svirt
                )
                self.check_refused(reason, 'label', 'list')

    def test_a_password_is_not_shown(self):
        for url in (
            'nosuchdb://nova:secret@127.0.0.1/x',
            'mysql+pymysql://nova:secret@127.0.0.1:1/x',
        ):
            self.configure(f'connection = {url}\ncall_timeout = 1')
            self.assertNotIn('secret', self.refusal('label', 'list'))

    def test_usage_errors_have_status_2(self):
        before = self.contents()
        for args in (
            (),
            ('label',),
            ('label', 'show'),
            ('label', 'list', '--state', 'lost'),
            ('label', 'list', '--no-such-option'),
            ('db', 'sync', '--per-level', 'two'),
            ('space', 'grow'),
        ):
            with self.subTest(args):
                status, _, err = self.call_program(*args)
                self.assertEqual(2, status)
                self.assertNotIn('Traceback', err)
        self.assertEqual(before, self.contents())

    def test_a_program_exits_with_the_status_of_its_command(self):
        before = self.contents()
        for status, line, args in (
            (0, '', ('label', 'show', WEB)),
            (1, DB, ('label', 'show', DB)),
            (1, 'space', ('db', 'sync', '--per-level', '3')),
            (2, 'usage', ('label', 'show')),
        ):
            with self.subTest(args):
                done = self.run_program('svirt-nova', *args)
                self.assertEqual(status, done.returncode, done.stderr)
                self.assertIn(line, done.stderr)
                self.assertEqual(status == 0, bool(done.stdout))
                self.assertNotIn('Traceback', done.stderr)
        self.assertEqual(before, self.contents())


class BadStoreTest(ProgramTestCase):
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
        done = self.run_program('svirt-nova-status', 'upgrade', 'check')
        self.assertEqual(2, done.returncode, done.stdout + done.stderr)
        self.assertNotIn('Traceback', done.stdout + done.stderr)

    def test_a_store_in_no_directory_is_refused(self):
        self.configure('connection = sqlite:////no/such/directory/x.sqlite')
        self.check_refused('/no/such/directory')

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


class StatusTest(ProgramTestCase):
    def check(self) -> tuple[int, dict[str, int]]:
        done = self.run_program(
            'svirt-nova-status', 'upgrade', 'check', '--json'
        )
        self.assertEqual('', done.stderr)
        found = json.loads(done.stdout)
        return done.returncode, {
            check['check']: check['result'] for check in found['checks']
        }

    def test_all_is_well_with_and_without_a_store(self):
        for _ in range(2):
            status, results = self.check()
            self.assertEqual((0, {0}), (status, set(results.values())))
            self.assertEqual(4, len(results))
            if self.store.exists():
                break
            self.program('db', 'sync')
        self.assertTrue(self.store.exists())

    def test_looking_makes_no_store(self):
        self.check()
        self.assertEqual({'nova.conf'}, set(self.contents()))

    def test_a_bad_option(self):
        self.configure(f'connection = sqlite:///{self.store}', 'mode = x')
        status, results = self.check()
        self.assertEqual(2, status)
        self.assertEqual(2, results['Configuration'])

    def test_a_missing_configuration_file_is_one_line(self):
        self.config.unlink()
        done = self.run_program('svirt-nova-status', 'upgrade', 'check')
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)
