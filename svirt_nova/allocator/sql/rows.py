# SPDX-License-Identifier: Apache-2.0
"""What is read from and written to the store's rows, in a transaction.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator import base
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
    hosts: frozenset[str]
    created_at: datetime.datetime
    retired_at: datetime.datetime | None
    note: str


# Made once: building and compiling a statement costs more than its row.
_INSERT = (
    sa.insert(_allocation)
    .values(
        level_rank=sa.bindparam('rank'),
        instance_uuid=sa.bindparam('uuid'),
        project_id=sa.bindparam('project'),
        created_at=schema.utcnow(),
        note=sa.bindparam('remark'),
    )
    .returning(_allocation.c.created_at)
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
_HOLD = sa.update(_allocation).where(_OF_INSTANCE).values(retired_at=None)


def insert(
    connection: sa.Connection,
    rank: int,
    uuid: str | None,
    project: str | None,
    note: str = '',
) -> datetime.datetime:
    """Take a rank for an instance, or for nobody.

    :returns: when, in UTC
    """
    created_at = connection.execute(
        _INSERT,
        {'rank': rank, 'uuid': uuid, 'project': project, 'remark': note},
    ).scalar_one()
    return _utc(created_at)


def claim(connection: sa.Connection, uuid: str, host: str) -> None:
    """Claim an instance for a host that does not claim it yet."""
    connection.execute(_INSERT_CLAIM, {'uuid': uuid, 'claimant': host})


def hold(connection: sa.Connection, uuid: str) -> None:
    """Take back that an instance is gone for good."""
    connection.execute(_HOLD, {'uuid': uuid})


def unclaim(connection: sa.Connection, uuid: str, host: str) -> None:
    """Drop a host's claim; a retired level's cooling starts anew.

    Without a look at other claims: two hosts that drop the last two at
    once would each see the other's.
    """
    if _drop_claim(connection, uuid, host):
        connection.execute(_COOL_AGAIN, {'uuid': uuid})


def retire(connection: sa.Connection, uuid: str) -> None:
    """Retire an instance, unless it is retired already."""
    connection.execute(_RETIRE, {'uuid': uuid})


def give_back(connection: sa.Connection, uuid: str, host: str) -> None:
    """Drop a host's claim and retire the instance."""
    dropped = _drop_claim(connection, uuid, host)
    connection.execute(_COOL if dropped else _RETIRE, {'uuid': uuid})


def _drop_claim(connection: sa.Connection, uuid: str, host: str) -> bool:
    result = connection.execute(
        _DELETE_CLAIM, {'uuid': uuid, 'claimant': host}
    )
    return result.rowcount > 0


def of_instance(connection: sa.Connection, uuid: str) -> Held | None:
    """The row of an instance, even if its level has cooled."""
    return _first(select(connection, _allocation.c.instance_uuid == uuid))


def of_rank(connection: sa.Connection, rank: int) -> Held | None:
    """The row of a rank, even if its level has cooled."""
    return _first(select(connection, _allocation.c.level_rank == rank))


def select(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> list[Held]:
    """The rows that meet conditions, sorted by rank."""
    rows = connection.execute(
        sa.select(_allocation, _claim.c.host)
        .outerjoin(
            _claim, _claim.c.instance_uuid == _allocation.c.instance_uuid
        )
        .where(*conditions)
        .order_by(_allocation.c.level_rank)
    )
    found: dict[int, tuple[sa.Row[tuple[object, ...]], set[str]]] = {}
    for row in rows:
        _, hosts = found.setdefault(row.level_rank, (row, set()))
        if row.host is not None:
            hosts.add(row.host)
    return [
        Held(
            rank=rank,
            instance_uuid=row.instance_uuid,
            project_id=row.project_id,
            hosts=frozenset(hosts),
            created_at=_utc(row.created_at),
            retired_at=row.retired_at and _utc(row.retired_at),
            note=row.note,
        )
        for rank, (row, hosts) in found.items()
    ]


def claimed_by(host: str) -> sa.ColumnElement[bool]:
    """Rows that a host claims."""
    return _allocation.c.instance_uuid.in_(
        sa.select(_claim.c.instance_uuid).where(_claim.c.host == host)
    )


def of_project(project: str) -> sa.ColumnElement[bool]:
    """Rows of a project."""
    return _allocation.c.project_id == project


def ranks(connection: sa.Connection) -> Sequence[int]:
    """All ranks that are not free."""
    return (
        connection.execute(sa.select(_allocation.c.level_rank)).scalars().all()
    )


def count(connection: sa.Connection) -> int:
    """How many ranks are not free."""
    return connection.execute(
        sa.select(sa.func.count()).select_from(_allocation)
    ).scalar_one()


def count_states(
    connection: sa.Connection, cutoff: datetime.datetime
) -> dict[base.State, int]:
    """How many levels are in each state."""
    sums = [
        sa.func.sum(sa.case((schema.is_in(state, cutoff), 1), else_=0))
        for state in base.State
    ]
    row = connection.execute(sa.select(*sums)).one()
    return {
        state: int(number or 0)
        for state, number in zip(base.State, row, strict=True)
    }


def cutoff(
    connection: sa.Connection, cooling: datetime.timedelta
) -> datetime.datetime:
    """Levels that began to cool until then are free again.

    By the database's clock, without a time zone: that of a host may be
    wrong, and a level must not be freed early for it.
    """
    now = connection.execute(sa.select(schema.utcnow())).scalar_one()
    return now - cooling


def free(
    connection: sa.Connection,
    cutoff: datetime.datetime,
    *,
    limit: int,
    rank: int | None = None,
) -> int:
    """Delete rows whose level has cooled.

    :param limit: no more rows than these
    :param rank: only this one
    :returns: how many went
    """
    cooled = schema.is_cooled(cutoff)
    if rank is not None:
        cooled = sa.and_(cooled, _allocation.c.level_rank == rank)
    chosen = (
        connection.execute(
            sa.select(_allocation.c.level_rank).where(cooled).limit(limit)
        )
        .scalars()
        .all()
    )
    freed = 0
    for start in range(0, len(chosen), _BATCH):
        # Cooled still: an instance may have come back since the select.
        batch = chosen[start : start + _BATCH]
        freed += connection.execute(
            sa.delete(_allocation).where(
                _allocation.c.level_rank.in_(batch), cooled
            )
        ).rowcount
    return freed


def _first(found: list[Held]) -> Held | None:
    return found[0] if found else None


def _utc(time: datetime.datetime) -> datetime.datetime:
    return time.replace(tzinfo=datetime.UTC)
