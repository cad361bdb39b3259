# SPDX-License-Identifier: Apache-2.0
"""Whether the store is trusted, in its rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable

import sqlalchemy as sa

from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema

_host = schema.store_host
_space = schema.level_space
_trust = schema.store_trust


@dataclasses.dataclass(frozen=True, slots=True)
class Generation:
    """How far the store has come.

    :param is_due: whether it is time that it grows
    """

    number: int
    is_trusted: bool
    is_due: bool


def create(connection: sa.Connection) -> None:
    """Trust a new store, or one of a former release."""
    connection.execute(
        sa.insert(_trust).values(id=1, store_generation=1, reason='')
    )


def exists(connection: sa.Connection) -> bool:
    """Whether the store has its row already."""
    return connection.execute(sa.select(_trust.c.id)).first() is not None


def reason(connection: sa.Connection) -> str | None:
    """Why the store is not trusted; None when it is."""
    return connection.execute(
        sa.select(_trust.c.reason).where(_trust.c.distrusted_at.is_not(None))
    ).scalar_one_or_none()


# The generation


def generation(
    connection: sa.Connection, period: datetime.timedelta
) -> Generation:
    """How far the store has come.

    :param period: for how long it does not grow again
    """
    row = connection.execute(
        sa.select(_trust, schema.utcnow().label('present'))
    ).one()
    return Generation(
        row.store_generation,
        row.distrusted_at is None,
        row.grown_at is None
        # A clock that was set back must not keep it from growing.
        or not row.present - period < row.grown_at <= row.present,
    )


def grow(connection: sa.Connection, number: int) -> None:
    """Let the generation grow, unless somebody else has.

    :param number: the generation before
    """
    connection.execute(
        sa.update(_trust)
        .where(
            _trust.c.store_generation == number,
            _trust.c.distrusted_at.is_(None),
        )
        .values(store_generation=number + 1, grown_at=schema.utcnow())
    )


# Distrust


def distrust(
    connection: sa.Connection, why: str, seen: int | None = None
) -> bool:
    """Let no level be given out before all hosts have told what they run.

    Those are awaited that claim something.

    :param seen: only if the store is older than this generation, which it
        has from then on if it is not further than :data:`types.LEAP`
    :returns: whether it was trusted before
    """
    statement = (
        sa.update(_trust)
        .where(_trust.c.distrusted_at.is_(None))
        .values(distrusted_at=schema.utcnow(), reason=why)
    )
    if seen is not None:
        statement = statement.where(_trust.c.store_generation < seen).values(
            store_generation=_believed(seen)
        )
    if connection.execute(statement).rowcount != 1:
        return False
    connection.execute(
        sa.update(_space).values(
            generation=_space.c.generation + 1, closed_at=schema.utcnow()
        )
    )
    connection.execute(sa.delete(_host))
    _insert(connection, allocation_queries.count_by_host(connection))
    return True


def see(connection: sa.Connection, seen: int) -> None:
    """Note what a host has seen of a store that is not trusted.

    If that is far ahead, the generation comes to it in several calls.
    """
    connection.execute(
        sa.update(_trust)
        .where(
            _trust.c.distrusted_at.is_not(None),
            _trust.c.store_generation < seen,
        )
        .values(store_generation=_believed(seen))
    )


def _believed(seen: int) -> sa.ColumnElement[int]:
    """The generation that a store has when a host says that it saw more."""
    is_far = _trust.c.store_generation < seen - types.LEAP
    return sa.case(
        (is_far, _trust.c.store_generation + types.LEAP), else_=seen
    )


def lock(connection: sa.Connection) -> None:
    """Let those who change the hosts that are awaited wait for each other."""
    connection.execute(sa.select(_trust.c.id).with_for_update())


def wait_for(connection: sa.Connection, host: str) -> None:
    """Wait until this host, too, has told what it runs."""
    known = connection.execute(
        sa.select(_host.c.host).where(_host.c.host == host)
    ).scalars()
    if host not in set(known):
        _insert(connection, [host])


def _insert(connection: sa.Connection, hosts: Iterable[str]) -> None:
    """Wait for hosts that are not awaited yet."""
    new = [{'host': each} for each in sorted(hosts)]
    if new:
        connection.execute(sa.insert(_host), new)


def tell(
    connection: sa.Connection, host: str, hosts: Iterable[str], leap: int
) -> tuple[bool, int]:
    """Note that a host has told what it runs.

    :param hosts: others that there are, which must tell, too
    :param leap: see :func:`trust`
    :returns: whether the store is trusted now: it was the last, and the
        distrust has lasted for :data:`types.LEAST_DISTRUST`; and how many
        hosts it has named that the store did not know
    :raises LimitReached: it knows of more hosts than a store waits for
    """
    # The lock lets hosts tell one after the other: of two that are the last,
    # each would see that the other is missing.
    row = connection.execute(
        sa.select(
            _trust.c.distrusted_at, schema.utcnow().label('present')
        ).with_for_update()
    ).one()
    if row.distrusted_at is None:
        return False, 0
    known = set(connection.execute(sa.select(_host.c.host)).scalars())
    named = {*hosts} - known
    if named and len(known) + len(named) > types.MOST_REPORTED:
        # The host has not told then, and is awaited on. Without a limit for
        # the callers themselves, no honest host is left out.
        raise refusals.too_many_awaited(host, len(known), len(named))
    _insert(connection, named | ({host} - known))
    connection.execute(
        sa.update(_host)
        .where(_host.c.host == host)
        .values(told_at=schema.utcnow())
    )
    if row.present < row.distrusted_at + types.LEAST_DISTRUST:
        return False, len(named)
    is_trusted = not awaited(connection) and trust(connection, leap)
    return is_trusted, len(named)


def awaited(connection: sa.Connection) -> tuple[str, ...]:
    """Hosts that have not told what they run, sorted.

    If there are many, those that claim something come first: other hosts may
    have made them up.
    """
    claims = sa.or_(
        *(
            sa.exists().where(column == _host.c.host)
            for column in (schema.allocation.c.host, schema.claim.c.host)
        )
    )
    return tuple(
        sorted(
            connection.execute(
                sa.select(_host.c.host)
                .where(_host.c.told_at.is_(None))
                .order_by(sa.case((claims, 0), else_=1), _host.c.host)
                .limit(types.MOST_AWAITED)
            ).scalars()
        )
    )


def trust(connection: sa.Connection, leap: int) -> bool:
    """Let levels be given out again.

    :param leap: how far the generation grows, so that it is ahead of all
        that hosts have seen
    :returns: whether the store was not trusted before
    """
    result = connection.execute(
        sa.update(_trust)
        .where(_trust.c.distrusted_at.is_not(None))
        .values(
            distrusted_at=None,
            reason='',
            store_generation=_trust.c.store_generation + leap,
        )
    )
    if result.rowcount != 1:
        return False
    connection.execute(
        sa.update(_space).values(
            generation=_space.c.generation + 1, closed_at=None
        )
    )
    connection.execute(sa.delete(_host))
    return True


def show(connection: sa.Connection) -> types.Trust:
    """The whole state."""
    row = connection.execute(sa.select(_trust)).one()
    if row.distrusted_at is None:
        return types.Trust(row.store_generation)
    return types.Trust(
        row.store_generation,
        schema.utc(row.distrusted_at),
        row.reason,
        awaited(connection),
    )
