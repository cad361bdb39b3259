# SPDX-License-Identifier: Apache-2.0
"""The units, users and directories that are shipped, as systemd reads them."""

import configparser
import pathlib
import re
import subprocess

import fixtures
import testtools

from svirt_nova.cmd import host

ROOT = pathlib.Path(__file__).parents[2]
UNITS = ROOT / 'etc' / 'systemd'

MOST_EXPOSED = {
    'svirt-nova-alarm.service': 1.9,
    'svirt-nova-allocator.service': 1.2,
    # It becomes root by sudo, as nova-compute does.
    'svirt-nova-check.service': 8.6,
    'svirt-nova-reap.service': 1.2,
}
"""What "systemd-analyze security" may find, of 10, by unit."""


class UnitsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # The programs are not installed where the units look for them.
        for path in UNITS.iterdir():
            (self.directory / path.name).write_text(
                re.sub(
                    r'^ExecStart=\S+',
                    'ExecStart=/bin/true',
                    path.read_text(),
                    flags=re.MULTILINE,
                )
            )

    def analyze(self, *args):
        done = subprocess.run(
            ['systemd-analyze', *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def test_systemd_understands_each_line(self):
        units = sorted(map(str, self.directory.iterdir()))
        self.assertEqual(6, len(units))
        self.assertEqual('', self.analyze('verify', '--man=no', *units))

    def test_each_service_is_confined_as_the_guide_says(self):
        guide = (ROOT / 'doc/source/service.rst').read_text()
        found = {}
        for name in MOST_EXPOSED:
            text = self.analyze(
                'security',
                '--offline=true',
                '--threshold=100',
                '--no-pager',
                str(self.directory / name),
            )
            [exposed] = re.findall(rf'{name}: ([\d.]+)', text)
            found[name] = float(exposed)
            self.assertRegex(guide, rf'``{name}`` +{MOST_EXPOSED[name]} ')
        self.assertEqual(
            {}, {n: e for n, e in found.items() if e > MOST_EXPOSED[n]}
        )

    def test_each_service_runs_a_program_that_is_installed(self):
        setup = configparser.ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        programs = {
            line.partition('=')[0].strip()
            for line in setup['options.entry_points'][
                'console_scripts'
            ].splitlines()
        } | {'svirt-nova-alarm'}
        for path in UNITS.glob('*.service'):
            started = re.findall(r'^ExecStart=(\S+)', path.read_text(), re.M)
            self.assertTrue(set(started) <= programs, path)

    def test_a_check_that_only_warns_is_no_failure_of_its_unit(self):
        text = (UNITS / 'svirt-nova-check.service').read_text()
        self.assertIn(f'\nSuccessExitStatus={host.WARNINGS}\n', text)

    def test_the_user_of_the_units_is_the_one_that_is_made(self):
        user = (ROOT / 'etc/sysusers.d/svirt-nova.conf').read_text()
        self.assertIn('\nu svirt-nova ', user)
        for name in ('allocator', 'reap'):
            text = (UNITS / f'svirt-nova-{name}.service').read_text()
            self.assertIn('\nUser=svirt-nova\n', text)
