# SPDX-License-Identifier: Apache-2.0
"""How allocations and claims are changed.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_BATCH = 500

_allocation = schema.allocation
_claim = schema.claim

# Each statement is made once: building and compiling it costs more than
# writing its row.
_LEVEL = _allocation.c.level_rank.type
_INSERT = schema.InsertWhileOpen(
    _allocation,
    level_rank=sa.bindparam('level', type_=_LEVEL),
    instance_uuid=sa.bindparam('uuid', type_=sa.String(36)),
    project_id=sa.bindparam('project', type_=sa.String()),
    project_rank=sa.bindparam('part', type_=_LEVEL),
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
    level: levels.Level,
    *,
    generation: int,
    uuid: str | None = None,
    project: str | None = None,
    project_part: levels.Level | None = None,
    host: str | None = None,
    note: str = '',
) -> None:
    """Allocate a level to an instance and claim it, or reserve it.

    :param generation: of the level space that the level is one of
    :param uuid: the instance; None reserves the level
    :raises errors.SpaceChanged: the store has another space, or is about to
    """
    _INSERT.run(
        connection,
        generation,
        level=level,
        uuid=uuid,
        project=project,
        part=project_part,
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
    """Drop a host's claim; a retired level begins to cool anew.

    Other claims are not looked at: two hosts that drop the last two at once
    would each see the other's.
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


def free(
    connection: sa.Connection,
    cutoff: datetime.datetime,
    *conditions: sa.ColumnElement[bool],
    limit: int,
) -> int:
    """Move rows whose level has cooled into the history.

    :param cutoff: see :func:`allocation_queries.cutoff`
    :param conditions: only rows that meet these are moved
    :param limit: how many rows at most
    :returns: how many rows were moved
    """
    cooled = schema.is_cooled(cutoff)
    chosen = (
        connection.execute(
            sa.select(allocation_queries.RAW_RANK)
            .where(cooled, *conditions)
            .limit(limit)
        )
        .scalars()
        .all()
    )
    freed = 0
    for start in range(0, len(chosen), _BATCH):
        batch = chosen[start : start + _BATCH]
        # The condition is repeated: an instance may have come back since
        # the rows were chosen.
        gone = connection.execute(
            sa.delete(_allocation)
            .where(allocation_queries.RAW_RANK.in_(batch), cooled)
            .returning(*history_rows.KEPT)
        ).all()
        history_rows.keep(connection, gone)
        freed += len(gone)
    return freed


def release(connection: sa.Connection, level: levels.Level) -> bool:
    """Delete the row of a reserved level; whether there was one."""
    result = connection.execute(
        sa.delete(_allocation).where(
            allocation_queries.of_level(level),
            _allocation.c.instance_uuid.is_(None),
        )
    )
    return result.rowcount > 0
