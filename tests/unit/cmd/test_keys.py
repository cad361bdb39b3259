# SPDX-License-Identifier: Apache-2.0

import json
import pathlib

import fixtures

from tests import quick_store
from tests.unit.cmd import fake

COLUMNS = [
    'Owner',
    'Public Key',
    'Enrolled',
    'First Used',
    'Revoked',
    'From First Call',
    'Binds',
]


class KeysTest(fake.ProgramTestCase):
    def setUp(self):
        self.store = quick_store.QuickStore()
        super().setUp()
        self.useFixture(self.store)
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)

    def allocator(self, conf, name=None):
        return self.store.make()

    def ask(self, *args):
        status, out, err = self.program(*args, '-f', 'json')
        self.assertEqual(0, status, err)
        return json.loads(out)

    def refusal(self, *args):
        status, out, err = self.program(*args)
        self.assertEqual((1, ''), (status, out))
        return err

    def create(self, name):
        made = self.ask('key', 'create', str(self.directory / name))
        self.assertEqual(str(self.directory / name), made['Private Key File'])
        return made['Public Key'], made['Public Key File']

    def test_no_store_is_made_where_only_the_service_has_one(self):
        config, store = (self.directory / each for each in ('conf', 'store'))
        config.write_text(
            '[svirt]\nallocator = rpc\n'
            f'[svirt_database]\nconnection = sqlite:///{store}\n'
        )
        _, path = self.create('compute1')
        for command in (
            ('host', 'enroll', 'compute1', '--key', path, '--bind'),
            ('host', 'keys'),
            ('operator', 'keys'),
        ):
            told = self.refusal('--config-file', str(config), *command)
            self.assertIn('no store of levels on this machine', told)
        self.assertFalse(store.exists())
        store.touch()
        status, _, _ = self.program(
            '--config-file', str(config), 'host', 'keys'
        )
        self.assertEqual(0, status)

    def test_key_is_enrolled_listed_and_revoked(self):
        for noun in ('host', 'operator'):
            name, path = self.create(noun)
            self.assertEqual([], self.ask(noun, 'keys'))
            [row] = self.ask(noun, 'enroll', 'compute1', '--key', path)
            self.assertEqual(COLUMNS, list(row))
            self.assertEqual(
                ['compute1', name, None, None, False, False],
                [row[each] for each in COLUMNS if each != 'Enrolled'],
            )
            self.assertEqual([row], self.ask(noun, 'keys'))
            [gone] = self.ask(noun, 'revoke', 'compute1', '--key', name)
            self.assertIsNotNone(gone['Revoked'])
            self.assertIn(
                'nothing was revoked',
                self.refusal(noun, 'revoke', 'compute1', '--all'),
            )

    def test_host_is_bound_at_its_enrolment_or_later(self):
        _, path = self.create('x')
        for options, binds in (([], False), (['--bind'], True), ([], True)):
            [row] = self.ask('host', 'enroll', 'a', '--key', path, *options)
            self.assertEqual(binds, row['Binds'])

    def test_keys_are_rotated_two_at_a_time(self):
        old, _ = self.create('old')
        for name in ('old', 'new'):
            path = self.directory / f'{name}.pub'
            if not path.exists():
                self.create(name)
            self.ask('host', 'enroll', 'compute1', '--key', str(path))
        _, third = self.create('third')
        self.assertIn(
            'compute1',
            self.refusal('host', 'enroll', 'compute1', '--key', third),
        )
        self.ask('host', 'revoke', 'compute1', '--key', old)
        self.assertEqual(
            3, len(self.ask('host', 'enroll', 'compute1', '--key', third))
        )

    def test_file_without_one_public_key_is_refused_by_its_name(self):
        path = self.directory / 'x'
        self.create('x')
        for file in (path, self.directory / 'nothing'):
            self.assertIn(
                str(file),
                self.refusal('host', 'enroll', 'a', '--key', str(file)),
            )

    def test_key_that_is_there_is_not_replaced(self):
        _, path = self.create('x')
        before = pathlib.Path(path).read_bytes()
        self.assertIn(
            str(self.directory / 'x'),
            self.refusal('key', 'create', str(self.directory / 'x')),
        )
        self.assertEqual(before, pathlib.Path(path).read_bytes())
