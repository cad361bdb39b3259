# SPDX-License-Identifier: Apache-2.0
"""Tests with real databases, processes and packages.

Nova's own tests in ``tests.functional.nova`` patch the whole process for
eventlet when they are imported, so they are run by themselves: see tox.ini.
"""

import fnmatch
import pathlib
import unittest

from tests import time_limit

time_limit.install()

_APART = 'nova'


def load_tests(
    loader: unittest.TestLoader,
    tests: unittest.TestSuite,
    pattern: str | None,
) -> unittest.TestSuite:
    """Find every test but those that must have a process of their own."""
    pattern = pattern or 'test*.py'
    here = pathlib.Path(__file__).parent
    for path in sorted(here.iterdir()):
        if (path / '__init__.py').exists() and path.name != _APART:
            found = loader.discover(
                str(path), pattern, str(here.parent.parent)
            )
            tests.addTests(found)
        elif path.is_file() and fnmatch.fnmatch(path.name, pattern):
            tests.addTests(loader.loadTestsFromName(f'{__name__}.{path.stem}'))
    return tests
