# SPDX-License-Identifier: Apache-2.0
"""Runs a suite of tests with stestr, and counts what came of each.

Not what stestr says counts, but what it recorded: see tools/tally.py. The
exit status is 0 only if every test that there is to run has passed or was
skipped.
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence

from tools import tally
from tools.report import Counts
from tools.report import report

# In seconds. Each test has a limit of its own (tests/time_limit.py); this one
# is for what hangs outside of tests.
LIMIT = 3600 * float(os.environ.get('SVIRT_NOVA_TEST_TIME_SCALE', '1'))

OUTPUT_LINES = 30

# Of stestr's list, which modules that print may have written into.
_ID = re.compile(r'(tests|unittest)\.\w.*')


class Suite:
    """The tests below a directory.

    :param directory: where they are
    :param repository: the directory below which stestr records its runs
    """

    def __init__(self, directory: str, repository: str) -> None:
        self._record = pathlib.Path(repository, '.stestr')
        self._stestr = [
            sys.executable,
            '-m',
            'stestr',
            '--test-path',
            directory,
            '--repo-url',
            repository,
        ]
        if not self._record.exists():
            self._record.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run([*self._stestr, 'init'], check=True)

    def ids(self) -> list[str]:
        """The tests that there are.

        :raises RuntimeError: they cannot be listed, as when a module cannot
            be imported
        """
        # What measures the tests need not measure this.
        environment = {k: v for k, v in os.environ.items() if k != 'PYTHON'}
        done = subprocess.run(
            [*self._stestr, 'list'],
            env=environment,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f'cannot list the tests:\n{done.stdout}')
        return [line for line in done.stdout.splitlines() if _ID.match(line)]

    def run(
        self, ids: list[str], concurrency: int
    ) -> tuple[int, dict[str, tally.End]]:
        """Run tests.

        :returns: stestr's exit status, negative if it was ended; and the end
            of each test, by its id
        """
        before = self._runs()
        with tempfile.NamedTemporaryFile('w', prefix='tests-') as names:
            print(*ids, sep='\n', file=names, flush=True)
            status = self._wait(
                '--concurrency', str(concurrency), '--load-list', names.name
            )
        if self._runs() == before:
            # It was ended before it had recorded anything; the last record
            # is that of an earlier run.
            return status or 1, {}
        done = subprocess.run(
            [*self._stestr, 'last', '--subunit'], stdout=subprocess.PIPE
        )
        return status, tally.ends(io.BytesIO(done.stdout))

    def _wait(self, *options: str) -> int:
        # A process group of its own, to end it with all its workers.
        running = subprocess.Popen(
            [*self._stestr, 'run', *options],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return running.wait(LIMIT)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()

    def _runs(self) -> str:
        """The number of runs that are recorded."""
        return (self._record / 'next-stream').read_text()


def entries(text: str) -> dict[str, str]:
    """The entries of a list: one a line, below a comment after #.

    :returns: the comment of each entry, which is that above it or above the
        entries before it
    """
    found = {}
    comment: list[str] = []
    is_open = False
    for line in text.splitlines():
        entry, _, words = (part.strip() for part in line.partition('#'))
        if entry:
            found[entry] = ' '.join(comment)
        elif words:
            comment = [*comment, words] if is_open else [words]
        is_open = not entry and bool(words)
    return found


def choose(
    ids: Sequence[str], args: argparse.Namespace
) -> tuple[list[str], list[str]]:
    """Choose the tests to run.

    :param ids: all tests of the suite
    :returns: those to run; and those that the list of names has and that are
        not there
    """
    chosen = list(ids)
    missing: list[str] = []
    if args.names:
        names = entries(args.names.read_text()).keys()
        missing = sorted(names - set(ids))
        chosen = [name for name in ids if name in names]
    if args.selection:
        pattern = re.compile('|'.join(args.selection))
        chosen = [name for name in chosen if pattern.search(name)]
    elif args.without:
        pattern = re.compile('|'.join(entries(args.without.read_text())))
        chosen = [name for name in chosen if not pattern.search(name)]
    return chosen, missing


def run(args: argparse.Namespace) -> int:
    """Run and report a suite.

    :returns: how many tests failed
    """
    repository = '.'
    repositories = os.environ.get('SVIRT_NOVA_TEST_REPOSITORIES')
    if repositories:
        name = re.sub(r'\W+', '-', args.what)
        repository = os.path.join(repositories, name)
    suite = Suite(args.directory, repository)
    ids, missing = choose(suite.ids(), args)
    if args.if_any and args.selection and not ids:
        print(f'{args.what}: none of its tests is selected')
        return 0
    processors = len(os.sched_getaffinity(0))
    workers = max(1, round(processors * args.per_processor))
    status, found = suite.run(ids, workers) if ids else (1, {})
    passed, failed, skipped, lines = tally.tally(found, frozenset(ids))
    lines = [f'{name}: there is no such test' for name in missing] + lines
    failed += len(missing)
    if not failed and (status or not passed):
        lines.append(f'it ended with status {status}, {passed} tests passed')
        failed = 1
    report(args.what, Counts(passed, failed, skipped), lines)
    return failed


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', help='what the report calls the suite')
    parser.add_argument('directory', help='where the tests are')
    parser.add_argument(
        '--names', type=pathlib.Path, help='a list of the tests to run'
    )
    parser.add_argument(
        '--without',
        type=pathlib.Path,
        help='a list of regular expressions: what they match runs only if it '
        'is selected',
    )
    parser.add_argument(
        '--if-any',
        action='store_true',
        help='a selection may match no test of this suite',
    )
    parser.add_argument(
        '--per-processor',
        type=float,
        default=1.0,
        help='how many workers there are for each processor: more than one '
        'for tests that wait for servers',
    )
    parser.add_argument(
        'selection', nargs='*', help='regular expressions, any of them'
    )
    # A termination ends the workers as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args = parser.parse_intermixed_args()
    try:
        return int(run(args) > 0)
    except BaseException:
        # A suite that could not run has failed.
        lines = traceback.format_exc().splitlines()
        report(args.what, Counts(0, 1, 0), lines[-OUTPUT_LINES:])
        raise


if __name__ == '__main__':
    sys.exit(main())
