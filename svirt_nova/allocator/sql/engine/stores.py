# SPDX-License-Identifier: Apache-2.0
"""Transactions on the store: opened once, retried, and bounded in time."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import TypeVar

import sqlalchemy as sa
from oslo_config import cfg
from sqlalchemy import exc as sa_exc

from svirt_nova import exception
from svirt_nova.allocator.sql.engine import database_server
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import sqlite
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.mcs import spaces

Result = TypeVar('Result')

_LONGEST_TRANSACTIONS = 10
_OUTLAST_PAUSE = 0.1
_SYNC_TRIES = 5

_Work = Callable[[sa.Connection], None]


class Store:
    """The database that ``[svirt_database]`` names, opened when first used.

    Every call raises StoreUnreachable or StoreUnusable where it cannot do
    its work, and :class:`errors.Conflict` where a key refused a change.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._url = _parse(conf.svirt_database.connection)
        self._file: sqlite.File | None = None
        if self._url.get_backend_name() == 'sqlite':
            self._file = sqlite.File(self._url)
        self._opening = threading.Lock()
        self._engine: sa.Engine | None = None
        self._is_ready = False
        self._pid = os.getpid()
        # What the next transaction of a thread begins with.
        self._next = threading.local()

    def __str__(self) -> str:
        if self._file is not None:
            return str(self._file.path)
        return self._url.render_as_string(hide_password=True)

    @property
    def timeout(self) -> float:
        """Seconds after which a call gives up."""
        if self._file is not None:
            return self._file.timeout
        return float(self._conf.svirt_database.call_timeout)

    def read(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run something that only reads, on one snapshot."""
        self._make_ready()
        return self._run(work, writes=False)

    def write(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run something in a transaction of its own, and commit it.

        It is run again after a deadlock or a lost connection, also when
        the commit itself was lost and may have succeeded: it must do
        nothing else, and may be done twice.
        """
        self._make_ready()
        first: _Work | None = getattr(self._next, 'work', None)
        if first is None:
            return self._run(work, writes=True)

        def both(connection: sa.Connection) -> Result:
            self._begin_with(first, connection)
            return work(connection)

        found = self._run(both, writes=True)
        self._next.work = None
        return found

    @contextlib.contextmanager
    def beginning_with(self, first: _Work) -> Iterator[None]:
        """Begin the first transaction that this thread writes with a work.

        If none is written inside of this context, the work has one of its
        own at the end, also after an error other than of the store. The work
        must do nothing else, and may be done twice, as one of :meth:`write`.
        If it raises an error, nothing is written.
        """
        self._next.work = first
        try:
            try:
                yield
            except exception.StoreUnreachable:
                raise
            except (exception.SvirtError, ValueError):
                self._write_first()
                raise
            self._write_first()
        finally:
            self._next.work = None

    def _write_first(self) -> None:
        if self._next.work is not None:
            self.write(lambda _: None)

    def _begin_with(self, first: _Work, connection: sa.Connection) -> None:
        """Do the work that comes first.

        :raises errors.Busy: another transaction has just done the same
        """
        try:
            first(connection)
        except errors.DATABASE_ERRORS as error:
            understood = errors.understand(error, str(self))
            if isinstance(understood, errors.Conflict):
                # The caller would take it for a conflict of its own.
                raise errors.Busy(str(understood)) from error
            raise

    def close(self) -> None:
        """End its connections; the next call makes new ones.

        A process that has used an SQLite store must do this before it
        forks: SQLite would believe in the child that it has the locks of
        the parent (https://www.sqlite.org/howtocorrupt.html).
        """
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def outlast_transactions(self) -> None:
        """Wait until every transaction that gives out levels is over.

        In an SQLite file there is only one at a time, and it has just
        committed. On MariaDB the caller's has waited for them already, but
        for those on other nodes of Galera, which are replicated in a moment
        or undone. On PostgreSQL a statement gets its transaction's number
        within :attr:`timeout`, or is ended.

        :raises StoreUnreachable: one of them goes on for too long
        """
        if self._file is not None:
            return
        self._outlast_statements()
        if self._url.get_backend_name() == 'postgresql':
            self._outlast_numbers()

    def _outlast_statements(self) -> None:
        time.sleep(self.timeout)

    def _outlast_numbers(self) -> None:
        deadline = time.monotonic() + _LONGEST_TRANSACTIONS * self.timeout
        last = self.write(database_server.transaction_number)
        while self.read(database_server.oldest_transaction) <= last:
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'a transaction on the server of the store {self} does '
                    f'not end, so that the level space cannot be changed: '
                    f'see pg_stat_activity, end it and try again'
                )
            time.sleep(_OUTLAST_PAUSE)

    def sync(self, space: spaces.LevelSpace | None) -> spaces.LevelSpace:
        """Make the schema or bring it up to date.

        :param space: see :func:`upgrade.upgrade`
        :raises InvalidSpace: the store has another level space
        """
        self._prepare_file()
        for tries in range(_SYNC_TRIES):
            try:
                stored = self._run(
                    lambda c: upgrade.upgrade(c, str(self), space),
                    writes=True,
                )
                break
            except errors.Conflict:
                # Another process makes the schema at the same time.
                if tries == _SYNC_TRIES - 1:
                    raise
                time.sleep(_OUTLAST_PAUSE)
        self._is_ready = True
        return stored

    def revision(self) -> str | None:
        """The revision of its schema; None when it has none yet."""
        if self._file is not None and not self._file.path.exists():
            return None
        self._prepare_file()
        return self._run(upgrade.revision, writes=False)

    def _make_ready(self) -> None:
        if self._is_ready:
            return
        with self._opening:
            if self._is_ready:
                return
            self._prepare_file()
            current = self._run(
                lambda connection: upgrade.is_current(connection, str(self)),
                writes=False,
            )
            if not current and self._file is None:
                raise exception.StoreUnusable(
                    f'the store {self} lacks the schema of this release; '
                    f'run "svirt-nova db sync"'
                )
            if not current:
                self.sync(None)
            self._is_ready = True

    def _prepare_file(self) -> None:
        if self._file is None:
            return
        self._file.make()
        self._file.remember()

    def _connect(self, *, writes: bool) -> sa.Connection:
        if self._engine is None:
            self._engine = self._create_engine()
        elif self._pid != os.getpid():
            # A connection must not be used by both processes of a fork.
            self._engine.dispose(close=False)
        self._pid = os.getpid()
        if self._file is not None:
            self._file.check_same()
        try:
            connection = self._engine.connect()
        except NotImplementedError as error:
            # SQLAlchemy raises this when its first connection is lost while
            # it asks which kind of server it has.
            raise errors.Lost(str(error.__cause__ or error)) from error
        return connection.execution_options(writes=writes)

    def _run(
        self, work: Callable[[sa.Connection], Result], *, writes: bool
    ) -> Result:
        deadline = time.monotonic() + self.timeout
        pause = 0.001
        turn: contextlib.AbstractContextManager[None]
        while True:
            turn = contextlib.nullcontext()
            if writes and self._file is not None:
                turn = self._file.turn()
            try:
                with (
                    turn,
                    self._connect(writes=writes) as connection,
                    connection.begin(),
                ):
                    return work(connection)
            except (*errors.DATABASE_ERRORS, *errors.OWN) as error:
                understood = errors.understand(error, str(self))
                if not isinstance(understood, (errors.Busy, errors.Lost)):
                    raise understood from error
                if time.monotonic() > deadline:
                    raise exception.StoreUnreachable(
                        self._gave_up(understood)
                    ) from error
            time.sleep(random.uniform(0, pause))
            pause = min(2 * pause, understood.longest_pause)

    def _gave_up(self, error: errors.Busy | errors.Lost) -> str:
        if isinstance(error, errors.Busy):
            return (
                f'the store {self} was locked by others for '
                f'{self.timeout:g} s: {error}; try again'
            )
        return (
            f'cannot reach the store {self} for {self.timeout:g} s: {error}; '
            f'check that the database runs and [svirt_database] connection'
        )

    def _create_engine(self) -> sa.Engine:
        options = self._conf.svirt_database
        if self._file is not None:
            pool = {
                'pool_size': options.max_pool_size,
                'max_overflow': options.max_overflow,
                'pool_timeout': options.pool_timeout,
                'pool_recycle': options.connection_recycle_time,
            }
            engine = sqlite.create_engine(
                self._url,
                self._file,
                synchronous=options.sqlite_synchronous,
                **{k: v for k, v in pool.items() if v is not None},
            )
            return engine
        return database_server.create_engine(self._url, options, self.timeout)


def sync(
    conf: cfg.ConfigOpts, space: spaces.LevelSpace | None = None
) -> spaces.LevelSpace:
    """Make the store's schema, or bring it up to this release's.

    :param space: the level space the store must have; None for the one
        that it has, or for the default in a new store
    :returns: the store's level space
    :raises InvalidSpace: the store has another one; nothing was changed
    :raises StoreTooNew: the store is of a later release
    :raises StoreUnusable: the store is damaged, or not one of ours
    :raises StoreUnreachable: it cannot be opened
    """
    with contextlib.closing(Store(conf)) as store:
        return store.sync(space)


def revision(conf: cfg.ConfigOpts) -> str | None:
    """The revision of a store's schema; None when it has none yet.

    :raises StoreUnreachable: it cannot be opened
    """
    with contextlib.closing(Store(conf)) as store:
        return store.revision()


def _parse(connection: str) -> sa.URL:
    try:
        url = sa.make_url(connection)
        url.get_dialect().import_dbapi()
    except sa_exc.ArgumentError as error:
        # The text may hold a password: not even a part of it is shown.
        raise exception.InvalidOption(
            '[svirt_database] connection is not an SQLAlchemy URL such as '
            'sqlite:////var/lib/nova/svirt-nova.sqlite'
        ) from error
    except ImportError as error:
        raise exception.InvalidOption(
            f'[svirt_database] connection = '
            f'{url.render_as_string(hide_password=True)}: its database '
            f'driver is not installed: {error}'
        ) from error
    return url
