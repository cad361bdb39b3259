# SPDX-License-Identifier: Apache-2.0
"""Brings a store to this release's schema, and its level space with it."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.allocator.sql.tables import trust_rows
from svirt_nova.mcs import spaces

if typing.TYPE_CHECKING:
    from alembic import config

DEFAULT_SPACE = spaces.LevelSpace.parse('c0.c1023')
"""The space of a new store: two of all categories, 523,776 levels."""

_LOCK_TIMEOUT = 5
"""Seconds that MariaDB waits for another process that upgrades the schema."""

_LOCK_NAME_LENGTH = 64
"""Characters of the name of a lock of MariaDB."""

_SCRIPTS = 'svirt_nova.allocator.sql:migrations'


def is_current(connection: sa.Connection, store: str) -> bool:
    """Whether this release can use a store; False when older or new.

    :param store: the store's name for people
    :raises StoreTooNew: its schema is of a later release that excludes
        this one
    :raises StoreUnusable: its tables are not ours
    """
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return False
    if schema.VERSION_TABLE not in tables:
        raise exception.StoreUnusable(
            f'the database {store} holds tables of something else; set '
            f'[svirt_database] connection to a database of its own'
        )
    found = revision(connection)
    if found == schema.REVISION:
        # These rows are made last: without them, an upgrade was broken off.
        return space_rows.exists(connection) and trust_rows.exists(connection)
    if found is not None and found not in _known_revisions():
        if space_rows.oldest_release(connection) <= schema.REVISION:
            return True
        raise exception.StoreTooNew(
            f'the store {store} has schema {found!r}, which this release '
            f'does not know (its own is {schema.REVISION!r}): upgrade '
            f'svirt-nova on this host'
        )
    return False


def revision(connection: sa.Connection) -> str | None:
    """The revision of a store's schema; None when it has none yet."""
    if not sa.inspect(connection).has_table(schema.VERSION_TABLE):
        return None
    version = sa.table(schema.VERSION_TABLE, sa.column('version_num'))
    return connection.execute(sa.select(version)).scalar()


def upgrade(
    connection: sa.Connection, store: str, space: spaces.LevelSpace | None
) -> spaces.LevelSpace:
    """Bring a store up to date, in the caller's transaction.

    :param store: the store's name for people
    :param space: the level space it must have; None for the one it has
        or, in a new store, for :data:`DEFAULT_SPACE`
    :returns: the store's level space
    :raises InvalidSpace: the store has another level space
    :raises errors.Conflict: another process upgrades it at the same time
    """
    # This is slow to import, and seldom needed.
    from alembic import command

    if not is_current(connection, store):
        with _alone(connection):
            # It may have been upgraded by now.
            if not is_current(connection, store):
                alembic = _alembic_config()
                alembic.attributes['connection'] = connection
                command.upgrade(alembic, 'head')
        space_rows.raise_oldest_release(connection)
    if not trust_rows.exists(connection):
        trust_rows.create(connection)
    if not space_rows.exists(connection):
        space_rows.create(connection, space or DEFAULT_SPACE)
    stored = space_rows.read(connection, store).space
    if space is not None and space != stored:
        raise exception.InvalidSpace(
            f'the store {store} has the level space "{stored}", not '
            f'"{space}"; nothing was changed'
        )
    return stored


@contextlib.contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """Keep others from upgrading the same store at the same time.

    MariaDB commits with each table that is made. Another process would see
    a part of the steps, and make the store of two revisions. The other
    databases undo, or keep to themselves, what has not been committed. On
    Galera the lock is one of the node.

    :raises errors.Conflict: another process upgrades it for too long
    """
    if connection.dialect.name not in ('mysql', 'mariadb'):
        yield
        return
    name = f'{schema.VERSION_TABLE} {connection.engine.url.database}'
    name = name[:_LOCK_NAME_LENGTH]
    # The other process could not change a table that was read meanwhile.
    connection.exec_driver_sql('COMMIT')
    got = connection.execute(
        sa.select(sa.func.get_lock(name, _LOCK_TIMEOUT))
    ).scalar()
    if not got:
        raise errors.Conflict('another process upgrades the schema')
    try:
        yield
        # As with each table, but also what the last step has noted.
        connection.exec_driver_sql('COMMIT')
    finally:
        connection.execute(sa.select(sa.func.release_lock(name)))


def _alembic_config() -> config.Config:
    from alembic import config as alembic_config

    made = alembic_config.Config()
    made.set_main_option('script_location', _SCRIPTS)
    return made


def _known_revisions() -> set[str]:
    from alembic import script

    scripts = script.ScriptDirectory.from_config(_alembic_config())
    return {found.revision for found in scripts.walk_revisions()}
