# SPDX-License-Identifier: Apache-2.0
"""What a database's error means to us."""

from __future__ import annotations

from typing import Any

from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from svirt_nova import exception


class Conflict(Exception):
    """A unique or a foreign key refused the change: look again."""

    @property
    def is_of_level(self) -> bool:
        """Whether the key that refused the change is that of the level.

        Where the database does not name the key, this is False.
        """
        return any(name in str(self) for name in _LEVEL_KEYS)


class SpaceChanged(Exception):
    """The level space is not the one that the caller knows."""


class Busy(Exception):
    """A lock or a deadlock undid the transaction, which can be run again."""

    longest_pause = 0.05
    """Seconds to wait at most before the next try."""


class Lost(Exception):
    """The connection was lost, before or after the change was made."""

    longest_pause = 1.0


# How MariaDB, PostgreSQL and SQLite name the primary key of allocations
# in their errors.
_LEVEL_KEYS = ("'PRIMARY'", 'allocation_pkey', 'allocation.level_rank')

DATABASE_ERRORS = (sa_exc.SQLAlchemyError, db_exception.DBError)
"""What SQLAlchemy and oslo.db raise."""

OWN = (Busy, Lost)
"""What is raised as one of our own, and undoes a transaction as well."""

_KINDS: dict[int | str | None, type[Conflict | Busy | Lost]] = {
    # PostgreSQL: duplicate_column (two that make a schema),
    # serialization_failure, deadlock_detected, lock_not_available,
    # query_canceled (by statement_timeout).
    '42701': Conflict,
    '40001': Busy,
    '40P01': Busy,
    '55P03': Busy,
    '57014': Busy,
    # admin_shutdown, crash_shutdown, cannot_connect_now,
    # idle_in_transaction_session_timeout, read_only_sql_transaction (a
    # standby that is to take over).
    '57P01': Lost,
    '57P02': Lost,
    '57P03': Lost,
    '25P03': Lost,
    '25006': Lost,
    # MariaDB: ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK,
    # ER_STATEMENT_TIMEOUT, ER_CHECKREAD, ER_QUERY_INTERRUPTED.
    1205: Busy,
    1213: Busy,
    1317: Busy,
    1969: Busy,
    1020: Busy,
    # ER_ROW_IS_REFERENCED_2, ER_NO_REFERENCED_ROW_2, ER_DUP_ENTRY,
    # ER_TABLE_EXISTS_ERROR, ER_DUP_FIELDNAME (two that make a schema).
    1451: Conflict,
    1452: Conflict,
    1062: Conflict,
    1050: Conflict,
    1060: Conflict,
    # Galera's ER_UNKNOWN_COM_ERROR of a node that is not ready, and
    # ER_ERROR_DURING_COMMIT of one that has just been cut off;
    # ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED, ER_OPTION_PREVENTS_STATEMENT
    # (read only), ER_CON_COUNT_ERROR.
    1047: Lost,
    1180: Lost,
    1053: Lost,
    1927: Lost,
    1290: Lost,
    1040: Lost,
}
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

    :param error: one of :data:`DATABASE_ERRORS` or :data:`OWN`
    :param store: the store's name for people
    :returns: Conflict, Busy, Lost, StoreUnreachable or StoreUnusable
    """
    if isinstance(error, OWN):
        return error
    text = _one_line(error)
    name = getattr(getattr(error, 'orig', None), 'sqlite_errorname', None)
    if name is not None:
        return _understand_sqlite(name, text, store)
    kind = _KINDS.get(_code(error))
    if kind is not None:
        return kind(text)
    match error:
        case db_exception.DBDuplicateEntry() | db_exception.DBReferenceError():
            return Conflict(text)
        case db_exception.DBDeadlock() | db_exception.DBConsistencyError():
            return Busy(text)
        case db_exception.DBConnectionError():
            return Lost(text)
        case sa_exc.ResourceClosedError():
            # SQLAlchemy raises it when a lost connection is used further.
            return Lost(text)
        case sa_exc.TimeoutError():
            return Busy(text)
        case sa_exc.OperationalError() if _has_no_answer(error, text):
            return Lost(text)
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


def _code(error: Exception) -> int | str | None:
    """MariaDB's number or PostgreSQL's SQLSTATE of an error."""
    cause = getattr(error, 'inner_exception', None) or error
    origin: Any = getattr(cause, 'orig', None)
    if hasattr(origin, 'pgcode'):
        state: str | None = origin.pgcode
        return state
    number = origin.args[0] if origin is not None and origin.args else None
    return number if isinstance(number, int) else None


def _has_no_answer(error: sa_exc.OperationalError, text: str) -> bool:
    """Whether PostgreSQL's library reports that there is no server.

    It gives no code for what happens before a connection stands: only its
    text tells a server that refuses us from one that is not there.
    """
    is_from_library = type(error.orig).__module__.startswith('psycopg')
    refusals = ('authentication failed', 'pg_hba.conf', 'does not exist')
    return (
        is_from_library
        and _code(error) is None
        and not any(refusal in text for refusal in refusals)
    )


def _one_line(error: Exception) -> str:
    # The database's own error is told: SQLAlchemy's adds the statement, its
    # parameters and a link to its manual.
    cause = getattr(error, 'inner_exception', None) or error
    cause = getattr(cause, 'orig', None) or cause
    return ' '.join(str(cause).split())
