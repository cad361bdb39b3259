# SPDX-License-Identifier: Apache-2.0
"""What tools/test counts and tells, with a tox that is not one."""

import fcntl
import hashlib
import os
import pathlib
import subprocess
import sys
import textwrap

import fixtures
import testtools

ROOT = pathlib.Path(__file__).parents[3]
PROGRAM = ROOT / 'tools' / 'test'
PINS = ROOT / 'tools' / 'tox-requirements.txt'

# It does what the variable TOX_NAME says, where a name has _ for -. The
# environments are made with --notest, and used with another option.
TOX = """
name=$5
[[ $6 == --notest ]] && name=make_$name
variable=TOX_${name//-/_}
eval "${!variable-}"
"""

PYTHON = f"""
if [[ "$*" == '-m tools.run_lab prepare' ]]; then
    eval "$PREPARE"
elif [[ "$*" == '-m tools.run_lab '* ]]; then
    eval "$LAB"
else
    exec {sys.executable} "$@"
fi
"""

PASS = 'echo 2 0 1 >>$SVIRT_NOVA_TEST_RESULTS/counts'
FAIL = """
echo 1 1 0 >>$SVIRT_NOVA_TEST_RESULTS/counts
echo a.test: fail >>$SVIRT_NOVA_TEST_RESULTS/failed
exit 1
"""


class FrontDoorTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.cache = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        bin_directory = self.cache / 'bin'
        python = self.script(bin_directory / 'python', PYTHON)
        # On no machine shall this test install anything.
        bindep = (ROOT / 'bindep.txt').read_text()
        installed = '\n'.join(
            f'echo installed {line.split()[0]}'
            for line in bindep.splitlines()
            if line and not line.startswith('#')
        )
        self.script(bin_directory / 'dpkg-query', installed)
        self.script(bin_directory / 'apt-get', 'exit 1')
        version = subprocess.run(
            [python, '-VV'], stdout=subprocess.PIPE, check=True
        ).stdout
        key = hashlib.sha256(version + PINS.read_bytes()).hexdigest()[:12]
        self.tox = self.cache / f'tox-{key}'
        self.script(self.tox / 'bin' / 'tox', TOX)
        (self.tox / 'complete').touch()
        self.environment = {
            **os.environ,
            'PATH': f'{bin_directory}:{os.environ["PATH"]}',
            'SVIRT_NOVA_TEST_CACHE': str(self.cache),
            'SVIRT_NOVA_TEST_PYTHON': str(python),
        }

    def script(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/bin/bash\n{textwrap.dedent(text)}')
        path.chmod(0o755)
        return path

    def start(self, *tiers, **does):
        return subprocess.Popen(
            [PROGRAM, *tiers],
            env={**self.environment, **does},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run_tiers(self, *tiers, **does):
        """Run tiers.

        :returns: the exit status, and the lines of output
        """
        running = self.start(*tiers, **does)
        output, _ = running.communicate(timeout=60)
        return running.returncode, output.splitlines()

    def test_what_all_environments_recorded_is_added_up(self):
        status, lines = self.run_tiers(
            'static', 'unit', TOX_pep8=PASS, TOX_py3_nova33=PASS, TOX_py3=PASS
        )

        self.assertEqual('6 passed, 0 failed, 3 skipped', lines[-1], lines)
        self.assertEqual(0, status)

    def test_all_tiers_run_by_default_but_two(self):
        status, lines = self.run_tiers(
            TOX_pep8=PASS,
            TOX_py3_nova33=PASS,
            TOX_py3=PASS,
            TOX_functional_nova33=PASS,
            TOX_functional_nova34=PASS,
            LAB=PASS,
        )

        self.assertEqual('14 passed, 0 failed, 7 skipped', lines[-1], lines)
        self.assertEqual(0, status)

    def test_failed_tests_are_told_once_more_at_the_end(self):
        status, lines = self.run_tiers(
            'quick', 'static', TOX_quick=FAIL, TOX_pep8=PASS
        )

        self.assertEqual(
            ['a.test: fail', '3 passed, 1 failed, 1 skipped'], lines[-2:]
        )
        self.assertEqual(1, status)

    def test_the_names_of_what_failed_come_after_the_details(self):
        details = r"""
            echo 0 1 0 >>"$SVIRT_NOVA_TEST_RESULTS/counts"
            printf 'unit: 1 failed\n  a.test: fail\n      at line 1\n' \
                >>"$SVIRT_NOVA_TEST_RESULTS/failed"
            exit 1
        """
        _, lines = self.run_tiers('quick', TOX_quick=details)

        names = ['unit: 1 failed', '  a.test: fail']
        self.assertEqual(
            [
                *names,
                '      at line 1',
                *names,
                '0 passed, 1 failed, 0 skipped',
            ],
            lines[-6:],
        )

    def test_an_environment_that_cannot_be_made_is_a_failure(self):
        status, lines = self.run_tiers(
            'static',
            'quick',
            TOX_make_pep8='echo no such package; exit 1',
            TOX_pep8=PASS,
            TOX_quick=PASS,
        )

        self.assertEqual(
            [
                'environment of pep8: failed',
                '  no such package',
                '2 passed, 1 failed, 1 skipped',
            ],
            lines[-3:],
        )
        self.assertEqual(1, status)

    def test_a_run_that_records_nothing_is_a_failure(self):
        status, lines = self.run_tiers('quick', TOX_quick='')

        self.assertEqual('0 passed, 1 failed, 0 skipped', lines[-1], lines)
        self.assertEqual(1, status)

    def test_a_run_that_ends_badly_is_a_failure(self):
        status, lines = self.run_tiers('quick', TOX_quick=f'{PASS}; exit 7')

        self.assertEqual('2 passed, 1 failed, 1 skipped', lines[-1], lines)
        self.assertIn('  ended with status 7; 2 tests passed', lines)
        self.assertEqual(1, status)

    def test_a_run_in_which_all_was_skipped_is_a_failure(self):
        skip = PASS.replace('2 0 1', '0 0 1')
        status, lines = self.run_tiers('quick', TOX_quick=skip)

        self.assertEqual('0 passed, 1 failed, 1 skipped', lines[-1], lines)
        self.assertEqual(1, status)

    def test_a_lab_starts_when_what_it_needs_is_built(self):
        ready = self.cache / 'ready'
        status, lines = self.run_tiers(
            'static',
            'lab',
            TOX_pep8=f'[[ ! -e {ready} ]] && {PASS}',
            PREPARE=f'sleep 2; touch {ready}; exit 1',
            LAB=f'[[ -e {ready} ]] && {PASS}',
        )

        self.assertEqual('4 passed, 0 failed, 2 skipped', lines[-1], lines)
        self.assertEqual(0, status)

    def test_what_is_built_for_a_lab_ends_with_the_run(self):
        pid = self.cache / 'pid'
        running = self.start(
            'static',
            'lab',
            TOX_pep8=f'until [[ -s {pid} ]]; do sleep 0.1; done; kill $PPID',
            PREPARE=f'echo $$ >{pid}; exec sleep 60',
        )
        output, _ = running.communicate(timeout=30)

        self.assertEqual(1, running.returncode, output)
        self.assertRaises(ProcessLookupError, os.kill, int(pid.read_text()), 0)

    def test_a_lab_that_does_not_come_up_is_a_failure(self):
        status, lines = self.run_tiers('lab', LAB='exit 1')

        self.assertEqual('0 passed, 1 failed, 0 skipped', lines[-1], lines)
        self.assertEqual(1, status)

    def test_packages_that_cannot_be_installed_are_a_failure(self):
        self.script(self.cache / 'bin' / 'dpkg-query', 'true')

        status, lines = self.run_tiers('quick', TOX_quick=PASS)

        self.assertIn('apt-get update: failed', lines)
        self.assertEqual('0 passed, 1 failed, 0 skipped', lines[-1], lines)
        self.assertEqual(1, status)

    def test_tox_that_cannot_be_installed_is_a_failure(self):
        (self.tox / 'complete').unlink()
        self.script(self.cache / 'bin' / 'python', '[[ $1 == -VV ]]')

        status, lines = self.run_tiers('quick', TOX_quick=PASS)

        self.assertEqual('0 passed, 1 failed, 0 skipped', lines[-1], lines)
        self.assertEqual(1, status)

    def test_an_unknown_tier_is_refused(self):
        status, lines = self.run_tiers('quick', 'slow', TOX_quick=PASS)

        self.assertEqual('tools/test: no such tier: slow', lines[-1])
        self.assertEqual(2, status)

    def test_two_runs_wait_for_each_other(self):
        with (self.cache / 'lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            running = self.start('quick', TOX_quick=PASS)
            self.assertIn('waiting for', running.stdout.readline())
        output, _ = running.communicate(timeout=60)

        self.assertIn('2 passed, 0 failed, 1 skipped', output)
