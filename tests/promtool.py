# SPDX-License-Identifier: Apache-2.0
"""Prometheus' own judge of metrics and rules, as tests use it."""

import os
import shutil
import subprocess

import testtools


def check(case: testtools.TestCase, *arguments: str, text: str = '') -> None:
    """Run promtool; the test fails with what it says.

    Where it is not installed, the test is skipped, but not in tools/test.

    :param text: its standard input
    """
    program = shutil.which('promtool')
    if program is None:
        reason = "promtool is not installed: it is of Debian's prometheus"
        if os.environ.get('SVIRT_NOVA_REQUIRE_PROMTOOL') == '1':
            case.fail(reason)
        case.skipTest(reason)
    done = subprocess.run(
        [program, *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # It warns of metrics with the status 0.
    case.assertEqual(
        (0, ''),
        (done.returncode, done.stderr),
        done.stdout,
    )
