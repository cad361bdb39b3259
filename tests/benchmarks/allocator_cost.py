# SPDX-License-Identifier: Apache-2.0
"""What a level costs one client: acquire and give back, by fill and store.

Each figure is the median of the ratios of a call to a bare INSERT and
COMMIT of one row with the same unique keys, made right before it through
the same SQLAlchemy engine into the same store, at the same fill. What
others do to choose a level is measured beside it, in the same way.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from tests.benchmarks import stores
from tests.benchmarks import ways

MOST = 2.0
STEEPEST = 1.3
# Others' ways take up to a second for each.
OTHERS_ROUNDS = 15

_HEAD = (
    '  full  acquire  give back  bare ms  acquire ms  give back ms  '
    'first ms  loading ms   random     list   bitmap'
)
_LINE = (
    '{full:6.1%} {acquire:8.2f} {give_back:10.2f} {bare_ms:8.2f} '
    '{acquire_ms:11.2f} {give_back_ms:13.2f} {first_ms:9.1f} '
    '{loading_ms:11.1f} {random:8.1f} {list:8.1f} {bitmap:8.1f}'
)


def measure(bench: stores.BenchStore, rounds: int) -> dict[str, float]:
    """The median ratios at a store's fill, and times in milliseconds."""
    allocator = bench.allocator()
    acquire = functools.partial(
        allocator.acquire, project_id=stores.PROJECT, host=stores.HOST
    )
    warm_up = [stores.new_uuid() for _ in range(21)]
    first = _time(acquire, warm_up[0])
    # The first collision looks at a window: beside, not in, the figures.
    loading = max(_time(acquire, u) for u in warm_up[1:])
    bench.forget(warm_up)
    bare = ways.Bare(allocator, bench.free)
    pool = bench.held(rounds)
    figures: dict[str, list[float]] = {
        name: []
        for name in ('bare', 'acquire', 'give_back', 'ratio', 'back_ratio')
    }
    for _ in range(rounds):
        made = [stores.new_uuid() for _ in range(3)]
        before = _time(bare.allocate, made[0])
        took = _time(acquire, made[1])
        old = pool.pop() if pool else made[1]
        again = _time(bare.allocate, made[2])
        gave = _time(allocator.give_back, old, stores.HOST)
        bench.forget(made)
        figures['bare'] += [before, again]
        figures['acquire'].append(took)
        figures['give_back'].append(gave)
        figures['ratio'].append(took / before)
        figures['back_ratio'].append(gave / again)
    middle = {k: statistics.median(v) for k, v in figures.items()}
    return {
        'acquire': middle['ratio'],
        'give_back': middle['back_ratio'],
        'bare_ms': middle['bare'] * 1e3,
        'acquire_ms': middle['acquire'] * 1e3,
        'give_back_ms': middle['give_back'] * 1e3,
        'first_ms': first * 1e3,
        'loading_ms': loading * 1e3,
        **{
            kind.name: _compare(bench, bare, kind(allocator))
            for kind in ways.OTHERS
        },
    }


def _compare(
    bench: stores.BenchStore, bare: ways.Way, other: ways.Way
) -> float:
    """The median ratio of another way to a bare insert."""
    ratios = []
    for _ in range(OTHERS_ROUNDS):
        made = [stores.new_uuid() for _ in range(2)]
        before = _time(bare.allocate, made[0])
        ratios.append(_time(other.allocate, made[1]) / before)
        bench.forget(made)
    return statistics.median(ratios)


def _time(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def judge(kind: str, found: list[dict[str, float]]) -> list[str]:
    """What is beyond its limit.

    :param found: figures of a store, by ascending fill
    """
    first, last = found[0], found[-1]
    return [
        f'{kind}: {name} at {each["full"]:.1%}: {each[name]:.2f} is more '
        f'than {MOST}'
        for each in found
        for name in ('acquire', 'give_back')
        if each[name] > MOST
    ] + [
        f'{kind}: {name} is not flat: {last[name]:.2f} at '
        f'{last["full"]:.1%}, {first[name]:.2f} at 0 %'
        for name in ('acquire', 'give_back')
        if last[name] > STEEPEST * first[name]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and, if asked, judge."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('kinds', nargs='*', metavar='STORE')
    parser.add_argument(
        '--rounds', type=int, default=300, help='measurements for each fill'
    )
    stores.add_options(parser)
    options = parser.parse_args(arguments)
    results: dict[str, list[dict[str, float]]] = {}
    failures = []
    for kind in options.kinds or stores.KINDS:
        print(f'{kind}\n{_HEAD}')
        results[kind] = []
        with stores.opened(kind, options.dir) as bench:
            for share in stores.FILLS:
                bench.fill(share)
                found = {'full': share, **measure(bench, options.rounds)}
                results[kind].append(found)
                print(_LINE.format(**found), flush=True)
        failures += judge(kind, results[kind])
    report = {
        'levels': stores.SIZE,
        'rounds': options.rounds,
        'sqlalchemy': sa.__version__,
        'cpus': os.cpu_count(),
        'stores': results,
    }
    return stores.finish(options, report, failures)


if __name__ == '__main__':
    sys.exit(main())
