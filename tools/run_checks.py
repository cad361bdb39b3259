# SPDX-License-Identifier: Apache-2.0
"""Runs static checks, several at once, each of which passes or fails.

``python -m tools.run_checks CHECK...`` runs those, without names all.
"""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from collections.abc import Sequence

from tools.report import Counts
from tools.report import report

CHECKS = {
    # The slowest first.
    'mypy': ('mypy',),
    'hacking': (
        sys.executable,
        '-m',
        'flake8',
        'svirt_nova',
        'nova_shim',
        'tests',
        'tools',
    ),
    'generated files': (sys.executable, '-m', 'tools.generated', '--check'),
    'ruff': ('ruff', 'check', '--output-format', 'concise', '.'),
    'format': ('ruff', 'format', '--check', '.'),
}
LIMIT = 900
OUTPUT_LINES = 30


def check(name: str) -> tuple[bool, str]:
    """Run a check.

    :returns: whether it passed, and its output
    """
    try:
        done = subprocess.run(
            CHECKS[name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, done.stdout


def run(names: Sequence[str]) -> bool:
    """Run and report checks.

    :returns: whether all of them passed
    """
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(check, names))
    for name, (has_passed, output) in zip(names, results, strict=True):
        lines = output.splitlines()
        if has_passed:
            report(name, Counts(1, 0, 0))
        else:
            if len(lines) > OUTPUT_LINES:
                print(output)
            report(name, Counts(0, 1, 0), lines[-OUTPUT_LINES:])
    return all(has_passed for has_passed, _ in results)


def main() -> int:
    """Read the command line, and run."""
    names = sys.argv[1:] or list(CHECKS)
    unknown = set(names) - CHECKS.keys()
    if unknown:
        print(f'there is no such check: {", ".join(unknown)}; there are:')
        print(*CHECKS, sep='\n')
        return 2
    return 0 if run(names) else 1


if __name__ == '__main__':
    sys.exit(main())
