# SPDX-License-Identifier: Apache-2.0
"""Runs the lab's tests against one lab.

    python3 -m tests.lab.run_tests [--hosts 2] [--soak] [--json FILE] [NAME]...
    python3 -m tests.lab.run_tests [--hosts 2] --prepare

--prepare builds what a later run needs, and runs none. --soak chooses the
tests that take too long for each change. Names of modules, classes or tests,
such as tests.lab.test_policy, choose those alone. Bootstraps as the demo does.
Exit status 0 only if all tests passed; FILE gets {"passed": n, "failed": n,
"skipped": n, "told": [line, ...]}, where told has the ends of what failed.
"""

from __future__ import annotations

import argparse
import sys
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.lab import bootstrap
from tests.lab.progress import write_json

TOLD_LINES = 25

#: By the number of hosts that they need.
MODULES = {
    1: (
        'tests.lab.test_isolation',
        'tests.lab.test_operations',
        'tests.lab.test_at_rest',
        'tests.lab.test_alarm',
        'tests.lab.test_policy',
        # Last: it changes the level scheme.
        'tests.lab.test_projects',
    ),
    2: ('tests.lab.test_two_hosts',),
}
#: Those that take too long to run with each change.
SOAK = {
    1: (
        'tests.lab.test_forgery',
        'tests.lab.test_discs',
        'tests.lab.test_census',
        'tests.lab.test_units',
        'tests.lab.test_scheduling',
    ),
    2: (
        'tests.lab.test_arrivals',
        'tests.lab.test_evacuations',
        'tests.lab.test_migrations',
    ),
}


class Result(unittest.TextTestResult):
    """Tells of a failure at once, because a run may be interrupted."""

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        """A test has failed."""
        super().addFailure(test, err)
        self._tell(self.failures)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        """A test could not run to its end."""
        super().addError(test, err)
        self._tell(self.errors)

    def _tell(self, ends: Sequence[tuple[unittest.TestCase, str]]) -> None:
        self.stream.writeln(ends[-1][1])
        self.stream.flush()


def run(names: Sequence[str], path: Path | None) -> int:
    """Run tests; they share one cloud.

    :param names: of modules, classes or tests
    """
    # Only the lab's environment has what the tests need.
    from tests.lab.case import end_lab

    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    # The suite forgets tests that it has run.
    classes = _classes(suite)
    total = suite.countTestCases()
    runner = unittest.TextTestRunner(
        stream=sys.stdout, verbosity=2, resultclass=Result
    )
    try:
        result = runner.run(suite)
    finally:
        # unittest leaves these out when it is interrupted.
        for kind in classes:
            kind.doClassCleanups()
        end_lab()
    skipped = len(result.skipped)
    passed = max(
        0,
        result.testsRun
        - skipped
        - len(result.failures)
        - len(result.errors)
        - len(result.unexpectedSuccesses),
    )
    # What never ran, because the lab did not come up, failed.
    failed = total - passed - skipped
    if path is not None:
        write_json(
            path,
            {
                'passed': passed,
                'failed': failed,
                'skipped': skipped,
                'told': _told(result),
            },
        )
    print(
        f'lab: {passed} passed, {failed} failed, {skipped} skipped', flush=True
    )
    return 0 if passed == total and result.wasSuccessful() else 1


def _told(result: unittest.TestResult) -> list[str]:
    told = []
    for test, trace in result.failures + result.errors:
        lines = [line for line in trace.splitlines() if line.strip()]
        told.append(test.id())
        told += [f'    {line}' for line in lines[-TOLD_LINES:]]
    return told


def _classes(suite: unittest.TestSuite) -> set[type[unittest.TestCase]]:
    found: set[type[unittest.TestCase]] = set()
    for item in suite:
        if isinstance(item, unittest.TestCase):
            found.add(type(item))
        elif isinstance(item, unittest.TestSuite):
            found |= _classes(item)
    return found


def main(arguments: list[str]) -> int:
    """Read the command line, build, run."""
    parser = argparse.ArgumentParser(prog='tests.lab.run_tests')
    parser.add_argument('--hosts', type=int, choices=MODULES, default=1)
    parser.add_argument('--json', type=Path, metavar='FILE')
    parser.add_argument('--prepare', action='store_true')
    parser.add_argument('--soak', action='store_true')
    parser.add_argument('names', nargs='*', metavar='NAME')
    options = parser.parse_args(arguments)
    chosen = (SOAK if options.soak else MODULES)[options.hosts]
    names = options.names or chosen
    arguments = [*names, '--hosts', str(options.hosts)]
    if options.json is not None:
        # A successor process may stand elsewhere.
        arguments += ['--json', str(options.json.absolute())]
    try:
        if options.prepare:
            bootstrap.prepare(options.hosts)
            return 0
        bootstrap.ensure('tests.lab.run_tests', arguments, hosts=options.hosts)
        return run(names, options.json)
    except BaseException as error:  # noqa: BLE001 - raised again if unknown
        return bootstrap.main_guard(error)


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
