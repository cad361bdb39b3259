# SPDX-License-Identifier: Apache-2.0
"""Who had the levels that have come free, in the store's rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_allocation = schema.allocation
_history = schema.history

KEPT = (
    _allocation.c.level_rank,
    _allocation.c.instance_uuid,
    _allocation.c.project_id,
    _allocation.c.created_at,
    _allocation.c.retired_at,
)
"""What is kept of an allocation."""


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """What of the history is asked for; see :meth:`base.Allocator.history`.

    :param cooling: how long a level cools before it is free again
    """

    level: levels.Level | None = None
    instance_uuid: str | None = None
    project_id: str | None = None
    begun_after: datetime.datetime | None = None
    at: datetime.datetime | None = None
    cooling: datetime.timedelta = datetime.timedelta(0)

    def of_past(self) -> list[sa.ColumnElement[bool]]:
        """The rows of the history."""
        found = self._conditions(_history)
        if self.at is not None:
            end = _naive(self.at - self.cooling)
            found.append(_history.c.retired_at > end)
        return found

    def of_present(self) -> list[sa.ColumnElement[bool]]:
        """The rows of allocations."""
        found = self._conditions(_allocation)
        if self.at is not None:
            found.append(schema.is_used(_naive(self.at - self.cooling)))
        return [*found, _allocation.c.instance_uuid.is_not(None)]

    def _conditions(self, table: sa.Table) -> list[sa.ColumnElement[bool]]:
        columns = table.c
        found = [
            column == value
            for column, value in (
                (columns.level_rank, self.level),
                (columns.instance_uuid, self.instance_uuid),
                (columns.project_id, self.project_id),
            )
            if value is not None
        ]
        if self.begun_after is not None:
            found.append(columns.created_at > _naive(self.begun_after))
        if self.at is not None:
            found.append(columns.created_at <= _naive(self.at))
        return found


def _naive(moment: datetime.datetime) -> datetime.datetime:
    """A time as the database has it."""
    return moment.astimezone(datetime.UTC).replace(tzinfo=None)


def keep(connection: sa.Connection, gone: Sequence[sa.Row[Any]]) -> None:
    """Keep what allocations were.

    :param gone: :data:`KEPT` of each
    """
    if gone:
        connection.execute(
            sa.insert(_history), [dict(row._mapping) for row in gone]
        )


def past(
    connection: sa.Connection, wanted: Search, limit: int | None = None
) -> list[types.Holding]:
    """What instances had before it came free, oldest first.

    :param limit: see :meth:`base.Allocator.history`
    """
    conditions = wanted.of_past()
    rows = connection.execute(
        sa.select(_history)
        .where(*conditions, *_first(connection, _history, conditions, limit))
        .order_by(_history.c.created_at)
    )
    return [
        types.Holding(
            instance_uuid=row.instance_uuid,
            project_id=row.project_id,
            since=schema.utc(row.created_at),
            until=schema.utc(row.retired_at),
            level=row.level_rank,
        )
        for row in rows
    ]


def present(
    connection: sa.Connection, wanted: Search, limit: int | None = None
) -> list[types.Holding]:
    """What instances have, or what of theirs cools.

    :param limit: see :meth:`base.Allocator.history`
    """
    conditions = wanted.of_present()
    found = allocation_queries.select(
        connection,
        *conditions,
        *_first(connection, _allocation, conditions, limit),
    )
    return [each.holding for each in found if each.holding is not None]


def _first(
    connection: sa.Connection,
    table: sa.Table,
    conditions: Sequence[sa.ColumnElement[bool]],
    limit: int | None,
) -> Sequence[sa.ColumnElement[bool]]:
    """The condition of rows that came first, or with the last of those."""
    if limit is None:
        return ()
    made = table.c.created_at
    last = connection.execute(
        sa.select(made)
        .where(*conditions)
        .order_by(made)
        .offset(limit - 1)
        .limit(1)
    ).scalar_one_or_none()
    return () if last is None else (made <= last,)


def forget(
    connection: sa.Connection, moment: datetime.datetime, limit: int
) -> int:
    """Delete what ended before a moment: holdings, and claims.

    :param moment: by the database's clock
    :param limit: no more rows than these of each
    :returns: how many went
    """
    gone = 0
    for table, ended in (
        (_history, _history.c.retired_at),
        (schema.past_claim, schema.past_claim.c.dropped_at),
    ):
        chosen = (
            connection.execute(
                sa.select(table.c.id).where(ended < moment).limit(limit)
            )
            .scalars()
            .all()
        )
        gone += connection.execute(
            sa.delete(table).where(table.c.id.in_(chosen))
        ).rowcount
    return gone


def count_used(
    connection: sa.Connection,
    moment: datetime.datetime,
    cooling: datetime.timedelta,
) -> int:
    """How many levels instances had at a moment, cooling ones included.

    :param moment: by the database's clock
    :param cooling: how long a level cools before it is free again
    """
    cutoff = moment - cooling
    now = connection.execute(
        sa.select(sa.func.count()).where(
            _allocation.c.instance_uuid.is_not(None),
            _allocation.c.created_at <= moment,
            schema.is_used(cutoff),
        )
    ).scalar_one()
    then = connection.execute(
        sa.select(sa.func.count()).where(
            _history.c.created_at <= moment, _history.c.retired_at > cutoff
        )
    ).scalar_one()
    return now + then
