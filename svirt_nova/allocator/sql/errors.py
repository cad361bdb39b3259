# SPDX-License-Identifier: Apache-2.0
"""What a database's error means to us."""

from __future__ import annotations

from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from svirt_nova import exception


class Conflict(Exception):
    """A unique or a foreign key refused the change: look again."""


class SpaceChanged(Exception):
    """The level space is not the one that the caller knows."""


class Busy(Exception):
    """A lock or a deadlock undid the transaction: the same again works."""


DATABASE_ERRORS = (sa_exc.SQLAlchemyError, db_exception.DBError)
"""What SQLAlchemy and oslo.db raise."""

_SQLITE_CONFLICTS = frozenset(
    f'SQLITE_CONSTRAINT_{kind}'
    for kind in ('PRIMARYKEY', 'UNIQUE', 'ROWID', 'FOREIGNKEY')
)
_SQLITE_BUSY = ('SQLITE_BUSY', 'SQLITE_LOCKED', 'SQLITE_PROTOCOL')
_SQLITE_DAMAGED = ('SQLITE_CORRUPT', 'SQLITE_FORMAT')
_SQLITE_ADVICE = {
    'SQLITE_READONLY': 'run this as the user nova or as root',
    'SQLITE_CANTOPEN': 'check that the file exists and that its directory '
    'may be written, or run this as the user nova or as root',
    'SQLITE_PERM': 'run this as the user nova or as root',
    'SQLITE_FULL': 'make room on its file system',
    'SQLITE_IOERR': 'check its file system and its disk',
}


def understand(error: Exception, store: str) -> Exception:
    """The error to raise in place of one of the database's.

    SQLite is judged by its result codes, other databases by oslo.db.

    :param error: one of :data:`DATABASE_ERRORS`
    :param store: the store's name for people
    :returns: Conflict, Busy, StoreUnreachable or StoreUnusable
    """
    text = _one_line(error)
    name = getattr(getattr(error, 'orig', None), 'sqlite_errorname', None)
    if name is not None:
        return _understand_sqlite(name, text, store)
    match error:
        case db_exception.DBDuplicateEntry() | db_exception.DBReferenceError():
            return Conflict(text)
        case db_exception.DBDeadlock() | db_exception.DBConsistencyError():
            return Busy(text)
        case db_exception.DBConnectionError() | sa_exc.TimeoutError():
            return exception.StoreUnreachable(
                f'cannot reach the store {store}: {text}; check that the '
                f'database runs and [svirt_database] connection'
            )
        case sa_exc.OperationalError():
            return exception.StoreUnreachable(
                f'cannot use the store {store}: {text}'
            )
        case db_exception.DBNonExistentTable():
            return exception.StoreUnusable(
                f'the store {store} lacks a table: {text}; run '
                f'"svirt-nova db sync"'
            )
    return exception.StoreUnusable(f'the store {store} fails: {text}')


def _understand_sqlite(name: str, text: str, store: str) -> Exception:
    if name in _SQLITE_CONFLICTS:
        return Conflict(text)
    if name.startswith(_SQLITE_BUSY):
        return Busy(text)
    if name == 'SQLITE_NOTADB':
        return exception.StoreUnusable(
            f'{store} is not an SQLite database; move it away or set '
            f'[svirt_database] connection to another file'
        )
    if name.startswith(_SQLITE_DAMAGED):
        return exception.StoreUnusable(
            f'the store {store} is damaged: {text}; stop nova-compute and '
            f'restore the file from a backup'
        )
    for prefix, advice in _SQLITE_ADVICE.items():
        if name.startswith(prefix):
            return exception.StoreUnreachable(
                f'cannot use the store {store}: {text}; {advice}'
            )
    return exception.StoreUnusable(f'the store {store} fails: {text} ({name})')


def _one_line(error: Exception) -> str:
    # SQLAlchemy's own text carries the statement and a link to its manual.
    cause = getattr(error, 'orig', None) or error
    return ' '.join(str(cause).split())
