# SPDX-License-Identifier: Apache-2.0
"""The programs as an operator runs them, on real stores."""

import importlib.metadata
import json
import os
import pwd
import sqlite3

from tests.functional import program_case

WEB = 'aaaaaaaa-0000-4000-8000-000000000001'
DB = 'aaaaaaaa-0000-4000-8000-000000000002'


class OperatorTest(program_case.ProgramTestCase):
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


class VersionTest(program_case.ProgramTestCase):
    def test_every_program_says_which_release_it_is(self):
        for name in (
            'svirt-nova',
            'svirt-nova-allocator',
            'svirt-nova-status',
        ):
            with self.subTest(name):
                done = self.run_program(name, '--version')
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertEqual(
                    importlib.metadata.version('svirt-nova'),
                    done.stdout.split()[-1],
                )


class BadInputTest(program_case.ProgramTestCase):
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
            ('s0:c1, c2', 'neither'),
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


class StatusTest(program_case.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        # The host of the tests need not have SELinux, nor libvirt.
        self.configure(
            f'connection = sqlite:///{self.store}', 'mode = permissive'
        )

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
            # A host that does not keep guests apart is told.
            self.assertEqual(results.pop('Host'), status)
            self.assertIn(status, (0, 1))
            self.assertEqual({0}, set(results.values()))
            self.assertEqual(6, len(results))
            if self.store.exists():
                break
            self.program('db', 'sync')
        self.assertTrue(self.store.exists())

    def test_a_host_that_nova_compute_would_refuse_fails(self):
        """Such as one whose libvirt has no SELinux driver."""
        self.config.write_text(
            f'[libvirt]\nconnection_uri = test:///default\n'
            f'[svirt_database]\nconnection = sqlite:///{self.store}\n'
        )
        status, results = self.check()
        self.assertEqual((2, 2), (status, results['Host']))

    def test_a_disabled_extension_needs_nothing_of_the_host(self):
        self.configure(
            f'connection = sqlite:///{self.store}', 'mode = disabled'
        )
        self.assertEqual(0, self.check()[0])

    def test_a_service_that_does_not_answer_is_told(self):
        self.config.write_text(
            '[DEFAULT]\ntransport_url = rabbit://127.0.0.1:1//\n'
            '[svirt]\nallocator = rpc\nmode = disabled\n'
            '[svirt_nova_allocator]\ncall_timeout = 2\n'
        )
        status, results = self.check()
        self.assertEqual((1, 1), (status, results['Store']))

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


class HostCheckTest(program_case.ProgramTestCase):
    def test_a_host_that_keeps_nobody_apart_has_status_4(self):
        self.config.write_text(
            f'[libvirt]\nconnection_uri = test:///default\n'
            f'[svirt_database]\nconnection = sqlite:///{self.store}\n'
        )
        done = self.run_program('svirt-nova', 'host', 'check', '-f', 'json')
        self.assertEqual((4, ''), (done.returncode, done.stderr))
        found = {row['Check']: row for row in json.loads(done.stdout)}
        self.assertEqual('error', found['libvirt']['Result'])
        self.assertIn('security_driver', found['libvirt']['Details'][0])
        # Looking makes no store.
        self.assertEqual({'nova.conf'}, set(self.contents()))
