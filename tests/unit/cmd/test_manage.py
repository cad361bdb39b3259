# SPDX-License-Identifier: Apache-2.0

import json
import pathlib
import subprocess
import sys
import warnings

import fixtures

from svirt_nova import exception
from svirt_nova.cmd import config
from svirt_nova.cmd import label
from svirt_nova.cmd import manage
from tests.unit.cmd import fake


class ManageTest(fake.ProgramTestCase):
    def file(self, text):
        directory = self.useFixture(fixtures.TempDir()).path
        path = pathlib.Path(directory, 'nova.conf')
        path.write_text(text)
        return str(path)

    def test_no_command_and_an_unknown_one_are_usage_errors(self):
        self.assertEqual(2, self.program()[0])
        self.assertEqual(2, self.program('lable', 'list')[0])
        self.assertEqual(2, self.program('label', 'show')[0])
        self.assertEqual(
            2, self.program('db', 'sync', '--per-level', 'two')[0]
        )

    def test_help_names_every_command(self):
        status, out, _ = self.program('--help')
        self.assertEqual(0, status)
        for command in (
            'db sync',
            'label list',
            'label show',
            'label stats',
            'space show',
        ):
            self.assertIn(command, out)

    def test_help_of_a_command_is_about_the_command(self):
        for arguments in (
            ('label', 'list', '--help'),
            ('label', 'list', '-h'),
            ('help', 'label', 'list'),
        ):
            with self.subTest(arguments):
                status, out, _ = self.program(*arguments)
                self.assertEqual(0, status)
                self.assertIn('usage: svirt-nova label list', out)
                self.assertIn('--project ID', out)

    def test_what_a_library_warns_of_is_not_shown(self):
        class Allocator(fake.Allocator):
            def __init__(self, conf):
                super().__init__(conf)
                warnings.warn('old', FutureWarning, stacklevel=2)

        self.useFixture(
            fixtures.MockPatch('svirt_nova.allocator.base.load', Allocator)
        )
        with warnings.catch_warnings():
            self.useFixture(fixtures.MonkeyPatch('sys.warnoptions', []))
            status, _, err = self.program('space', 'show')
        self.assertEqual((0, ''), (status, err))

    def test_the_named_configuration_file_is_read(self):
        seen = []

        class Allocator(fake.Allocator):
            def __init__(self, conf):
                super().__init__(conf)
                seen.append(conf.svirt_database.connection)

        self.useFixture(
            fixtures.MockPatch('svirt_nova.allocator.base.load', Allocator)
        )
        name = self.file('[svirt_database]\nconnection = sqlite:////x\n')
        status, _, err = self.program('--config-file', name, 'space', 'show')
        self.assertEqual((0, ''), (status, err))
        self.assertEqual(['sqlite:////x'], seen)

    def test_what_nova_compute_reads_is_the_default(self):
        home = pathlib.Path(self.useFixture(fixtures.TempHomeDir()).path)
        (home / '.nova').mkdir()
        (home / '.nova' / 'nova.conf').write_text(
            '[svirt]\ncooling_time = 1\nmode = disabled\n'
        )
        (home / '.nova' / 'nova-compute.conf').write_text(
            '[svirt]\ncooling_time = 2\n'
        )
        conf = config.load()
        self.assertEqual(2, conf.svirt.cooling_time)
        self.assertEqual('disabled', conf.svirt.mode)

    def test_a_bad_configuration_is_one_line_and_status_1(self):
        missing = str(pathlib.Path(self.file(''), 'none.conf'))
        cases = (
            (self.file('[svirt]\nmode = perhaps\n'), 'mode'),
            (self.file('[svirt]\ncooling_time = -1\n'), 'cooling_time'),
            (self.file('mode enforcing\n'), 'nova.conf'),
            (missing, 'none.conf'),
        )
        for name, reason in cases:
            with self.subTest(reason):
                status, out, err = self.program(
                    '--config-file', name, 'label', 'stats'
                )
                self.assertEqual((1, ''), (status, out))
                self.assertIn(reason, err)
                self.assertEqual(1, err.count('\n'), err)

    def test_errors_of_the_store_are_one_line_and_status_1(self):
        class Allocator(fake.Allocator):
            def list(self, **kwargs):
                raise exception.StoreUnreachable('/x cannot be opened')

        self.useFixture(
            fixtures.MockPatch('svirt_nova.allocator.base.load', Allocator)
        )
        self.assertEqual(
            (1, '', '/x cannot be opened\n'), self.program('label', 'list')
        )


class StartUpTest(fake.ProgramTestCase):
    """A command runs on hosts where every import is felt."""

    def test_nothing_heavy_is_imported_for_a_command(self):
        code = (
            'import json, sys\n'
            f'import {manage.__name__}, {label.__name__}\n'
            'import svirt_nova.cmd.db, svirt_nova.cmd.space\n'
            f'{manage.__name__}.SvirtNova()\n'
            'print(json.dumps(sorted(sys.modules)))\n'
        )
        loaded = json.loads(
            subprocess.check_output([sys.executable, '-c', code])
        )
        heavy = {
            'alembic',
            'cmd2',
            'eventlet',
            'libvirt',
            'lxml',
            'nova',
            'oslo_log.log',
            'oslo_messaging',
            'sqlalchemy',
        }
        self.assertEqual(set(), heavy.intersection(loaded))
