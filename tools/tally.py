# SPDX-License-Identifier: Apache-2.0
"""Counts a run of stestr from its subunit stream, trusting nothing else.

A worker that dies takes its tests along: those that it had begun stay
without an end in the stream, and those that it had not begun are missing
from it. Both count as failed here.
"""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

import subunit
import testtools

PASSED = frozenset({'success', 'xfail'})
SKIPPED = frozenset({'skip'})
TRACEBACK_LINES = 25


class End(NamedTuple):
    """How a test ended.

    :param status: a subunit status
    :param trace: the end of its tracebacks; empty if it has none
    """

    status: str
    trace: tuple[str, ...] = ()


def ends(stream: object) -> dict[str, End]:
    """The last end of each test in a subunit stream, by its id."""
    found: dict[str, End] = {}

    def note(test: Any) -> None:
        # A test whose cleanup fails too has a traceback-1.
        trace = [
            line
            for name, content in test['details'].items()
            if name.startswith('traceback')
            for line in content.as_text().splitlines()
            if line.strip()
        ]
        found[test['id']] = End(
            test['status'], tuple(trace[-TRACEBACK_LINES:])
        )

    result = testtools.StreamToDict(note)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(stream, non_subunit_name='output').run(
        result
    )
    result.stopTestRun()
    return found


def tally(
    found: dict[str, End], expected: frozenset[str]
) -> tuple[int, int, int, list[str]]:
    """Count a run.

    :param found: the end of each test that reported one
    :param expected: the ids of all tests that were to run
    :returns: how many passed, failed and were skipped; and for each failed
        one a line and the end of its traceback
    """
    passed = failed = skipped = 0
    lines = []
    for name, (status, trace) in sorted(found.items()):
        if status in PASSED:
            passed += 1
        elif status in SKIPPED:
            skipped += 1
        # Output between packets comes as an attachment of no test.
        elif status != 'unknown' or name in expected:
            failed += 1
            if not trace:
                status += ', without a traceback: its process may have died'
            lines.append(f'{name}: {status}')
            lines.extend(f'    {line}' for line in trace)
    for name in sorted(expected - found.keys()):
        failed += 1
        lines.append(f'{name}: never ran')
    return passed, failed, skipped, lines
