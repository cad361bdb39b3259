# SPDX-License-Identifier: Apache-2.0
"""Runs what takes at most two minutes, before a change is pushed.

The static checks run beside the unit tests, whose coverage is measured.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from tools import run_checks
from tools.report import Counts
from tools.report import report

UNIT = ('tools.run_stestr', 'unit', 'tests/unit')


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module."""
    return [sys.executable, '-m', name, *arguments]


def coverage() -> bool:
    """Report what the unit tests covered.

    :returns: whether it is enough (``fail_under`` in pyproject.toml)
    """
    subprocess.run(module('coverage', 'combine', '--quiet'))
    done = subprocess.run(
        module('coverage', 'report'),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    print(done.stdout)
    has_passed = done.returncode == 0
    counts = Counts(int(has_passed), int(not has_passed), 0)
    report('coverage', counts, done.stdout.splitlines()[-2:])
    return has_passed


def main() -> int:
    """Run everything, whatever fails."""
    subprocess.run(module('coverage', 'erase'))
    with tempfile.TemporaryFile('w+') as output:
        checks = subprocess.Popen(module('tools.run_checks'), stdout=output)
        failed = subprocess.run(module(*UNIT, *sys.argv[1:])).returncode != 0
        failed |= checks.wait(2 * run_checks.LIMIT) != 0
        output.seek(0)
        print(output.read())
    failed |= not coverage()
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
