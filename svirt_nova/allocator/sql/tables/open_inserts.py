# SPDX-License-Identifier: Apache-2.0
"""Adds rows only while levels are given out."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.tables import schema

_is_present = schema.level_space.c.generation == sa.bindparam('generation')

is_open = sa.and_(
    _is_present,
    schema.level_space.c.closed_at.is_(None),
    sa.exists().where(
        schema.store_trust.c.store_generation >= sa.bindparam('seen')
    ),
)
"""That levels are given out of the space of the generation given, and that
the store is not older than what was seen of it."""

is_adopting = sa.and_(
    _is_present,
    sa.or_(
        schema.level_space.c.closed_at.is_(None),
        sa.exists().where(schema.store_trust.c.distrusted_at.is_not(None)),
    ),
)
"""That hosts may tell of levels of the space of the generation given."""


class InsertWhileOpen:
    """An INSERT that adds its row only while levels are given out.

    One that adopts adds it also while the store is not trusted.

    On MariaDB it locks the space for other readers as well until the
    transaction ends, so that who closes the space waits for it; a plain
    read there is of a snapshot, and the transaction could go on for long
    after the closing. Elsewhere such a lock would be written to the row
    (PostgreSQL) or is the file's (SQLite).

    :param table: where the row goes
    :param values: the row's columns
    """

    def __init__(
        self, table: sa.Table, **values: sa.ColumnElement[Any]
    ) -> None:
        names = [*values]
        # By whether it adopts, and by whether it locks.
        self._statements = {
            (condition is is_adopting, locks): sa.insert(table)
            .from_select(
                names, select.with_for_update(read=True) if locks else select
            )
            .execution_options(preserve_rowcount=True)
            for condition in (is_open, is_adopting)
            for select in (sa.select(*values.values()).where(condition),)
            for locks in (False, True)
        }

    def run(
        self,
        connection: sa.Connection,
        generation: int,
        seen: int | None,
        **values: Any,
    ) -> None:
        """Add a row.

        Without a RETURNING: reading what it returns would cost a third of
        the whole.

        :param generation: of the level space that the values are from
        :param seen: the generation that the store must have at least; None
            to adopt
        :param values: of the columns' parameters
        :raises errors.SpaceChanged: the store has another one, or is about
            to, or is older than what was seen
        """
        locks = connection.dialect.name in ('mysql', 'mariadb')
        parameters = {'generation': generation, **values}
        if seen is not None:
            parameters['seen'] = seen
        result = connection.execute(
            self._statements[seen is None, locks], parameters
        )
        if result.rowcount != 1:
            raise errors.SpaceChanged
