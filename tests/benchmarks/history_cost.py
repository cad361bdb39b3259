# SPDX-License-Identifier: Apache-2.0
"""What it costs to ask the history, with millions of rows.

The rows are those of a year: levels that came free one after the other, each
with the claim of a host. Indices are made after the rows, as no store comes to
have so many at once.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import sys
import time
from collections.abc import Callable
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from tests.benchmarks import stores

YEAR = 365 * 86_400.0
LIFE = datetime.timedelta(days=1)
PROJECTS = 1000
LIMIT_MS = 50.0
"""The most milliseconds that the median question may take."""

_BATCH = 500_000
# How each server counts, writes texts, and adds to a time.
_NUMBERS = {
    'sqlite': (
        'WITH RECURSIVE numbers(n) AS (SELECT {first} UNION ALL '
        'SELECT n + 1 FROM numbers WHERE n < {last}) '
    ),
    'mariadb': '',
    'postgresql': '',
}
_FROM = {
    'sqlite': 'numbers',
    'mariadb': '(SELECT seq AS n FROM seq_{first}_to_{last}) AS numbers',
    'postgresql': 'generate_series({first}, {last}) AS numbers(n)',
}
_UUID = {
    'sqlite': "printf('%08x-0000-4000-8000-%012x', n, n)",
    'mariadb': (
        "CONCAT(LPAD(LOWER(HEX(n)), 8, '0'), '-0000-4000-8000-', "
        "LPAD(LOWER(HEX(n)), 12, '0'))"
    ),
    'postgresql': (
        "LPAD(TO_HEX(n), 8, '0') || '-0000-4000-8000-' || "
        "LPAD(TO_HEX(n), 12, '0')"
    ),
}
_PROJECT = {
    'sqlite': "'project-' || (n % {projects})",
    'mariadb': "CONCAT('project-', n % {projects})",
    'postgresql': "'project-' || (n % {projects})",
}
_TIME = {
    'sqlite': (
        "strftime('%Y-%m-%d %H:%M:%f000', '{begin}', "
        "(n * {step} + {more}) || ' seconds')"
    ),
    'mariadb': ("DATE_ADD('{begin}', INTERVAL (n * {step} + {more}) SECOND)"),
    'postgresql': (
        "CAST('{begin}' AS TIMESTAMP) + "
        "(n * {step} + {more}) * INTERVAL '1 second'"
    ),
}


class History:
    """A filled history.

    :param kind: of the server
    :param rows: how many
    """

    def __init__(self, store: stores.BenchStore, kind: str, rows: int) -> None:
        self.allocator = store.allocator()
        self._url = store.confs[0].svirt_database.connection
        self.rows = rows
        self.step = YEAR / rows
        now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
        self.begin = now - datetime.timedelta(seconds=YEAR) - LIFE
        self._kind = kind

    def fill(self) -> None:
        """Write the rows, and then their indices."""
        tables = (schema.history, schema.past_claim)
        indices = [each for table in tables for each in table.indexes]
        for index in indices:
            self._do(index.drop)
        for first in range(1, self.rows + 1, _BATCH):
            last = min(first + _BATCH - 1, self.rows)
            for text in self._inserts(first, last):
                self._do(lambda c, text=text: c.exec_driver_sql(text))
        for index in indices:
            self._do(index.create)
        self._do(lambda c: c.exec_driver_sql(self._analyze()))

    def _do(self, work: Callable[[sa.Connection], object]) -> None:
        # Without the time limits of an allocator's connection.
        engine = sa.create_engine(self._url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            work(connection)

    def _analyze(self) -> str:
        if self._kind == 'mariadb':
            return 'ANALYZE TABLE history, past_claim'
        return 'ANALYZE'

    def _inserts(self, first: int, last: int) -> Sequence[str]:
        words = {
            'first': first,
            'last': last,
            'projects': PROJECTS,
            'begin': f'{self.begin:%Y-%m-%d %H:%M:%S}',
            'step': self.step,
        }
        numbers = _NUMBERS[self._kind].format(**words)
        source = _FROM[self._kind].format(**words)
        made = _TIME[self._kind].format(more=0, **words)
        ended = _TIME[self._kind].format(more=LIFE.total_seconds(), **words)
        rank = f'{stores.FIRST} + (n * 7919) % {stores.SIZE}'
        project = _PROJECT[self._kind].format(**words)
        uuid = _UUID[self._kind]
        # The parameter style of some drivers takes a percent sign as its own.
        double = '%%' if self._kind != 'sqlite' else '%'
        return [
            text.replace('%', double)
            for text in (
                'INSERT INTO history (level_rank, instance_uuid, project_id, '
                f'created_at, retired_at) {numbers}SELECT {rank}, {uuid}, '
                f'{project}, {made}, {ended} FROM {source}',
                'INSERT INTO past_claim (instance_uuid, host, claimed_at, '
                f"dropped_at) {numbers}SELECT {uuid}, 'compute1', {made}, "
                f'{ended} FROM {source}',
            )
        ]

    def questions(self) -> dict[str, Callable[[], int]]:
        """What is asked, of a row that is chosen anew each time."""
        ask = self.allocator.history

        def of_level(at: bool) -> int:
            n = random.randint(1, self.rows)
            return len(ask(self._level(n), at=self._moment(n) if at else None))

        def of_instance() -> int:
            n = random.randint(1, self.rows)
            uuid = f'{n:08x}-0000-4000-8000-{n:012x}'
            return len(ask(instance_uuid=uuid, at=self._moment(n)))

        def of_project(at: bool) -> int:
            n = random.randint(1, self.rows)
            return len(
                ask(
                    limit=1000,
                    project_id=f'project-{n % PROJECTS}',
                    at=self._moment(n) if at else None,
                )
            )

        return {
            'a level': lambda: of_level(False),
            'a level at a time': lambda: of_level(True),
            'an instance at a time': of_instance,
            'a project at a time': lambda: of_project(True),
            'a thousand of a project': lambda: of_project(False),
        }

    def _level(self, n: int) -> levels.Level:
        rank = stores.FIRST + n * 7919 % stores.SIZE
        return levels.Level(ranking.unrank(rank))

    def _moment(self, n: int) -> datetime.datetime:
        return self.begin + datetime.timedelta(seconds=n * self.step + 60)


def _measure(history: History, repeats: int) -> dict[str, dict[str, float]]:
    found = {}
    for name, ask in history.questions().items():
        taken, entries = [], 0
        for _ in range(repeats):
            begin = time.perf_counter()
            entries += ask()
            taken.append(1000 * (time.perf_counter() - begin))
        found[name] = {
            'median_ms': round(statistics.median(taken), 2),
            'worst_ms': round(max(taken), 2),
            'entries': round(entries / repeats, 1),
        }
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Fill a history, ask it, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    stores.add_options(parser)
    parser.add_argument('--rows', type=int, default=10_000_000)
    parser.add_argument('--repeats', type=int, default=50)
    parser.add_argument(
        '--store', action='append', choices=stores.KINDS, default=[]
    )
    options = parser.parse_args(argv)
    report, failures = {}, []
    for kind in options.store or stores.KINDS:
        with stores.opened(kind, options.dir) as store:
            history = History(store, kind, options.rows)
            begin = time.monotonic()
            history.fill()
            print(
                f'{kind}: {options.rows} rows in '
                f'{time.monotonic() - begin:.0f} s',
                flush=True,
            )
            report[kind] = _measure(history, options.repeats)
        for name, figures in report[kind].items():
            print(f'  {name}: {figures}', flush=True)
            if 'at a time' in name and figures['median_ms'] > LIMIT_MS:
                failures.append(
                    f'{kind}: {name} takes {figures["median_ms"]} ms, more '
                    f'than {LIMIT_MS:.0f}'
                )
    return stores.finish(options, report, failures)


if __name__ == '__main__':
    sys.exit(main())
