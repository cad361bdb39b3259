# SPDX-License-Identifier: Apache-2.0
"""Counts a run of stestr from its subunit stream, trusting nothing else.

A worker that dies takes its tests along: those that it had begun stay
without an end in the stream, and those that it had not begun are missing
from it. Both count as failed here.
"""

import argparse
import pathlib
import sys

import subunit
import testtools

PASSED = frozenset({'success', 'xfail'})
SKIPPED = frozenset({'skip'})


def statuses(stream: object) -> dict[str, str]:
    """The last status of each test in a subunit stream, by its id."""
    found: dict[str, str] = {}

    def note(test: dict[str, object]) -> None:
        found[str(test['id'])] = str(test['status'])

    result = testtools.StreamToDict(note)
    result.startTestRun()
    subunit.ByteStreamToStreamResult(stream, non_subunit_name='output').run(
        result
    )
    result.stopTestRun()
    return found


def tally(
    found: dict[str, str], expected: frozenset[str]
) -> tuple[int, int, int, list[str]]:
    """Count a run.

    :param found: the status of each test that reported one
    :param expected: the ids of all tests that were to run
    :returns: how many passed, failed and were skipped; and a line on each
        failed one
    """
    passed = failed = skipped = 0
    lines = []
    for name, status in sorted(found.items()):
        if status in PASSED:
            passed += 1
        elif status in SKIPPED:
            skipped += 1
        # Output between packets comes as an attachment of no test.
        elif status != 'unknown' or name in expected:
            failed += 1
            lines.append(f'{name}: {status}')
    for name in sorted(expected - found.keys()):
        failed += 1
        lines.append(f'{name}: never ran')
    return passed, failed, skipped, lines


def main() -> int:
    """Print the counts of the stream on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('expected', type=pathlib.Path, help='ids, one a line')
    args = parser.parse_args()
    expected = frozenset(args.expected.read_text().splitlines())
    found = statuses(sys.stdin.buffer)
    passed, failed, skipped, lines = tally(found, expected)
    for line in lines:
        print(f'  {line}', file=sys.stderr)
    print(passed, failed, skipped)
    return 0


if __name__ == '__main__':
    sys.exit(main())
