# SPDX-License-Identifier: Apache-2.0
"""A store in an SQLite file: making, opening and sharing the file."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import pathlib
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from svirt_nova import exception

DEFAULT_TIMEOUT = 30.0
"""Seconds to wait for other writers; ``?timeout=`` in the URL changes it."""

_MODE = 0o640
# Seconds between two tries to get the lock. Short pauses of many waiting
# processes would take the processor from those that work.
_LOCK_PAUSE = (0.004, 0.016)


class File:
    """The file of a store, and the lock that its writers queue at.

    SQLite alone would be right too, but lets waiting writers sleep ever
    longer and starve: the lock, in ``<file>.lock``, is for fairness.

    :param url: an SQLite URL
    :raises InvalidOption: the URL names no plain file
    """

    def __init__(self, url: sa.URL) -> None:
        name = url.database or ''
        if name in ('', ':memory:') or name.startswith('file:'):
            raise exception.InvalidOption(
                f'[svirt_database] connection = {url}: an SQLite store '
                f'must be a file, as in sqlite:////var/lib/nova/'
                f'svirt-nova.sqlite'
            )
        self.path = pathlib.Path(name).absolute()
        self.timeout = _timeout(url)
        self._lock_path = self.path.with_name(f'{self.path.name}.lock')
        self._threads = threading.Lock()
        self._identity: tuple[int, int] | None = None

    def make(self) -> None:
        """Make an empty file, unless there is a file already.

        When root makes it, it gets its directory's owner: otherwise the
        operator's first command would lock nova-compute out.

        :raises StoreUnreachable: it cannot be made
        """
        if not self.path.parent.is_dir():
            raise exception.StoreUnreachable(
                f'cannot make the store {self.path}: there is no directory '
                f'{self.path.parent}; make it, owned by the user nova'
            )
        with self._as_store_errors('make'):
            _make_owned(self.path, _write_ahead)

    def remember(self) -> None:
        """Remember which file is at the path.

        Never by opening it: closing any descriptor of a file drops the
        locks that its process has on it (fcntl(2)). Another process would
        take the write-ahead log for unused and remove it, with what this
        one commits there.

        :raises StoreUnreachable: it cannot be found
        """
        with self._as_store_errors('find'):
            status = os.stat(self.path)
        self._identity = (status.st_dev, status.st_ino)

    def check_same(self) -> None:
        """Check that the file at the path is still the one first opened.

        SQLite goes on writing into a file that was removed or replaced:
        levels given out there would be given out a second time.

        :raises StoreUnusable: it is not
        """
        try:
            status = os.stat(self.path)
        except OSError:
            identity = None
        else:
            identity = (status.st_dev, status.st_ino)
        if identity != self._identity:
            raise exception.StoreUnusable(
                f'the store {self.path} was removed or replaced while in '
                f'use; put the right file back and restart the service'
            )

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this writer's turn.

        The threads, or green threads, of a process queue before the
        process does, so that none waits for another inside a system call.

        :raises StoreUnreachable: the turn did not come in time
        """
        deadline = time.monotonic() + self.timeout
        if not self._threads.acquire(timeout=self.timeout):
            raise self._busy()
        try:
            descriptor = self._lock(deadline)
            try:
                yield
            finally:
                os.close(descriptor)
        finally:
            self._threads.release()

    def _lock(self, deadline: float) -> int:
        """Lock the lock's file, until its descriptor is closed.

        By flock(2): fcntl's locks, which fasteners and oslo.concurrency
        take, are lost as soon as the process closes the file anywhere.
        """
        with self._as_store_errors('lock'):
            _make_owned(self._lock_path, lambda _name: None)
            descriptor = os.open(
                self._lock_path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise self._busy() from None
                    # A blocking call has no timeout, and would stop the
                    # other green threads of eventlet.
                    time.sleep(random.uniform(*_LOCK_PAUSE))
                else:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise

    def _busy(self) -> exception.StoreUnreachable:
        return exception.StoreUnreachable(
            f'the store {self.path} was in use by others for '
            f'{self.timeout:g} s; try again, and look for a process that '
            f'holds {self._lock_path}'
        )

    @contextlib.contextmanager
    def _as_store_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, 'strerror', None) or error
            raise exception.StoreUnreachable(
                f'cannot {what} the store {self.path}: {reason}; check its '
                f'directory, or run this as the user nova or as root'
            ) from error


def _timeout(url: sa.URL) -> float:
    text = url.query.get('timeout', DEFAULT_TIMEOUT)
    try:
        timeout = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        timeout = -1.0
    if not 0 <= timeout < float('inf'):
        raise exception.InvalidOption(
            f'[svirt_database] connection = {url}: timeout={text} is not a '
            f'number of seconds'
        )
    return timeout


def _make_owned(path: pathlib.Path, fill: Callable[[str], None]) -> None:
    if os.path.exists(os.fspath(path)):
        return
    # The file gets its name when it is complete and has its mode.
    # Linking fails if another process was faster. No descriptor of the file
    # may be open by then: see File.remember.
    with (
        _as_owner_of(path.parent),
        tempfile.TemporaryDirectory(
            prefix=f'.{path.name}.', dir=path.parent
        ) as directory,
    ):
        new = os.path.join(directory, path.name)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, _MODE))
        fill(new)
        os.chmod(new, _MODE)
        with contextlib.suppress(FileExistsError):
            os.link(new, path)


@contextlib.contextmanager
def _as_owner_of(directory: pathlib.Path) -> Iterator[None]:
    """Let root have only the rights of a directory's owner, for a while.

    The owner may exchange whatever is made in the directory, at any moment
    and for a link to any file. What root then did by path, it would do to
    that file. The rights are those of this thread alone (setfsuid(2)); the
    capabilities that override permissions of files go and come with them.
    """
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    libc = ctypes.CDLL(None)
    group = os.getegid()
    # The group first, and last: it takes root to change it.
    libc.setfsgid(owner.st_gid)
    libc.setfsuid(owner.st_uid)
    try:
        # Both return the previous value and never an error.
        if libc.setfsuid(-1) != owner.st_uid:
            raise PermissionError(
                errno.EPERM, 'the rights of its owner cannot be taken'
            )
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(group)


def _write_ahead(name: str) -> None:
    """Turn an empty file into an empty database with a write-ahead log.

    The file keeps that mode: readers and a writer do not wait for each
    other, and a commit waits for the disk once.
    """
    with contextlib.closing(sqlite3.connect(name)) as connection:
        (mode,) = connection.execute('PRAGMA journal_mode = WAL').fetchone()
    if mode != 'wal':
        raise OSError('its file system cannot share a write-ahead log')


def create_engine(
    url: sa.URL, file: File, *, synchronous: bool, **pool: Any
) -> sa.Engine:
    """An engine for an SQLite store.

    Not oslo.db's: that closes the file after each transaction, and the
    last close of a write-ahead log copies it back, with two more waits
    for the disk. It also begins transactions only when they first read,
    so that two which read before they write fail each other.

    :param synchronous: wait for the disk at each commit
    :param pool: sizes and times of the connection pool
    """
    engine = sa.create_engine(
        url.difference_update_query(['timeout']),
        connect_args={'timeout': file.timeout},
        poolclass=sa.QueuePool,
        **pool,
    )

    @sa.event.listens_for(engine, 'connect')
    def set_up(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself.
        connection.isolation_level = None
        connection.execute('PRAGMA foreign_keys = ON')
        level = 'FULL' if synchronous else 'OFF'
        connection.execute(f'PRAGMA synchronous = {level}')

    @sa.event.listens_for(engine, 'begin')
    def begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        kind = 'IMMEDIATE' if options.get('writes') else 'DEFERRED'
        connection.exec_driver_sql(f'BEGIN {kind}')

    return engine
