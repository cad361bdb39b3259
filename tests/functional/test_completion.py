# SPDX-License-Identifier: Apache-2.0
"""What bash completes after the name of a program."""

import pathlib
import subprocess

import testtools

FILE = pathlib.Path(__file__).parents[2] / 'etc/bash_completion.d/svirt-nova'

# What the package bash-completion has, and completions rely on.
SCRIPT = """
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cur=${words[-1]}; }
source "$1"
shift
COMP_WORDS=("$@")
_svirt_nova
echo "${COMPREPLY[@]}"
"""


class CompletionTest(testtools.TestCase):
    def complete(self, *words):
        done = subprocess.run(
            ['bash', '-c', SCRIPT, 'bash', FILE, 'svirt-nova', *words],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        self.assertEqual('', done.stderr)
        return done.stdout.split()

    def test_commands_and_their_options_are_completed(self):
        self.assertIn('label', self.complete(''))
        self.assertEqual(['service'], self.complete('serv'))
        self.assertIn('history', self.complete('label', ''))
        self.assertEqual(
            ['--timeout'], self.complete('service', 'check', '--ti')
        )
