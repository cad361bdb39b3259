# SPDX-License-Identifier: Apache-2.0
"""How allocations and claims are changed.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import sqlalchemy as sa

from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import open_inserts
from svirt_nova.allocator.sql.tables import past_claim_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_BATCH = 500

_allocation = schema.allocation
_claim = schema.claim

# Each statement is made once: building and compiling it costs more than
# writing its row.
_LEVEL = _allocation.c.level_rank.type
_NUMBER = _allocation.c.last_claim.type
_INSERT = open_inserts.InsertWhileOpen(
    _allocation,
    level_rank=sa.bindparam('level', type_=_LEVEL),
    instance_uuid=sa.bindparam('uuid', type_=sa.String(36)),
    project_id=sa.bindparam('project', type_=sa.String()),
    project_rank=sa.bindparam('part', type_=_LEVEL),
    host=sa.bindparam('claimant', type_=sa.String()),
    is_outside=sa.false(),
    created_at=schema.utcnow(),
    note=sa.bindparam('remark', type_=sa.String()),
    claim_number=sa.bindparam('number', type_=_NUMBER),
    last_claim=sa.bindparam('number', type_=_NUMBER),
)
_INSERT_CLAIM = sa.insert(_claim).values(
    instance_uuid=sa.bindparam('uuid'),
    host=sa.bindparam('claimant'),
    claim_number=sa.bindparam('number'),
    claimed_at=schema.utcnow(),
)
_CLAIM_OF_HOST = sa.and_(
    _claim.c.instance_uuid == sa.bindparam('uuid'),
    _claim.c.host == sa.bindparam('claimant'),
)
_RENEW_CLAIM = (
    sa.update(_claim)
    .where(_CLAIM_OF_HOST)
    .values(claim_number=sa.bindparam('number'))
)
_DELETE_CLAIM = (
    sa.delete(_claim)
    .where(_CLAIM_OF_HOST, _claim.c.claim_number <= sa.bindparam('highest'))
    .returning(_claim.c.claimed_at)
)
_OF_INSTANCE = _allocation.c.instance_uuid == sa.bindparam('uuid')
_OF_HOST = _allocation.c.host == sa.bindparam('claimant')
_RETIRED = _allocation.c.retired_at.is_not(None)
_PASSED = _allocation.c.last_claim < sa.bindparam('number', type_=_NUMBER)
_PASS = sa.case(
    (_PASSED, sa.bindparam('number', type_=_NUMBER)),
    else_=_allocation.c.last_claim,
)
# A drop that has dropped the claim of the row's own host.
_DROP = (
    sa.update(_allocation)
    .where(
        _OF_INSTANCE,
        _OF_HOST,
        _allocation.c.claim_number <= sa.bindparam('highest'),
    )
    .values(
        host=None,
        last_claim=_PASS,
        retired_at=sa.case((_RETIRED, schema.utcnow())),
    )
)
_DROP_AND_COOL = _DROP.values(retired_at=schema.utcnow())
# What remains to be done where it has not, by whether it has dropped another
# claim.
_AFTER_DROP = {
    True: sa.update(_allocation)
    .where(_OF_INSTANCE, sa.or_(_PASSED, _RETIRED))
    .values(last_claim=_PASS, retired_at=sa.case((_RETIRED, schema.utcnow()))),
    False: sa.update(_allocation)
    .where(_OF_INSTANCE, _PASSED)
    .values(last_claim=_PASS),
}
_COOL = (
    sa.update(_allocation)
    .where(_OF_INSTANCE)
    .values(last_claim=_PASS, retired_at=schema.utcnow())
)
_RETIRE = (
    sa.update(_allocation)
    .where(
        _OF_INSTANCE,
        ~_RETIRED,
        _allocation.c.last_claim <= sa.bindparam('highest'),
    )
    .values(retired_at=schema.utcnow())
)
_HOLD = (
    sa.update(_allocation)
    .where(_OF_INSTANCE, _PASSED)
    .values(
        claim_number=sa.case(
            (_OF_HOST, sa.bindparam('number', type_=_NUMBER)),
            else_=_allocation.c.claim_number,
        ),
        last_claim=sa.bindparam('number', type_=_NUMBER),
        retired_at=None,
    )
)
_LOCK = sa.select(_allocation.c.host).where(_OF_INSTANCE).with_for_update()
_FURTHER = (
    sa.select(_claim.c.host)
    .where(_claim.c.instance_uuid == sa.bindparam('uuid'))
    .limit(2)
)


def insert(
    connection: sa.Connection,
    level: levels.Level,
    *,
    generation: int,
    seen: int | None = None,
    uuid: str | None = None,
    project: str | None = None,
    project_part: levels.Level | None = None,
    host: str | None = None,
    number: int = claim_numbers.UNNUMBERED,
    note: str = '',
) -> None:
    """Allocate a level to an instance and claim it, or reserve it.

    :param generation: of the level space that the level is one of
    :param seen: the generation that the store must have at least to give a
        level out; None to record one that is used already
    :param uuid: the instance; None reserves the level
    :param number: of the claim
    :raises errors.SpaceChanged: the store has another space, or is about to,
        or gives out no level
    """
    _INSERT.run(
        connection,
        generation,
        seen,
        level=level,
        uuid=uuid,
        project=project,
        part=project_part,
        claimant=host,
        number=number,
        remark=note,
    )


def hold(connection: sa.Connection, uuid: str, host: str, number: int) -> bool:
    """Claim an instance, and take back that it is gone for good.

    It is a whole claim of the host that the level was given out for; another
    host must :func:`claim`, too. The row is locked from then on.

    :returns: False if there was a claim with that number, or a higher one,
        or there is no such instance; then nothing was changed
    """
    return _changes(connection, _HOLD, uuid, claimant=host, number=number)


def claim(
    connection: sa.Connection,
    uuid: str,
    host: str,
    number: int,
    *,
    again: bool,
) -> None:
    """Claim an instance for one more host, after :func:`hold`.

    :param again: whether the host claims it already
    """
    values: dict[str, str | int] = {'claimant': host, 'number': number}
    if not (again and _changes(connection, _RENEW_CLAIM, uuid, **values)):
        connection.execute(_INSERT_CLAIM, {'uuid': uuid, **values})


def unclaim(
    connection: sa.Connection, uuid: str, host: str, number: int | None
) -> None:
    """Drop a host's claim; a retired level begins to cool anew.

    Other claims are not looked at: two hosts that drop the last two at once
    would each see the other's.

    :param number: see :meth:`base.Allocator.unclaim`
    """
    values = _values_of_drop(number)
    if _drops_first(connection, _DROP, uuid, host, values):
        return
    dropped = _drops_further(connection, uuid, host, values)
    _changes(connection, _AFTER_DROP[dropped], uuid, **values)


def retire(connection: sa.Connection, uuid: str, number: int | None) -> None:
    """Retire an instance, unless it is retired already.

    :param number: see :meth:`base.Allocator.retire`
    """
    _changes(connection, _RETIRE, uuid, **_values_of_drop(number))


def give_back(
    connection: sa.Connection, uuid: str, host: str, number: int | None
) -> bool:
    """Drop a host's claim and retire the instance.

    :param number: see :meth:`base.Allocator.give_back`
    :returns: whether the instance was retired
    """
    values = _values_of_drop(number)
    if _drops_first(connection, _DROP_AND_COOL, uuid, host, values):
        return True
    if _drops_further(connection, uuid, host, values):
        return _changes(connection, _COOL, uuid, **values)
    if number is None:
        return _changes(connection, _RETIRE, uuid, **values)
    _changes(connection, _AFTER_DROP[False], uuid, **values)
    return False


def _values_of_drop(number: int | None) -> dict[str, int]:
    """The highest number that is dropped, and that later claims must pass."""
    return {
        'highest': claim_numbers.highest_dropped(number),
        'number': claim_numbers.passed(number),
    }


def give_back_last(
    connection: sa.Connection, uuid: str, host: str, number: int | None
) -> bool:
    """Drop a host's claim, and retire the instance if it was the only one.

    :param number: see :meth:`base.Allocator.give_back_last`
    :returns: whether the instance was retired
    """
    # Whoever claims an instance that has its level changes this row first
    # (known_claims), and waits for the lock; claims that were made before are
    # seen by the second statement.
    first = connection.execute(_LOCK, {'uuid': uuid}).scalars().all()
    further = connection.execute(_FURTHER, {'uuid': uuid}).scalars().all()
    if {*first, *further} - {None} == {host}:
        return give_back(connection, uuid, host, number)
    unclaim(connection, uuid, host, number)
    return False


def _drops_first(
    connection: sa.Connection,
    statement: sa.Executable,
    uuid: str,
    host: str,
    values: Mapping[str, int],
) -> bool:
    """Drop the claim of the row's own host; whether it had one."""
    if not _changes(connection, statement, uuid, claimant=host, **values):
        return False
    past_claim_rows.keep_first(connection, uuid, host)
    return True


def _drops_further(
    connection: sa.Connection,
    uuid: str,
    host: str,
    values: Mapping[str, int],
) -> bool:
    """Drop the claim of a further host; whether it had one."""
    dropped = connection.execute(
        _DELETE_CLAIM, {'uuid': uuid, 'claimant': host, **values}
    ).all()
    for row in dropped:
        past_claim_rows.keep(connection, uuid, host, row.claimed_at)
    return bool(dropped)


def _changes(
    connection: sa.Connection,
    statement: sa.Executable,
    uuid: str,
    **values: str | int,
) -> bool:
    """Run a statement; whether it met a row."""
    result = connection.execute(statement, {'uuid': uuid, **values})
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
