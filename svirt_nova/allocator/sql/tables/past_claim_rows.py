# SPDX-License-Identifier: Apache-2.0
"""Which hosts claimed which instances, in the store's rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import collections
import dataclasses
import datetime
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import schema

_BATCH = 500

_allocation = schema.allocation
_claim = schema.claim
_past = schema.past_claim

# Each statement is made once, as in allocation_rows.
_OF_CLAIM = sa.and_(
    _past.c.instance_uuid == sa.bindparam('uuid'),
    _past.c.host == sa.bindparam('claimant'),
)
# The host that a level was given out for has claimed it since then.
_KEEP_FIRST = sa.insert(_past).from_select(
    ['instance_uuid', 'host', 'claimed_at', 'dropped_at'],
    sa.select(
        _allocation.c.instance_uuid,
        sa.bindparam('claimant', type_=sa.String()),
        _allocation.c.created_at,
        schema.utcnow(),
    ).where(_allocation.c.instance_uuid == sa.bindparam('uuid')),
)
_GO_ON = (
    sa.update(_past)
    .where(_OF_CLAIM, _past.c.dropped_at >= sa.bindparam('earliest'))
    .values(dropped_at=schema.utcnow())
)
_KEEP = sa.insert(_past).values(
    instance_uuid=sa.bindparam('uuid'),
    host=sa.bindparam('claimant'),
    claimed_at=sa.bindparam('since'),
    dropped_at=schema.utcnow(),
)


def keep_first(connection: sa.Connection, uuid: str, host: str) -> None:
    """Keep that the host had a claim that an instance's level was given for.

    The claim has been dropped in this transaction.
    """
    connection.execute(_KEEP_FIRST, {'uuid': uuid, 'claimant': host})


def keep(
    connection: sa.Connection,
    uuid: str,
    host: str,
    since: datetime.datetime | None,
) -> None:
    """Keep that a further host had a claim, which has been dropped.

    :param since: when it was made, by the database's clock; None where that
        is not known
    """
    values = {'uuid': uuid, 'claimant': host}
    if since is not None:
        earliest = since - types.MERGED_CLAIMS
        gone_on = connection.execute(_GO_ON, {**values, 'earliest': earliest})
        if gone_on.rowcount > 0:
            return
    connection.execute(_KEEP, {**values, 'since': since})


def with_claims(
    connection: sa.Connection, holdings: Sequence[types.Holding]
) -> list[types.Holding]:
    """The same holdings, with the hosts that claimed their instances."""
    periods = _periods(connection, {each.instance_uuid for each in holdings})
    return [
        dataclasses.replace(
            held,
            claims=tuple(
                each
                for each in periods[held.instance_uuid]
                if each.overlaps(held.since, held.until)
            ),
        )
        for held in holdings
    ]


def _periods(
    connection: sa.Connection, uuids: Iterable[str]
) -> dict[str, list[types.ClaimPeriod]]:
    """The claims on instances, by when they were made.

    Those of now are read first: one that is dropped in between is read twice
    rather than not at all, and then it is told as it is in the past.
    """
    found: dict[str, list[types.ClaimPeriod]] = collections.defaultdict(list)
    ordered = sorted(uuids)
    for start in range(0, len(ordered), _BATCH):
        batch = ordered[start : start + _BATCH]
        rows = [
            row
            for statement in _statements(batch)
            for row in connection.execute(statement).all()
        ]
        known = {
            (row.instance_uuid, row.host, row.claimed_at)
            for row in rows
            if row.dropped_at is not None
        }
        for row in rows:
            key = (row.instance_uuid, row.host, row.claimed_at)
            if row.dropped_at is not None or key not in known:
                found[row.instance_uuid].append(
                    types.ClaimPeriod(
                        row.host,
                        row.claimed_at and schema.utc(row.claimed_at),
                        row.dropped_at and schema.utc(row.dropped_at),
                    )
                )
    for each in found.values():
        each.sort(key=_order)
        del each[: -types.MOST_PERIODS]
    return found


def _statements(uuids: Sequence[str]) -> Iterable[sa.Select[Any]]:
    """What to read of instances: the claims of now, and the past ones."""
    still = sa.null().label('dropped_at')
    yield sa.select(
        _allocation.c.instance_uuid,
        _allocation.c.host,
        _allocation.c.created_at.label('claimed_at'),
        still,
    ).where(
        _allocation.c.instance_uuid.in_(uuids), _allocation.c.host.is_not(None)
    )
    yield sa.select(
        _claim.c.instance_uuid, _claim.c.host, _claim.c.claimed_at, still
    ).where(_claim.c.instance_uuid.in_(uuids))
    newest_first = sa.func.row_number().over(
        partition_by=_past.c.instance_uuid, order_by=_past.c.dropped_at.desc()
    )
    numbered = (
        sa.select(_past, newest_first.label('number'))
        .where(_past.c.instance_uuid.in_(uuids))
        .subquery()
    )
    yield sa.select(
        numbered.c.instance_uuid,
        numbered.c.host,
        numbered.c.claimed_at,
        numbered.c.dropped_at,
    ).where(numbered.c.number <= types.MOST_PERIODS)


def _order(period: types.ClaimPeriod) -> tuple[datetime.datetime, str]:
    known = period.since or period.until
    return known or datetime.datetime.max.replace(
        tzinfo=datetime.UTC
    ), period.host
