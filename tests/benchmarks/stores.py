# SPDX-License-Identifier: Apache-2.0
"""Stores that are filled step by step, for what is measured on them.

Beside the levels that are held, each with a claim, there is a table of
bare rows with the same keys, as full as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import random
import tempfile
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import ranking
from tests.functional.allocator import servers

FILLS = (0.0, 0.5, 0.9, 0.99, 0.999)
KINDS = ('sqlite', 'mariadb', 'postgresql')
HOST = 'compute-1.example.org'
PROJECT = '6f70656e737461636b206973206e6963'

_metadata = sa.MetaData()
BARE = sa.Table(
    'bare',
    _metadata,
    sa.Column(
        'level_rank', sa.BigInteger, primary_key=True, autoincrement=False
    ),
    sa.Column('instance_uuid', sa.String(36), unique=True, nullable=False),
    **schema.TABLE_OPTIONS,
)
BITMAP = sa.Table(
    'bitmap',
    _metadata,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('version', sa.Integer, nullable=False),
    sa.Column('bits', sa.LargeBinary(1 << 20), nullable=False),
    **schema.TABLE_OPTIONS,
)
"""The taken ranks, as bits in one row."""

FIRST = ranking.first(2)
SIZE = ranking.first(3) - FIRST

_BATCH = 10_000

# The benchmarks count with ranks, without their levels.
_RAW_RANK = sa.type_coerce(schema.allocation.c.level_rank, sa.BigInteger)


def new_uuid() -> str:
    """A random UUID, cheaply."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def make_conf(url: str) -> cfg.ConfigOpts:
    """The configuration of a client of a store."""
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('connection', url, 'svirt_database')
    # The figures are what is to be read.
    conf.set_override('fill_marks', [], 'svirt')
    return conf


class BenchStore:
    """A store with the default level space.

    :param urls: how to reach it, by way of each of its nodes
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.confs = [make_conf(url) for url in urls]
        self.space = stores.sync(self.confs[0])
        self.order = random.sample(range(FIRST, FIRST + SIZE), SIZE)
        """All ranks; those that are filled come first."""
        self.filled = 0
        self._store = stores.Store(self.confs[0])
        self._store.write(_metadata.create_all)

    @property
    def free(self) -> Sequence[int]:
        """The ranks that are free."""
        return self.order[self.filled :]

    def allocator(self, node: int = 0) -> sql_allocator.SqlAllocator:
        """A client of the store, by way of one of its nodes."""
        return sql_allocator.SqlAllocator(self.confs[node])

    def fill(self, share: float) -> None:
        """Hold levels, each with a claim, until a share of all is taken."""
        wanted = int(SIZE * share)
        ranks = sorted(self.order[self.filled : wanted])
        for start in range(0, len(ranks), _BATCH):
            batch = ranks[start : start + _BATCH]
            self._store.write(lambda c, batch=batch: _hold(c, batch))
        self.filled = max(self.filled, wanted)
        self._store.write(self._settle)

    def _settle(self, connection: sa.Connection) -> None:
        bits = bytearray(SIZE // 8)
        for rank in self.order[: self.filled]:
            place = rank - FIRST
            bits[place >> 3] |= 1 << (place & 7)
        connection.execute(sa.delete(BITMAP))
        connection.execute(
            sa.insert(BITMAP).values(id=1, version=1, bits=bytes(bits))
        )

    def forget(self, instances: Sequence[str]) -> None:
        """Delete what was measured, so that the fill stays as it is."""

        def work(connection: sa.Connection) -> None:
            for table in (schema.allocation, BARE):
                for start in range(0, len(instances), 500):
                    chosen = instances[start : start + 500]
                    connection.execute(
                        sa.delete(table).where(
                            table.c.instance_uuid.in_(chosen)
                        )
                    )

        self._store.write(work)

    def held(self, number: int) -> list[str]:
        """Instances that hold a level, chosen by chance."""
        chosen = random.sample(
            self.order[: self.filled], min(number, self.filled)
        )

        def work(connection: sa.Connection) -> list[str]:
            found = connection.execute(
                sa.select(schema.allocation.c.instance_uuid).where(
                    _RAW_RANK.in_(chosen),
                    schema.allocation.c.retired_at.is_(None),
                )
            )
            return [*found.scalars()]

        return self._store.read(work)


def _hold(connection: sa.Connection, ranks: Sequence[int]) -> None:
    connection.execute(
        sa.insert(BARE),
        [{'level_rank': r, 'instance_uuid': new_uuid()} for r in ranks],
    )
    added = BARE.c.level_rank.between(ranks[0], ranks[-1])
    # Between them are ranks that were taken before.
    is_new = added & ~sa.exists(sa.literal(1)).where(
        schema.allocation.c.level_rank == BARE.c.level_rank
    ).correlate(BARE)
    connection.execute(
        sa.insert(schema.allocation).from_select(
            [
                'level_rank',
                'instance_uuid',
                'project_id',
                'host',
                'is_outside',
                'created_at',
                'note',
            ],
            sa.select(
                BARE.c.level_rank,
                BARE.c.instance_uuid,
                sa.literal(PROJECT),
                sa.literal(HOST),
                sa.false(),
                schema.utcnow(),
                sa.literal(''),
            ).where(is_new),
        )
    )


@contextlib.contextmanager
def opened(kind: str, directory: str) -> Iterator[BenchStore]:
    """An empty store of a kind, for as long as it is measured.

    :param kind: one of :data:`KINDS`, or ``galera``
    :param directory: where an SQLite file is kept
    """
    with contextlib.ExitStack() as stack:
        if kind == 'sqlite':
            made = tempfile.TemporaryDirectory(dir=directory)
            path = pathlib.Path(stack.enter_context(made), 'store.sqlite')
            urls = [f'sqlite:///{path}']
        elif kind == 'galera':
            # Its module needs a library that other stores do not.
            from tests.functional.allocator import galera

            cluster = galera.Galera()
            stack.callback(cluster.remove)
            urls = cluster.create_database()
        else:
            server = servers.KINDS[kind]()
            stack.callback(server.remove)
            urls = [server.create_database()]
        yield BenchStore(urls)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what all benchmarks of stores are asked."""
    parser.add_argument('--json', metavar='FILE', help='keep the figures')
    parser.add_argument(
        '--dir',
        default='/var/tmp',
        help='where to make an SQLite store; not in memory: a commit must '
        'wait for a disk (default: %(default)s)',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='exit 1 when a figure is beyond its limit',
    )


def finish(
    options: argparse.Namespace, report: object, failures: Sequence[str]
) -> int:
    """Keep the figures and name what is beyond its limit.

    :param options: what :func:`add_options` has added
    :returns: the exit status
    """
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps(report, indent=2) + '\n', encoding='utf-8'
        )
    for failure in failures:
        print(failure)
    return 1 if failures and options.check else 0


def transact(
    allocator: sql_allocator.SqlAllocator, work: Callable[[sa.Connection], Any]
) -> Any:
    """Run something once through an allocator's engine, and commit it."""
    with (
        allocator._store._connect(writes=True) as connection,
        connection.begin(),
    ):
        return work(connection)
