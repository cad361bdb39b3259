# SPDX-License-Identifier: Apache-2.0
"""Configurations for allocators, and SQLite stores that are quick."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import sqlite3
import tempfile
from typing import Any

import fixtures
import sqlalchemy as sa
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import spaces

MEMORY = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
"""Where files are kept that need not outlive a power cut."""

_TIMES = {
    table.name: [c.name for c in table.c if isinstance(c.type, sa.DateTime)]
    for table in (
        schema.allocation,
        schema.claim,
        schema.history,
        schema.past_claim,
        schema.project,
    )
}
"""The columns of times, by table."""


def make_conf(connection: str, **options: Any) -> cfg.ConfigOpts:
    """A configuration that no file of this machine has a part in.

    :param connection: the URL of the store
    :param options: of ``[svirt_database]``, and of ``[svirt]`` those that
        are not there
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    for name, value in {'connection': connection, **options}.items():
        is_of_database = name in conf.svirt_database
        group = 'svirt_database' if is_of_database else 'svirt'
        conf.set_override(name, value, group)
    return conf


@functools.cache
def _empty_store(space: spaces.LevelSpace) -> bytes:
    """The content of a new store, made once: that takes long."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = pathlib.Path(directory, 'levels.sqlite')
        stores.sync(make_conf(f'sqlite:///{path}'), space)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        return path.read_bytes()


class QuickStore(fixtures.Fixture):
    """A new store in memory, whose commits wait for no disk.

    :ivar path: its file
    :ivar url: its URL
    """

    def __init__(self, space: spaces.LevelSpace = contract.SPACE) -> None:
        self._space = space

    def _setUp(self) -> None:
        directory = self.useFixture(fixtures.TempDir(rootdir=MEMORY)).path
        self.path = pathlib.Path(directory, 'levels.sqlite')
        self.path.write_bytes(_empty_store(self._space))
        self.url = f'sqlite:///{self.path}'

    def conf(self, **options: Any) -> cfg.ConfigOpts:
        """A configuration with this store."""
        options.setdefault('sqlite_synchronous', False)
        return make_conf(self.url, **options)

    def make(
        self, cooling_time: int = 3600, **options: Any
    ) -> sql_allocator.SqlAllocator:
        """Make an allocator on the store, as another process would."""
        made = sql_allocator.SqlAllocator(
            self.conf(cooling_time=cooling_time, **options)
        )
        self.addCleanup(made._store.close)
        return made

    def pass_time(self, seconds: float) -> None:
        """Set back all times in the store, whose clock is the real one."""
        with (
            contextlib.closing(sqlite3.connect(self.path)) as connection,
            connection,
        ):
            for table, columns in _TIMES.items():
                earlier = ', '.join(
                    f"{column} = strftime('%Y-%m-%d %H:%M:%f000', {column}, "
                    f"'-{seconds} seconds')"
                    for column in columns
                )
                connection.execute(f'UPDATE {table} SET {earlier}')
