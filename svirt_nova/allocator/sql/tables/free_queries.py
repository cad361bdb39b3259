# SPDX-License-Identifier: Apache-2.0
"""What is read of allocations to find a level that is free.

Each function takes a connection inside a transaction; none changes anything.
A few thousand rows are read at most, except by :func:`survey`,
:func:`cooled` and :func:`count_between`, which the database alone does.
"""

from __future__ import annotations

import dataclasses
import datetime

import sqlalchemy as sa

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_MOST_COOLED = 1_000

_allocation = schema.allocation
_history = schema.history
_space = schema.level_space
_RAW_RANK = allocation_queries.RAW_RANK
_RANKS_AS_TEXT = sa.func.aggregate_strings(
    sa.cast(_RAW_RANK, sa.String(20)), ','
)
_IS_RESERVED = _allocation.c.instance_uuid.is_(None)


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose levels are looked at.

    :param project: the project; None for the whole space
    :param part: the project's part
    """

    project: str | None = None
    part: levels.Level | None = None

    @property
    def conditions(self) -> tuple[sa.ColumnElement[bool], ...]:
        """That a row is one of the owner's.

        A part is one project's alone. The project is a condition, too, as
        the index begins with it.
        """
        if self.part is None:
            return ()
        return (
            _allocation.c.project_id == self.project,
            _allocation.c.project_rank == self.part,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What changes when a level comes free otherwise than by time.

    :param generation: the number of changes of the level space
    :param reserved: how many levels are reserved
    :param freed: the last level that came free: its number and its rank
    """

    generation: int
    reserved: int
    freed: tuple[int, int] | None


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What all levels of an owner are used for.

    :param counts: how many levels are in each state
    :param oldest: when the first of the levels began to cool that are not
        claimed, whether they have cooled or not; None when there are none
    """

    counts: dict[types.State, int]
    oldest: datetime.datetime | None


def taken(
    connection: sa.Connection, owner: Owner, low: int, high: int
) -> set[int]:
    """The ranks of an owner's levels in a range that have a row.

    :param low: the lowest rank of the range
    :param high: the highest
    """
    found = _ranks(connection, in_range(low, high), *owner.conditions)
    if owner.part is not None:
        # Reserved levels are no project's.
        found |= _ranks(connection, in_range(low, high), _IS_RESERVED)
    return found


def _ranks(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> set[int]:
    """The ranks of rows that meet conditions, read as one text.

    PyMySQL needs seven times as long for rows of their own.
    """
    number, text = connection.execute(
        sa.select(sa.func.count(), _RANKS_AS_TEXT).where(*conditions)
    ).one()
    found = {int(rank) for rank in text.split(',')} if text else set()
    if len(found) != number:
        # The server cuts long texts: group_concat_max_len of MySQL is 1,024
        # unless somebody sets it, that of MariaDB a million.
        found = set(
            connection.execute(
                sa.select(_RAW_RANK).where(*conditions)
            ).scalars()
        )
    return found


def cooled(
    connection: sa.Connection,
    owner: Owner,
    cutoff: datetime.datetime,
    *conditions: sa.ColumnElement[bool],
) -> list[int]:
    """The ranks of some of an owner's levels that have cooled.

    :param cutoff: see :func:`allocation_queries.cutoff`
    """
    return [
        *connection.execute(
            sa.select(_RAW_RANK)
            .where(
                *owner.conditions,
                *conditions,
                ~_allocation.c.is_outside,
                schema.is_cooled(cutoff),
            )
            .limit(_MOST_COOLED)
        ).scalars()
    ]


def in_range(low: int, high: int) -> sa.ColumnElement[bool]:
    """The rows of levels from one rank to another, both inclusive."""
    return _RAW_RANK.between(low, high)


def of_ranks(ranks: list[int]) -> sa.ColumnElement[bool]:
    """The rows of levels with these ranks."""
    return _RAW_RANK.in_(ranks)


def count_between(
    connection: sa.Connection, owner: Owner, low: int, high: int
) -> int:
    """How many of an owner's levels in a range have a row.

    Without those that are reserved, in the scheme ``project``.
    """
    return allocation_queries.count(
        connection, in_range(low, high), *owner.conditions
    )


def survey(
    connection: sa.Connection, owner: Owner, cutoff: datetime.datetime
) -> Survey:
    """Count an owner's levels: one pass over their rows.

    :param cutoff: see :func:`allocation_queries.cutoff`
    """
    *numbers, oldest = connection.execute(
        sa.select(
            *allocation_queries.sums(cutoff),
            sa.func.min(
                sa.case((schema.is_cooling(), _allocation.c.retired_at))
            ),
        ).where(~_allocation.c.is_outside, *owner.conditions)
    ).one()
    return Survey(allocation_queries.by_state(numbers), oldest)


def marks(connection: sa.Connection) -> Marks:
    """The marks of the store."""
    generation, reserved = connection.execute(
        sa.select(
            _space.c.generation,
            sa.select(sa.func.count())
            .select_from(_allocation)
            .where(_IS_RESERVED)
            .scalar_subquery(),
        )
    ).one()
    last = connection.execute(
        sa.select(
            _history.c.id,
            sa.type_coerce(_history.c.level_rank, sa.BigInteger()),
        )
        .order_by(_history.c.id.desc())
        .limit(1)
    ).first()
    freed = None if last is None else (last[0], last[1])
    return Marks(generation, reserved, freed)
