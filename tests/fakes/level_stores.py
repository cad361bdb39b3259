# SPDX-License-Identifier: Apache-2.0
"""The stores that the allocator of a fake cloud works on."""

from __future__ import annotations

import contextlib
import copy
import datetime
import functools
import os
import pathlib
import random
import sqlite3
import tempfile
from typing import Any
from typing import Protocol

from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces

SPACE = spaces.LevelSpace.parse('c0.c7')
"""28 levels: few enough to run out of, and to be given out again."""

COOLING = 3600
"""For how many seconds levels cool."""

MEMORY = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
"""Where files are that need not outlive a power cut."""


class LevelStore(Protocol):
    """A store, and an allocator on it."""

    allocator: base.Allocator

    def pass_time(self, seconds: int) -> None:
        """Let time pass for what cools."""

    def close(self) -> None: ...


def _conf(**options: Any) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override('cooling_time', COOLING, 'svirt')
    for name, value in options.items():
        conf.set_override(name, value, 'svirt_database')
    return conf


@functools.cache
def _memory_conf() -> cfg.ConfigOpts:
    return _conf()


_KEPT = ('allocations', 'past', 'claimed_at', 'past_claims')
"""What a store of dictionaries has of instances."""


class MemoryLevels:
    """Levels in dictionaries, which are chosen alike every time."""

    def __init__(self) -> None:
        self._now = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
        self._store = memory_store.MemoryStore(
            SPACE, lambda: self._now, random.Random(0)
        )
        self.allocator: base.Allocator = memory.MemoryAllocator(
            _memory_conf(), self._store
        )

    def pass_time(self, seconds: int) -> None:
        self._now += datetime.timedelta(seconds=seconds)

    def close(self) -> None:
        pass

    def save(self) -> Any:
        """All that there is, for :meth:`load`."""
        return [copy.copy(getattr(self._store, name)) for name in _KEPT]

    def load(self, saved: Any) -> None:
        for name, value in zip(_KEPT, saved, strict=True):
            setattr(self._store, name, copy.copy(value))


@functools.cache
def _new_store() -> bytes:
    """The content of a store, made once: that takes long."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        path = pathlib.Path(directory, 'levels.sqlite')
        stores.sync(_conf(connection=f'sqlite:///{path}'), SPACE)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        return path.read_bytes()


class SqlLevels:
    """Levels in an SQLite file, whose commits wait for no disk.

    :param path: the file, which is made unless it is there
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        if not path.exists():
            path.write_bytes(_new_store())
        self._allocator = sql_allocator.SqlAllocator(
            _conf(connection=f'sqlite:///{path}', sqlite_synchronous=False)
        )
        self.allocator: base.Allocator = self._allocator

    def pass_time(self, seconds: int) -> None:
        """Set back the times in the store, whose clock is the real one."""
        with (
            contextlib.closing(sqlite3.connect(self._path)) as connection,
            connection,
        ):
            connection.execute(
                'UPDATE allocation SET retired_at = strftime('
                "'%Y-%m-%d %H:%M:%f000', retired_at, ?) "
                'WHERE retired_at IS NOT NULL',
                (f'-{seconds} seconds',),
            )

    def close(self) -> None:
        engine = self._allocator._store._engine
        if engine is not None:
            engine.dispose()
