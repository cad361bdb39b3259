# SPDX-License-Identifier: Apache-2.0
"""What is read of allocations and claims.

Each function takes a connection inside a transaction; none changes anything.
"""

from __future__ import annotations

import collections
import datetime
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_allocation = schema.allocation
_claim = schema.claim

RAW_RANK = sa.type_coerce(_allocation.c.level_rank, sa.BigInteger())
"""The column of ranks as plain numbers, for reading them by the thousand."""


# Conditions


def of_instance(uuid: str) -> sa.ColumnElement[bool]:
    """The row of an instance."""
    return _allocation.c.instance_uuid == uuid


def of_level(level: levels.Level) -> sa.ColumnElement[bool]:
    """The row of a level."""
    return _allocation.c.level_rank == level


def of_project(project: str) -> sa.ColumnElement[bool]:
    """The rows of a project's instances."""
    return _allocation.c.project_id == project


def of_part(part: levels.Level | None) -> sa.ColumnElement[bool]:
    """The rows whose level has a project's part, or has none."""
    return _allocation.c.project_rank.is_not_distinct_from(part)


def after(level: levels.Level) -> sa.ColumnElement[bool]:
    """The rows of levels with a higher rank."""
    return _allocation.c.level_rank > level


def claimed_by(connection: sa.Connection, host: str) -> sa.ColumnElement[bool]:
    """The rows of instances that a host claims.

    The further claims are read first: servers use an index for a list of
    values, but not for a subquery beside another condition.
    """
    further = connection.execute(
        sa.select(_claim.c.instance_uuid).where(_claim.c.host == host)
    ).scalars()
    return sa.or_(
        _allocation.c.host == host, _allocation.c.instance_uuid.in_([*further])
    )


# Rows


def select(
    connection: sa.Connection,
    *conditions: sa.ColumnElement[bool],
    limit: int | None = None,
) -> list[types.Allocation]:
    """The allocations that meet conditions, sorted by rank.

    Rows whose level has cooled are allocations, too, unless a condition
    rules them out.

    :param limit: how many at most; None for all
    """
    if limit is not None:
        last = connection.execute(
            sa.select(_allocation.c.level_rank)
            .where(*conditions)
            .order_by(_allocation.c.level_rank)
            .offset(limit)
            .limit(1)
        ).scalar_one_or_none()
        if last is not None:
            conditions = (*conditions, _allocation.c.level_rank < last)
    rows = connection.execute(
        sa.select(
            _allocation,
            _claim.c.host.label('further'),
            _claim.c.claim_number.label('further_number'),
        )
        .outerjoin(
            _claim, _claim.c.instance_uuid == _allocation.c.instance_uuid
        )
        .where(*conditions)
        .order_by(_allocation.c.level_rank)
    )
    found: dict[levels.Level, tuple[sa.Row[Any], dict[str, int]]] = {}
    for row in rows:
        _, claims = found.setdefault(row.level_rank, (row, {}))
        if row.host is not None:
            claims[row.host] = row.claim_number
        if row.further is not None:
            claims[row.further] = row.further_number
    return [
        types.Allocation(
            level=level,
            instance_uuid=row.instance_uuid,
            project_id=row.project_id,
            hosts=frozenset(claims),
            created_at=schema.utc(row.created_at),
            retired_at=row.retired_at and schema.utc(row.retired_at),
            note=row.note,
            project_level=row.project_rank,
            claims=claims,
            last_claim=row.last_claim,
        )
        for level, (row, claims) in found.items()
    ]


def find_instance(
    connection: sa.Connection, uuid: str
) -> types.Allocation | None:
    """The allocation of an instance, even if its level has cooled."""
    return _first(select(connection, of_instance(uuid)))


def find_level(
    connection: sa.Connection, level: levels.Level
) -> types.Allocation | None:
    """The allocation of a level, even if it has cooled."""
    return _first(select(connection, of_level(level)))


def _first(found: Sequence[types.Allocation]) -> types.Allocation | None:
    return found[0] if found else None


def reserved(connection: sa.Connection) -> Sequence[levels.Level]:
    """The levels of the space that are reserved."""
    return (
        connection.execute(
            sa.select(_allocation.c.level_rank).where(
                _allocation.c.instance_uuid.is_(None),
                ~_allocation.c.is_outside,
            )
        )
        .scalars()
        .all()
    )


# Numbers


def count(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> int:
    """How many levels of the space have a row."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(_allocation)
        .where(~_allocation.c.is_outside, *conditions)
    ).scalar_one()


def sums(cutoff: datetime.datetime) -> list[sa.ColumnElement[int]]:
    """Columns that count the rows in each state, in the order of states.

    :param cutoff: see :func:`cutoff`
    """
    return [
        sa.func.sum(sa.case((schema.is_in(state, cutoff), 1), else_=0))
        for state in types.State
    ]


def count_states(
    connection: sa.Connection, cutoff: datetime.datetime
) -> dict[types.State, int]:
    """How many levels of the space are in each state.

    :param cutoff: see :func:`cutoff`
    """
    row = connection.execute(
        sa.select(*sums(cutoff)).where(~_allocation.c.is_outside)
    ).one()
    return by_state(row)


def by_state(numbers: Iterable[int | None]) -> dict[types.State, int]:
    """What the columns of :func:`sums` have counted."""
    return {
        state: int(number or 0)
        for state, number in zip(types.State, numbers, strict=True)
    }


def count_by_project(
    connection: sa.Connection, cutoff: datetime.datetime
) -> dict[str, int]:
    """How many levels of each project are not free.

    :param cutoff: see :func:`cutoff`
    """
    rows = connection.execute(
        sa.select(_allocation.c.project_id, sa.func.count())
        .where(_allocation.c.project_id.is_not(None), schema.is_used(cutoff))
        .group_by(_allocation.c.project_id)
    )
    return {row[0]: row[1] for row in rows}


def count_by_host(connection: sa.Connection) -> dict[str, int]:
    """How many instances each host claims."""
    found: collections.Counter[str] = collections.Counter()
    for column in (_allocation.c.host, _claim.c.host):
        for host, number in connection.execute(
            sa.select(column, sa.func.count())
            .where(column.is_not(None))
            .group_by(column)
        ):
            found[host] += number
    return dict(found)


_COUNT_CLAIMS = sa.select(
    sum(
        (
            sa.select(sa.func.count())
            .select_from(table)
            .where(table.c.host == sa.bindparam('of_host'))
            .scalar_subquery()
            for table in (_allocation, _claim)
        ),
        start=sa.literal_column('0'),
    )
)


def count_claims(connection: sa.Connection, host: str) -> int:
    """How many instances a host claims.

    Each count uses an index alone.
    """
    counted = connection.execute(_COUNT_CLAIMS, {'of_host': host})
    return int(counted.scalar_one())


# Time


def oldest(connection: sa.Connection) -> datetime.datetime | None:
    """When the first of the present instances got its level, if any did.

    By the database's clock, without a time zone.
    """
    found: datetime.datetime | None
    found = connection.execute(
        sa.select(sa.func.min(_allocation.c.created_at)).where(
            _allocation.c.instance_uuid.is_not(None)
        )
    ).scalar_one()
    return found


def now(connection: sa.Connection) -> datetime.datetime:
    """The database's clock, without a time zone."""
    return connection.execute(sa.select(schema.utcnow())).scalar_one()


def cutoff(
    connection: sa.Connection, cooling: datetime.timedelta
) -> datetime.datetime:
    """The time at which levels must have begun to cool to be free again.

    It is of the database's clock, without a time zone: the clock of a host
    may be wrong, and a level must not come free early for that.
    """
    return now(connection) - cooling
