# SPDX-License-Identifier: Apache-2.0
"""How tests ended, read from a stream of subunit's second version."""

from __future__ import annotations

import io
from typing import Any

import subunit
import testtools

from tests.lab import comparison
from tests.lab.comparison import Outcome

_STATUSES = {
    'success': comparison.PASSED,
    'xfail': comparison.PASSED,
    'skip': comparison.SKIPPED,
}


def outcomes(stream: bytes) -> dict[str, Outcome]:
    """Give the outcome of each test in the stream, by its name.

    Fixtures of classes are in it where they failed or were skipped; a test
    that began and never ended has failed.
    """
    found: dict[str, Outcome] = {}

    def note(test: Any) -> None:
        status = _STATUSES.get(test['status'], comparison.FAILED)
        begin, end = test['timestamps']
        name = comparison.without_attributes(test['id'])
        if test['status'] == 'unknown' and '.' not in name:
            # Output between the packets.
            return
        found[name] = Outcome(
            status,
            (end - begin).total_seconds() if begin and end else 0.0,
            '' if status == comparison.PASSED else _detail(test['details']),
        )

    result = testtools.StreamToDict(note)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='output'
    ).run(result)
    result.stopTestRun()
    return found


def _detail(details: dict[str, Any]) -> str:
    for name in ('reason', 'traceback', *sorted(details)):
        text = details[name].as_text() if name in details else ''
        if text.strip():
            return comparison.last_line(text)
    return 'no reason given'
