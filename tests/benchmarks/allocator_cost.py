# SPDX-License-Identifier: Apache-2.0
"""What a level costs: acquire and give back against a bare insert.

Each figure is the median of the ratios of a call to a bare INSERT and
COMMIT of one row with the same unique keys, made right before it through
the same SQLAlchemy engine into the same SQLite file, at the same fill.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import random
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

from svirt_nova import conf as svirt_conf
from svirt_nova import ranking
from svirt_nova.allocator.sql import driver
from svirt_nova.allocator.sql import store

FILLS = (0.0, 0.5, 0.9, 0.99, 0.999)
MOST = 2.0
STEEPEST = 1.3
HOST = 'compute-1.example.org'
PROJECT = '6f70656e737461636b206973206e6963'

BARE = sa.Table(
    'bare',
    sa.MetaData(),
    sa.Column('level_rank', sa.Integer, primary_key=True),
    sa.Column('instance_uuid', sa.String(36), unique=True),
)
_BARE_INSERT = sa.insert(BARE)


def _conf(path: pathlib.Path) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    svirt_conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('connection', f'sqlite:///{path}', 'svirt_database')
    return conf


def _uuid() -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


class Bench:
    """A store that is filled step by step, and its measurements."""

    def __init__(self, path: pathlib.Path, rounds: int) -> None:
        self.path = path
        self.rounds = rounds
        self.conf = _conf(path)
        self.space = store.sync(self.conf)
        ranks = range(ranking.first(2), ranking.first(3))
        self.order = random.sample(ranks, self.space.size)
        self.filled = 0
        self.instances: list[str] = []
        with sqlite3.connect(path) as connection:
            connection.execute(
                'CREATE TABLE bare (level_rank INTEGER PRIMARY KEY, '
                'instance_uuid VARCHAR(36) UNIQUE)'
            )

    def fill(self, share: float) -> None:
        """Hold levels, each with a claim, until a share of all is taken."""
        wanted = int(self.space.size * share)
        ranks = sorted(self.order[self.filled : wanted])
        uuids = [_uuid() for _ in ranks]
        with sqlite3.connect(self.path) as connection:
            connection.executemany(
                'INSERT INTO allocation (level_rank, instance_uuid, '
                'project_id, is_outside, created_at, note) '
                "VALUES (?, ?, ?, 0, '2026-01-01 00:00:00.000000', '')",
                ((r, u, PROJECT) for r, u in zip(ranks, uuids, strict=True)),
            )
            connection.executemany(
                'INSERT INTO claim (instance_uuid, host) VALUES (?, ?)',
                sorted((u, HOST) for u in uuids),
            )
            connection.executemany(
                'INSERT INTO bare VALUES (?, ?)',
                ((r, _uuid()) for r in ranks),
            )
        connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        connection.close()
        self.filled = max(self.filled, wanted)
        self.instances.extend(uuids)

    def measure(self) -> dict[str, float]:
        """The median ratios at this fill, and times in milliseconds."""
        allocator = driver.SqlAllocator(self.conf)
        warm_up = [_uuid() for _ in range(21)]
        first = _time(lambda: allocator.acquire(warm_up[0], PROJECT, HOST))
        engine = allocator._store._engine
        assert engine is not None
        free = self.order[self.filled :]
        pool = list(self.instances)
        random.shuffle(pool)
        figures: dict[str, list[float]] = {
            name: []
            for name in ('bare', 'acquire', 'give_back', 'ratio', 'back_ratio')
        }
        # The first wrong guess loads the hint: beside, not in, the figures.
        loading = max(
            _time(functools.partial(allocator.acquire, held, PROJECT, HOST))
            for held in warm_up[1:]
        )
        self._forget(warm_up)
        for _ in range(self.rounds):
            new = _uuid()
            before = _time(
                functools.partial(_bare, engine, random.choice(free), new)
            )
            took = _time(
                functools.partial(allocator.acquire, new, PROJECT, HOST)
            )
            self._forget([], bare=new)
            old = pool.pop() if pool else new
            again = _time(
                functools.partial(_bare, engine, random.choice(free), new)
            )
            gave = _time(functools.partial(allocator.give_back, old, HOST))
            self._forget([new], bare=new)
            figures['bare'] += [before, again]
            figures['acquire'].append(took)
            figures['give_back'].append(gave)
            figures['ratio'].append(took / before)
            figures['back_ratio'].append(gave / again)
        middle = {k: statistics.median(v) for k, v in figures.items()}
        engine.dispose()
        return {
            'acquire': middle['ratio'],
            'give_back': middle['back_ratio'],
            'bare_ms': middle['bare'] * 1e3,
            'acquire_ms': middle['acquire'] * 1e3,
            'give_back_ms': middle['give_back'] * 1e3,
            'first_ms': first * 1e3,
            'loading_ms': loading * 1e3,
        }

    def _forget(self, uuids: list[str], bare: str | None = None) -> None:
        """Keep the fill as it is: drop the rows made by a round."""
        connection = sqlite3.connect(self.path)
        with connection:
            for held in uuids:
                for table in ('claim', 'allocation'):
                    connection.execute(
                        f'DELETE FROM {table} WHERE instance_uuid = ?',
                        (held,),
                    )
            connection.execute(
                'DELETE FROM bare WHERE instance_uuid = ?', (bare,)
            )
        connection.close()


def _bare(engine: sa.Engine, rank: int, instance: str) -> None:
    with (
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        connection.execute(
            _BARE_INSERT, {'level_rank': rank, 'instance_uuid': instance}
        )


def _time(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--rounds', type=int, default=300, help='measurements for each fill'
    )
    parser.add_argument('--json', metavar='FILE', help='keep the figures')
    parser.add_argument(
        '--dir',
        default='/var/tmp',
        help='where to make the store; not in memory: a commit must wait '
        'for a disk (default: %(default)s)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help=f'exit 1 when a ratio is above {MOST}, or at the highest fill '
        f'above {STEEPEST} times that of the empty store',
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print and, if asked, judge."""
    options = _parse(arguments)
    results: list[dict[str, float]] = []
    print(
        '  full  acquire  give back  bare ms  acquire ms  '
        'give back ms  first ms  loading ms'
    )
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        bench = Bench(pathlib.Path(directory, 'store.sqlite'), options.rounds)
        for share in FILLS:
            bench.fill(share)
            found = {'full': share, **bench.measure()}
            results.append(found)
            print(
                '{full:6.1%} {acquire:8.2f} {give_back:10.2f} '
                '{bare_ms:8.2f} {acquire_ms:11.2f} {give_back_ms:13.2f} '
                '{first_ms:9.1f} {loading_ms:11.1f}'.format(**found),
                flush=True,
            )
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps(
                {
                    'levels': bench.space.size,
                    'rounds': options.rounds,
                    'sqlite': sqlite3.sqlite_version,
                    'sqlalchemy': sa.__version__,
                    'cpus': os.cpu_count(),
                    'fills': results,
                },
                indent=2,
            )
            + '\n',
            encoding='utf-8',
        )
    failures = [
        f'{name} at {found["full"]:.1%}: {found[name]:.2f} is more than {MOST}'
        for found in results
        for name in ('acquire', 'give_back')
        if found[name] > MOST
    ] + [
        f'{name} is not flat: {results[-1][name]:.2f} at '
        f'{results[-1]["full"]:.1%}, {results[0][name]:.2f} at 0 %'
        for name in ('acquire', 'give_back')
        if results[-1][name] > STEEPEST * results[0][name]
    ]
    for failure in failures:
        print(failure)
    return 1 if failures and options.check else 0


if __name__ == '__main__':
    sys.exit(main())
