# SPDX-License-Identifier: Apache-2.0
"""Who had the levels that have come free, in the store's rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator import types
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


def keep(connection: sa.Connection, gone: Sequence[sa.Row[Any]]) -> None:
    """Keep what allocations were.

    :param gone: :data:`KEPT` of each
    """
    if gone:
        connection.execute(
            sa.insert(_history), [dict(row._mapping) for row in gone]
        )


def past(
    connection: sa.Connection,
    level: levels.Level,
    begun_after: datetime.datetime | None = None,
    limit: int | None = None,
) -> list[types.Holding]:
    """Who had a level before it came free, oldest first.

    :param begun_after: see :meth:`base.Allocator.history`, as ``limit``
    """
    conditions = [_history.c.level_rank == level]
    if begun_after is not None:
        moment = begun_after.astimezone(datetime.UTC).replace(tzinfo=None)
        conditions.append(_history.c.created_at > moment)
    if limit is not None:
        last = connection.execute(
            sa.select(_history.c.created_at)
            .where(*conditions)
            .order_by(_history.c.created_at)
            .offset(limit - 1)
            .limit(1)
        ).scalar_one_or_none()
        if last is not None:
            conditions.append(_history.c.created_at <= last)
    found = connection.execute(
        sa.select(_history).where(*conditions).order_by(_history.c.created_at)
    )
    return [
        types.Holding(
            instance_uuid=row.instance_uuid,
            project_id=row.project_id,
            since=schema.utc(row.created_at),
            until=schema.utc(row.retired_at),
        )
        for row in found
    ]


def forget(
    connection: sa.Connection, moment: datetime.datetime, limit: int
) -> int:
    """Delete history that ended before a moment.

    :param moment: by the database's clock
    :param limit: no more rows than these
    :returns: how many went
    """
    chosen = (
        connection.execute(
            sa.select(_history.c.id)
            .where(_history.c.retired_at < moment)
            .limit(limit)
        )
        .scalars()
        .all()
    )
    return connection.execute(
        sa.delete(_history).where(_history.c.id.in_(chosen))
    ).rowcount


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
