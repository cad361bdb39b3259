# SPDX-License-Identifier: Apache-2.0
"""Breaks the package in small ways, and counts what the tests notice.

A random sample of the mutants of five rooms of the package (see
tools/mutants.py) is judged, first by the unit tests, and what survives these
by those functional tests that need neither Nova's services nor a database
server. A mutant is judged by the tests that execute its statement, and by
the other unit tests of its room: what is executed once for many tests, as at
an import, may be noticed by any of them. It is killed by the first test that
fails, and fails again, by an import that fails, or by the time limit.

The exit status is 0 if enough of the mutants were killed.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from collections.abc import Sequence
from multiprocessing import connection
from typing import NamedTuple

from tools import forked_tests
from tools import mutants
from tools.mutants import Mutant

ROOT = pathlib.Path(__file__).parents[1]
ROOMS = ('virt', 'host', 'lifecycle', 'mcs', 'allocator/sql')
SEED = 13
LEAST = 90.0  # per cent

_CRASHES = r'tests\.functional\.virt\.test_crashes\.CrashTest\.'
_STORES = (
    r'tests\.functional\.allocator\.'
    r'(test_sqlite\.|test_model\.|test_changes\.Sqlite)'
)
UNIT = forked_tests.Tier(
    'unit',
    tuple(
        f'tests/unit/{room}'
        for room in ('mcs', 'lifecycle', 'host', 'virt', 'cmd', 'allocator')
    ),
)
FUNCTIONAL = forked_tests.Tier(
    'functional',
    ('tests/functional/virt', 'tests/functional/allocator'),
    f'{_CRASHES}|{_STORES}',
)
# The tests of a room, as regular expressions of their ids.
ROOM_TESTS = {
    UNIT: {
        room: rf'tests\.unit\.{room.replace("/", ".")}\.' for room in ROOMS
    },
    FUNCTIONAL: {
        'virt': _CRASHES,
        'host': _CRASHES,
        'lifecycle': _CRASHES,
        'allocator/sql': _STORES,
    },
}

# The name of a tier, and what killed each of the mutants that it killed.
Killed = tuple[str, dict[Mutant, str]]


def room_of(mutant: Mutant) -> str:
    """The room of the package that a mutant is in."""
    prefix = 'svirt_nova/{}/'.format
    return next(r for r in ROOMS if mutant.path.startswith(prefix(r)))


def tests_for(
    mutant: Mutant, suite: forked_tests.Suite, rooms: dict[str, str]
) -> list[forked_tests.Test]:
    """The tests that judge a mutant, those first that execute it.

    Functional tests take too long to run without need.

    :param rooms: the tests of each room whose mutants the suite judges
    """
    own = rooms.get(room_of(mutant))
    if own is None:
        return []
    source = (ROOT / mutant.path).read_text()
    lines = mutants.statement(source, mutant.line)
    first = suite.that_execute(mutant.path, lines)
    others = suite.tests.keys() - {test.id for test in first}
    rest = [suite.tests[name] for name in others if re.match(own, name)]
    if first and suite.name == FUNCTIONAL.name:
        rest = []
    return [
        test
        for part in (first, rest)
        for test in sorted(part, key=lambda test: test.duration)
    ]


class Trial(NamedTuple):
    """What runs for a mutant.

    :param tests: what runs
    :param later: what runs next if a suspected killer passes now, which then
        runs by itself; None when all tests run
    """

    mutant: Mutant
    tests: list[forked_tests.Test]
    later: list[forked_tests.Test] | None = None

    def after(self, killer: str | None) -> Trial:
        """What runs next; nothing if the mutant is judged.

        A test that fails is repeated by itself. If it passes then, it has
        failed because the machine is busy, say, and the others go on.

        :param killer: what ended these tests; None if all have passed
        """
        name = killer.splitlines()[0] if killer else None
        names = [test.id for test in self.tests]
        if self.later is not None:
            return Trial(self.mutant, [] if killer else self.later)
        if name not in names:
            return Trial(self.mutant, [])
        index = names.index(name)
        repeated = self.tests[index : index + 1]
        return Trial(self.mutant, repeated, self.tests[index + 1 :])


def judge(
    sample: Iterable[Mutant],
    suite: forked_tests.Suite,
    rooms: dict[str, str],
    trees: Sequence[pathlib.Path],
) -> dict[Mutant, str]:
    """Judge mutants, as many at once as there are copies of the sources.

    :returns: what killed each of those that were killed
    """
    waiting = [(m, t) for m in sample if (t := tests_for(m, suite, rooms))]
    free = list(trees)
    running: dict[connection.Connection, tuple[forked_tests.Child, Trial]]
    running = {}
    killed: dict[Mutant, str] = {}
    try:
        while waiting or running:
            while free and waiting:
                mutant, tests = waiting.pop(0)
                path = free[-1] / mutant.path
                path.write_text(mutant.apply(path.read_text()) or '')
                child = forked_tests.judge(free.pop(), tests)
                running[child.pipe] = child, Trial(mutant, tests)
            ready = connection.wait(list(running), 1)
            for pipe, (child, trial) in list(running.items()):
                if pipe not in ready and not child.is_late():
                    continue
                del running[pipe]
                killer = child.end()
                following = trial.after(killer)
                if following.tests:
                    child = forked_tests.judge(child.tree, following.tests)
                    running[child.pipe] = child, following
                    continue
                mutant = trial.mutant
                # With its time: the bytecode of the original is valid again.
                shutil.copy2(ROOT / mutant.path, child.tree / mutant.path)
                free.append(child.tree)
                end = 'survives'
                if killer:
                    killed[mutant] = killer
                    end = f'is killed by {killer.splitlines()[0]}'
                print(f'{suite.name}: {mutant} {end}', flush=True)
    finally:
        for child, _ in running.values():
            child.kill()
    return killed


def table(
    pool: Iterable[Mutant], sample: Iterable[Mutant], killed: Sequence[Killed]
) -> list[str]:
    """The figures of each room and of all, as lines.

    :param pool: all mutants
    """

    def count(found: Iterable[Mutant], room: str) -> int:
        return sum(room in ('all', room_of(mutant)) for mutant in found)

    names = [name for name, _ in killed]
    heads = ['room', 'mutants', 'sample', *names, 'survived', 'killed']
    lines = [heads]
    for room in (*ROOMS, 'all'):
        counts = [count(found, room) for _, found in killed]
        size = count(sample, room)
        rate = f'{100 * sum(counts) / size:.1f} %' if size else '-'
        figures = [count(pool, room), size, *counts, size - sum(counts)]
        lines.append([room, *map(str, figures), rate])
    return [' '.join(f'{cell:>13}' for cell in line) for line in lines]


def all_mutants() -> list[Mutant]:
    """The mutants of all rooms."""
    paths = [
        path
        for room in ROOMS
        for path in sorted((ROOT / 'svirt_nova' / room).rglob('*.py'))
    ]
    return [
        mutant
        for path in paths
        for mutant in mutants.mutants_of(
            str(path.relative_to(ROOT)), path.read_text()
        )
    ]


def _copy(tree: pathlib.Path, into: pathlib.Path, *ignored: str) -> None:
    ignore = shutil.ignore_patterns(*ignored)
    shutil.copytree(tree, into, ignore=ignore, symlinks=True)


def run(sample: Sequence[Mutant], jobs: int) -> list[Killed]:
    """Judge mutants by each tier.

    :param jobs: how many at once
    """
    killed: list[Killed] = []
    left = list(sample)
    with tempfile.TemporaryDirectory(prefix='mutation-') as directory:
        trees = [pathlib.Path(directory, f'tree{n}') for n in range(jobs)]
        _copy(ROOT, trees[0], '.*', 'build', 'cover', '*.pyc')
        suites = {
            tier: forked_tests.Suite(trees[0], tier) for tier in ROOM_TESTS
        }
        for tree in trees[1:]:
            # With the bytecode, which only the measurements write.
            _copy(trees[0], tree)
        for tier, suite in suites.items():
            forked_tests.preload(suite.modules)
            found = judge(left, suite, ROOM_TESTS[tier], trees)
            killed.append((tier.name, found))
            left = [mutant for mutant in left if mutant not in found]
    return killed


def main() -> int:
    """Read the command line, and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=300, help='of the sample')
    parser.add_argument('--seed', type=int, default=SEED, help='of the sample')
    parser.add_argument(
        '--jobs', type=int, default=len(os.sched_getaffinity(0))
    )
    parser.add_argument(
        '--least',
        type=float,
        default=LEAST,
        help='how many per cent must be killed',
    )
    parser.add_argument(
        '--match',
        default='',
        help='judge only those of the sample whose "path:line operator" it '
        'matches, as a regular expression',
    )
    args = parser.parse_args()
    # A termination ends the children as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # hypothesis, which is imported later, draws the same examples each time
    # where it finds this.
    os.environ['CI'] = 'true'
    pool = all_mutants()
    sample = mutants.sample(pool, ROOT, args.count, args.seed)
    sample = [m for m in sample if re.search(args.match, str(m))]
    print(f'{len(sample)} of {len(pool)} mutants, seed {args.seed}')
    killed = run(sample, args.jobs)
    print(*table(pool, sample, killed), 'survivors:', sep='\n')
    left = set(sample).difference(*(found for _, found in killed))
    for mutant in sorted(left):
        source = (ROOT / mutant.path).read_text()
        told = mutants.change(source, mutant.apply(source) or '')
        print(f'  {mutant}  {told}')
    rate = 100 * (1 - len(left) / len(sample)) if sample else 0.0
    return int(rate < args.least)


if __name__ == '__main__':
    sys.exit(main())
