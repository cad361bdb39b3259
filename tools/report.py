# SPDX-License-Identifier: Apache-2.0
"""Reports what came of a run, to who reads the output and to tools/test.

Where ``SVIRT_NOVA_TEST_RESULTS`` names a directory, tools/test waits for two
files in it: ``counts`` has a line ``PASSED FAILED SKIPPED`` for each run, and
``failed`` tells what failed.

This module needs nothing but Python's own library.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple


class Counts(NamedTuple):
    """How many tests passed, failed and were skipped."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return (
            f'{self.passed} passed, {self.failed} failed, '
            f'{self.skipped} skipped'
        )


def report(what: str, counts: Counts, told: Iterable[str] = ()) -> None:
    """Report a run.

    :param what: what ran
    :param counts: what came of it
    :param told: lines about what failed
    """
    print(f'{what}: {counts}', flush=True)
    lines = [f'  {line}' for line in told]
    if counts.failed:
        print('\n'.join(lines), flush=True)
    directory = os.environ.get('SVIRT_NOVA_TEST_RESULTS')
    if not directory:
        return
    with pathlib.Path(directory, 'counts').open('a') as out:
        print(*counts, file=out)
    if counts.failed:
        with pathlib.Path(directory, 'failed').open('a') as out:
            print(
                f'{what}: {counts.failed} failed', *lines, sep='\n', file=out
            )
