# SPDX-License-Identifier: Apache-2.0
"""What is read from and written to the store's rows, in a transaction.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Collection
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator import base
from svirt_nova.allocator.sql import history
from svirt_nova.allocator.sql import schema

_BATCH = 500

_allocation = schema.allocation
_claim = schema.claim


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A row of the table of allocations, and the hosts that claim it."""

    rank: int
    instance_uuid: str | None
    project_id: str | None
    project_rank: int | None
    hosts: frozenset[str]
    created_at: datetime.datetime
    retired_at: datetime.datetime | None
    note: str


# Made once: building and compiling a statement costs more than its row.
_RANK = _allocation.c.level_rank.type
_INSERT = schema.InsertWhileOpen(
    _allocation,
    level_rank=sa.bindparam('rank', type_=_RANK),
    instance_uuid=sa.bindparam('uuid', type_=sa.String(36)),
    project_id=sa.bindparam('project', type_=sa.String()),
    project_rank=sa.bindparam('part', type_=_RANK),
    host=sa.bindparam('claimant', type_=sa.String()),
    is_outside=sa.false(),
    created_at=schema.utcnow(),
    note=sa.bindparam('remark', type_=sa.String()),
)
_INSERT_CLAIM = sa.insert(_claim).values(
    instance_uuid=sa.bindparam('uuid'), host=sa.bindparam('claimant')
)
_DELETE_CLAIM = sa.delete(_claim).where(
    _claim.c.instance_uuid == sa.bindparam('uuid'),
    _claim.c.host == sa.bindparam('claimant'),
)
_OF_INSTANCE = _allocation.c.instance_uuid == sa.bindparam('uuid')
_RETIRED = _allocation.c.retired_at.is_not(None)
_COOL = (
    sa.update(_allocation)
    .where(_OF_INSTANCE)
    .values(retired_at=schema.utcnow())
)
_COOL_AGAIN = _COOL.where(_RETIRED)
_RETIRE = _COOL.where(~_RETIRED)
_OF_HOST = _allocation.c.host == sa.bindparam('claimant')
_DROP = (
    sa.update(_allocation)
    .where(_OF_INSTANCE, _OF_HOST)
    .values(host=None, retired_at=sa.case((_RETIRED, schema.utcnow())))
)
_DROP_AND_COOL = _COOL.where(_OF_HOST).values(host=None)
_HOLD = sa.update(_allocation).where(_OF_INSTANCE).values(retired_at=None)


def insert(
    connection: sa.Connection,
    rank: int,
    *,
    generation: int,
    uuid: str | None = None,
    project: str | None = None,
    project_rank: int | None = None,
    host: str | None = None,
    note: str = '',
) -> None:
    """Take a level for an instance and claim it, or for nobody.

    :param generation: of the level space that the level is one of
    :raises errors.SpaceChanged: the store has another one, or is about to
    """
    _INSERT.run(
        connection,
        generation,
        rank=rank,
        uuid=uuid,
        project=project,
        part=project_rank,
        claimant=host,
        remark=note,
    )


def claim(connection: sa.Connection, uuid: str, host: str) -> None:
    """Claim an instance for one more host."""
    connection.execute(_INSERT_CLAIM, {'uuid': uuid, 'claimant': host})


def hold(connection: sa.Connection, uuid: str) -> None:
    """Take back that an instance is gone for good."""
    connection.execute(_HOLD, {'uuid': uuid})


def unclaim(connection: sa.Connection, uuid: str, host: str) -> None:
    """Drop a host's claim; a retired level's cooling starts anew.

    Without a look at other claims: two hosts that drop the last two at
    once would each see the other's.
    """
    if _changes(connection, _DROP, uuid, host):
        return
    if _changes(connection, _DELETE_CLAIM, uuid, host):
        connection.execute(_COOL_AGAIN, {'uuid': uuid})


def retire(connection: sa.Connection, uuid: str) -> None:
    """Retire an instance, unless it is retired already."""
    connection.execute(_RETIRE, {'uuid': uuid})


def give_back(connection: sa.Connection, uuid: str, host: str) -> None:
    """Drop a host's claim and retire the instance."""
    if _changes(connection, _DROP_AND_COOL, uuid, host):
        return
    dropped = _changes(connection, _DELETE_CLAIM, uuid, host)
    connection.execute(_COOL if dropped else _RETIRE, {'uuid': uuid})


def _changes(
    connection: sa.Connection, statement: sa.Executable, uuid: str, host: str
) -> bool:
    result = connection.execute(statement, {'uuid': uuid, 'claimant': host})
    return result.rowcount > 0


def of_instance(connection: sa.Connection, uuid: str) -> Held | None:
    """The row of an instance, even if its level has cooled."""
    return _first(select(connection, _allocation.c.instance_uuid == uuid))


def of_rank(connection: sa.Connection, rank: int) -> Held | None:
    """The row of a rank, even if its level has cooled."""
    return _first(select(connection, _allocation.c.level_rank == rank))


def select(
    connection: sa.Connection,
    *conditions: sa.ColumnElement[bool],
    limit: int | None = None,
) -> list[Held]:
    """The rows that meet conditions, sorted by rank.

    :param limit: no more than these; None for all
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
        sa.select(_allocation, _claim.c.host.label('further'))
        .outerjoin(
            _claim, _claim.c.instance_uuid == _allocation.c.instance_uuid
        )
        .where(*conditions)
        .order_by(_allocation.c.level_rank)
    )
    found: dict[int, tuple[sa.Row[tuple[object, ...]], set[str]]] = {}
    for row in rows:
        _, hosts = found.setdefault(row.level_rank, (row, set()))
        hosts |= {row.host, row.further} - {None}
    return [
        Held(
            rank=rank,
            instance_uuid=row.instance_uuid,
            project_id=row.project_id,
            project_rank=row.project_rank,
            hosts=frozenset(hosts),
            created_at=schema.utc(row.created_at),
            retired_at=row.retired_at and schema.utc(row.retired_at),
            note=row.note,
        )
        for rank, (row, hosts) in found.items()
    ]


def claimed_by(connection: sa.Connection, host: str) -> sa.ColumnElement[bool]:
    """Rows that a host claims.

    In two steps: servers use their indices for a list, but not for a
    subquery beside another condition.
    """
    came = connection.execute(
        sa.select(_claim.c.instance_uuid).where(_claim.c.host == host)
    ).scalars()
    return sa.or_(
        _allocation.c.host == host, _allocation.c.instance_uuid.in_([*came])
    )


def after(rank: int) -> sa.ColumnElement[bool]:
    """Rows of higher ranks."""
    return _allocation.c.level_rank > rank


def of_uuid(uuid: str) -> sa.ColumnElement[bool]:
    """The row of an instance."""
    return _allocation.c.instance_uuid == uuid


def among(ranks: Collection[int]) -> sa.ColumnElement[bool]:
    """Rows of certain ranks."""
    return _allocation.c.level_rank.in_(ranks)


def of_project(project: str) -> sa.ColumnElement[bool]:
    """Rows of a project."""
    return _allocation.c.project_id == project


def of_project_rank(rank: int | None) -> sa.ColumnElement[bool]:
    """Rows whose level has a project's part, or that has none."""
    return _allocation.c.project_rank.is_not_distinct_from(rank)


def ranks(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> Sequence[int]:
    """The ranks of rows that meet conditions."""
    return (
        connection.execute(
            sa.select(_allocation.c.level_rank).where(*conditions)
        )
        .scalars()
        .all()
    )


def count(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> int:
    """How many levels of the space are not free."""
    return connection.execute(
        sa.select(sa.func.count())
        .select_from(_allocation)
        .where(~_allocation.c.is_outside, *conditions)
    ).scalar_one()


def count_states(
    connection: sa.Connection, cutoff: datetime.datetime
) -> dict[base.State, int]:
    """How many levels of the space are in each state."""
    sums = [
        sa.func.sum(sa.case((schema.is_in(state, cutoff), 1), else_=0))
        for state in base.State
    ]
    row = connection.execute(
        sa.select(*sums).where(~_allocation.c.is_outside)
    ).one()
    return {
        state: int(number or 0)
        for state, number in zip(base.State, row, strict=True)
    }


def count_by_project(
    connection: sa.Connection, cutoff: datetime.datetime
) -> dict[str, int]:
    """How many levels of each project are not free."""
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


def now(connection: sa.Connection) -> datetime.datetime:
    """The database's clock, without a time zone."""
    return connection.execute(sa.select(schema.utcnow())).scalar_one()


def cutoff(
    connection: sa.Connection, cooling: datetime.timedelta
) -> datetime.datetime:
    """Levels that began to cool until then are free again.

    By the database's clock, without a time zone: that of a host may be
    wrong, and a level must not be freed early for it.
    """
    return now(connection) - cooling


def free(
    connection: sa.Connection,
    cutoff: datetime.datetime,
    *conditions: sa.ColumnElement[bool],
    limit: int,
) -> int:
    """Move rows whose level has cooled into the history.

    :param conditions: only rows that meet these
    :param limit: no more rows than these
    :returns: how many went
    """
    cooled = schema.is_cooled(cutoff)
    chosen = (
        connection.execute(
            sa.select(_allocation.c.level_rank)
            .where(cooled, *conditions)
            .limit(limit)
        )
        .scalars()
        .all()
    )
    freed = 0
    for start in range(0, len(chosen), _BATCH):
        # Cooled still: an instance may have come back since the select.
        batch = chosen[start : start + _BATCH]
        gone = connection.execute(
            sa.delete(_allocation)
            .where(_allocation.c.level_rank.in_(batch), cooled)
            .returning(*history.KEPT)
        ).all()
        history.keep(connection, gone)
        freed += len(gone)
    return freed


def has_rank(rank: int) -> sa.ColumnElement[bool]:
    """The row of one level."""
    return _allocation.c.level_rank == rank


def release(connection: sa.Connection, rank: int) -> bool:
    """Delete the row of a reserved level; whether there was one."""
    result = connection.execute(
        sa.delete(_allocation).where(
            _allocation.c.level_rank == rank,
            _allocation.c.instance_uuid.is_(None),
        )
    )
    return result.rowcount > 0


def _first(found: list[Held]) -> Held | None:
    return found[0] if found else None
