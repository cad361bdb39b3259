# SPDX-License-Identifier: Apache-2.0
"""A store on a database server: MariaDB, also as Galera, or PostgreSQL.

No call waits for ever: connecting, each statement, each lock and each
transaction end after a time, on the side of the server too, so that a
process that was stopped in the middle of a transaction holds up nobody.
"""

from __future__ import annotations

import re
import selectors
import time
from typing import Any

import sqlalchemy as sa

from svirt_nova import exception

CONNECT_TIMEOUT = 5
"""Seconds to wait for a server's first answer."""


def create_engine(url: sa.URL, options: Any, timeout: float) -> sa.Engine:
    """The engine for a server.

    :param options: those of ``[svirt_database]``
    :param timeout: seconds that a transaction may take
    :raises InvalidOption: there is no such kind of store
    """
    # This is slow to import, and SQLite stores do not need it.
    from oslo_db.sqlalchemy import engines

    kind = url.get_backend_name()
    # What the operator wrote into the URL overrides our settings.
    url = url.update_query_dict({**_settings(kind, timeout), **url.query})
    if kind == 'postgresql' and url.get_driver_name() == 'psycopg2':
        _bound_waits()
    engine = engines.create_engine(
        url,
        mysql_sql_mode=options.mysql_sql_mode,
        mysql_wsrep_sync_wait=_sync_wait(options),
        connection_recycle_time=options.connection_recycle_time,
        connection_debug=options.connection_debug,
        max_pool_size=options.max_pool_size,
        max_overflow=options.max_overflow,
        pool_timeout=options.pool_timeout or timeout,
        connection_trace=options.connection_trace,
        connection_parameters=options.connection_parameters,
        # The store itself tries again, for as long as a call may take.
        max_retries=0,
    )
    assert isinstance(engine, sa.Engine)
    return engine


def _settings(kind: str, timeout: float) -> dict[str, str]:
    """What a URL asks of its driver and server.

    Transactions read committed rows: each looks first, and then makes the
    changes that the keys allow. A snapshot would only show it rows that may
    have been changed since.
    """
    seconds = str(max(1, round(timeout)))
    milliseconds = str(round(timeout * 1000))
    match kind:
        case 'mysql' | 'mariadb':
            return {
                'connect_timeout': str(CONNECT_TIMEOUT),
                'read_timeout': seconds,
                'write_timeout': seconds,
                'init_command': f'SET SESSION '
                f'innodb_lock_wait_timeout = {seconds}, '
                f'max_statement_time = {seconds}, '
                f'idle_transaction_timeout = {seconds}, '
                f"tx_isolation = 'READ-COMMITTED'",
            }
        case 'postgresql':
            return {
                'connect_timeout': str(CONNECT_TIMEOUT),
                'tcp_user_timeout': milliseconds,
                'options': f'-c statement_timeout={milliseconds} '
                f'-c lock_timeout={milliseconds} '
                f'-c idle_in_transaction_session_timeout={milliseconds} '
                '-c default_transaction_isolation=read\\ committed',
            }
    raise exception.InvalidOption(
        f'[svirt_database] connection: a store cannot be kept in {kind}; '
        f'use MariaDB, PostgreSQL or an SQLite file'
    )


_LIMIT = re.compile(r'\btcp_user_timeout=\'?(\d+)')
# Seconds by which the wait is longer than the server's own limits, so that
# these end a statement first.
_GRACE = 1.0


def _bound_waits() -> None:
    """Bound the time for which psycopg2 waits for a silent server.

    By itself, psycopg2 waits until the connection ends; the kernel of a host
    whose server is frozen keeps the connection up.
    """
    from psycopg2 import extensions  # type: ignore[import-untyped]

    # A callback that somebody else has set, such as one for green threads,
    # stays.
    if extensions.get_wait_callback() is None:
        extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    """Wait for a server's answer, on any connection of psycopg2.

    :raises OperationalError: there was none in time
    """
    import psycopg2
    from psycopg2 import extensions

    found = _LIMIT.search(connection.dsn)
    # Connections that are not ours have no limit.
    limit = int(found[1]) / 1000 + _GRACE if found else None
    if limit is not None and connection.status == extensions.STATUS_SETUP:
        limit = min(limit, CONNECT_TIMEOUT)
    deadline = None if limit is None else time.monotonic() + limit
    events = {
        extensions.POLL_READ: selectors.EVENT_READ,
        extensions.POLL_WRITE: selectors.EVENT_WRITE,
    }
    while (state := connection.poll()) != extensions.POLL_OK:
        left = None if deadline is None else deadline - time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), events[state])
            if (left is not None and left <= 0) or not selector.select(left):
                raise psycopg2.OperationalError(
                    f'the server did not answer in {limit:g} s'
                )


def _sync_wait(options: Any) -> int:
    """What a node of Galera waits for before it answers.

    A claim that was made by way of one node is looked for, or dropped, by
    way of another one a moment later. So reads (1), updates and deletes (2)
    wait until the node has everything that was committed before. Inserts do
    not wait: the keys judge them on all nodes.
    """
    if options.mysql_wsrep_sync_wait is None:
        return 1 | 2
    return int(options.mysql_wsrep_sync_wait)


def transaction_number(connection: sa.Connection) -> int:
    """PostgreSQL's number of the present transaction."""
    text = connection.exec_driver_sql('SELECT pg_current_xact_id()::text')
    return int(text.scalar_one())


def oldest_transaction(connection: sa.Connection) -> int:
    """The lowest number of PostgreSQL's transactions that go on."""
    text = connection.exec_driver_sql(
        'SELECT pg_snapshot_xmin(pg_current_snapshot())::text'
    )
    return int(text.scalar_one())
