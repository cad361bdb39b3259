# SPDX-License-Identifier: Apache-2.0
"""Runs the lab's tests, and reports what came of them.

It needs nothing but Python's own library: the lab makes an environment for
itself.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from tools.report import Counts
from tools.report import report


def main() -> int:
    """Run the lab's tests for so many hosts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'tests',
        help='hosts of the lab, such as 1 or 2-soak; or "prepare", which '
        'builds what any of them needs, and runs none',
    )
    tests = parser.parse_args().tests
    program = [sys.executable, '-m', 'tests.lab.run_tests']
    if tests == 'prepare':
        # It is ended by a signal, as that program is.
        os.execv(sys.executable, [*program, '--hosts', '2', '--prepare'])
    hosts, _, soak = tests.partition('-')
    with tempfile.TemporaryDirectory(prefix='svirt-nova-lab-') as directory:
        path = pathlib.Path(directory, 'results.json')
        status = subprocess.run(
            [
                *program,
                '--hosts',
                hosts,
                *([f'--{soak}'] if soak else []),
                '--json',
                str(path),
            ]
        ).returncode
        if not path.exists():
            # The lab did not come up. It has said why.
            return status or 1
        found = json.loads(path.read_text())
    counts = Counts(found['passed'], found['failed'], found['skipped'])
    report(f'lab, hosts: {tests}', counts, found['told'])
    return status


if __name__ == '__main__':
    sys.exit(main())
