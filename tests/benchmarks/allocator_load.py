# SPDX-License-Identifier: Apache-2.0
"""What levels cost many clients at once, by fill and store.

Processes allocate at the same time, each with a window of its own that it
has looked at. The figure is their throughput as a share of that of the same
processes which make bare INSERTs and COMMITs of free ranks, in turns with
them, and the tries that an allocation took: transactions that insert a
level. ``galera`` has three nodes, which the clients share; beside it stands
what random probing and a bitmap in one row do under the same load.

At most an eighth of what is free is taken in a run, so that at 99.9 % a
client makes one allocation; of Galera, where the tries are judged, at most
a thirty-second: what the clients take from each other unseen makes tries.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

from svirt_nova.allocator.sql import sql_allocator
from tests.benchmarks import stores
from tests.benchmarks import ways

LEAST = 0.6
MOST_TRIES = 1.05
CLIENTS = 64
CLIENTS_OF_GALERA = 16
_MOST_EACH = 40
# One that all clients contend for takes seconds for each.
_OTHERS_EACH = 2
_OTHERS = (ways.RandomProbing, ways.LowestFree)

# The parent must not have a store open when it makes a child: an SQLite
# file's locks would be lost in it.
_fork = multiprocessing.get_context('fork')


def _work(
    allocator: sql_allocator.SqlAllocator,
    kind: type[ways.Way],
    free: Sequence[int],
    number: int,
    pipe: connection.Connection,
) -> None:
    """A client: allocate once, wait for the word, allocate, report.

    What the first allocation of a process costs is not the load's: the
    connection, the compilation of statements.
    """
    if issubclass(kind, ways.Bare):
        way: ways.Way = kind(allocator, free)
    else:
        way = kind(allocator)
    if isinstance(way, ways.Ours):
        way.count()
    first, *made = [stores.new_uuid() for _ in range(1 + number)]
    way.warm_up(first)
    way.tries = 0
    pipe.send(None)
    pipe.recv()
    for instance in made:
        way.allocate(instance)
    pipe.send((way.tries, first, made))


class Load:
    """Clients of a store at its present fill.

    :param clients: how many, over the store's nodes
    :param share: what part of the free levels they take
    """

    def __init__(
        self, bench: stores.BenchStore, clients: int, share: float
    ) -> None:
        self._bench = bench
        self._clients = clients
        number = int(share * len(bench.free) / clients)
        self.each = max(1, min(_MOST_EACH, number))
        self._allocators = [
            bench.allocator(node) for node in range(len(bench.confs))
        ]

    def run(
        self, kind: type[ways.Way], each: int | None = None
    ) -> tuple[float, float]:
        """Allocations a second, and tries for each.

        :param each: how many a client makes
        """
        each = each or self.each
        for opened in (*self._allocators, self._bench):
            opened._store.close()
        pipes, children = [], []
        free = self._bench.free
        for number in range(self._clients):
            ours, theirs = _fork.Pipe()
            child = _fork.Process(
                target=_work,
                args=(
                    self._allocators[number % len(self._allocators)],
                    kind,
                    free[number :: self._clients][: 1 + each],
                    each,
                    theirs,
                ),
            )
            child.start()
            pipes.append(ours)
            children.append(child)
        for pipe in pipes:
            pipe.recv()
        begin = time.perf_counter()
        for pipe in pipes:
            pipe.send(None)
        answers = [pipe.recv() for pipe in pipes]
        seconds = time.perf_counter() - begin
        for child in children:
            child.join()
        self._bench.forget(
            [one for _, first, made in answers for one in (first, *made)]
        )
        number = each * self._clients
        return number / seconds, sum(tries for tries, *_ in answers) / number


def measure(
    bench: stores.BenchStore, clients: int, share: float, rounds: int
) -> dict[str, float]:
    """Figures at a store's fill."""
    load = Load(bench, clients, share)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for kind in (ways.Bare, ways.Ours):
            found.setdefault(kind.name, []).append(load.run(kind))
    for other in _OTHERS:
        found[other.name] = [load.run(other, _OTHERS_EACH)]
    rate = {
        name: statistics.median(rate for rate, _ in runs)
        for name, runs in found.items()
    }
    tries = {
        name: statistics.mean(tries for _, tries in runs)
        for name, runs in found.items()
    }
    return {
        'each': load.each,
        'bare_per_s': rate['bare'],
        'ours_per_s': rate['acquire'],
        'share': statistics.median(
            ours / bare
            for (bare, _), (ours, _) in zip(
                found['bare'], found['acquire'], strict=True
            )
        ),
        'tries': tries['acquire'],
        **{f'{o.name}_share': rate[o.name] / rate['bare'] for o in _OTHERS},
        **{f'{o.name}_tries': tries[o.name] for o in _OTHERS},
    }


_HEAD = (
    '  full  each   bare/s   ours/s  share  tries  '
    'random share tries  bitmap share tries'
)
_LINE = (
    '{full:6.1%} {each:5d} {bare_per_s:8.0f} {ours_per_s:8.0f} '
    '{share:6.2f} {tries:6.3f} {random_share:13.2f} {random_tries:5.1f} '
    '{bitmap_share:13.2f} {bitmap_tries:5.1f}'
)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and, if asked, judge."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').split('\n')[0]
    )
    parser.add_argument('kinds', nargs='*', metavar='STORE')
    parser.add_argument('--rounds', type=int, default=5)
    stores.add_options(parser)
    options = parser.parse_args(arguments)
    results: dict[str, list[dict[str, Any]]] = {}
    failures = []
    for kind in options.kinds or (*stores.KINDS, 'galera'):
        clients, part = CLIENTS, 1 / 8
        if kind == 'galera':
            clients, part = CLIENTS_OF_GALERA, 1 / 32
        print(f'{kind}, {clients} clients\n{_HEAD}')
        results[kind] = []
        with stores.opened(kind, options.dir) as bench:
            for share in stores.FILLS:
                bench.fill(share)
                found = measure(bench, clients, part, options.rounds)
                results[kind].append({'full': share, **found})
                print(_LINE.format(**results[kind][-1]), flush=True)
                if kind == 'galera' and found['tries'] > MOST_TRIES:
                    failures.append(
                        f'{kind} at {share:.1%}: {found["tries"]:.3f} tries'
                    )
                elif kind != 'galera' and found['share'] < LEAST:
                    failures.append(
                        f'{kind} at {share:.1%}: {found["share"]:.2f} of '
                        f'bare inserts'
                    )
    return stores.finish(options, results, failures)


if __name__ == '__main__':
    sys.exit(main())
