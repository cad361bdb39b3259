# SPDX-License-Identifier: Apache-2.0
"""The level space, in the store's one row for it.

Each function takes a connection inside a transaction; none commits.

The space is changed in two transactions. The first closes it and begins a
new generation: from then on no level is given out. When every transaction
that may still have seen the former generation is over, the second checks
what is held against the new space and opens it, with a generation of its
own, if nobody else has closed it since.
"""

from __future__ import annotations

import dataclasses

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import space_change
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.tables import project_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import trust_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

_BATCH = 500

_allocation = schema.allocation
_project = schema.project
_space = schema.level_space


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The space as a store has it.

    :param generation: the number of its changes
    :param is_open: whether levels are given out
    :param distrust: why the store is not trusted; None when it is
    """

    space: spaces.LevelSpace
    generation: int
    is_open: bool
    distrust: str | None = None


def create(connection: sa.Connection, space: spaces.LevelSpace) -> None:
    """Settle the space of a new store."""
    connection.execute(
        sa.insert(_space).values(
            id=1,
            generation=1,
            oldest_release=schema.OLDEST_RELEASE,
            **_columns(space),
        )
    )


def exists(connection: sa.Connection) -> bool:
    """Whether the store has its space already."""
    return connection.execute(sa.select(_space.c.id)).first() is not None


def oldest_release(connection: sa.Connection) -> str:
    """The oldest revision whose code may use the store."""
    oldest: str
    oldest = connection.execute(
        sa.select(_space.c.oldest_release)
    ).scalar_one()
    return oldest


def raise_oldest_release(connection: sa.Connection) -> None:
    """Exclude code that is too old for this release's schema."""
    connection.execute(
        sa.update(_space)
        .where(_space.c.oldest_release < schema.OLDEST_RELEASE)
        .values(oldest_release=schema.OLDEST_RELEASE)
    )


def read(connection: sa.Connection, store: str) -> Stored:
    """The space of a store.

    :param store: the store's name for people
    :raises StoreUnusable: it has none, or one that makes no sense
    """
    row = connection.execute(sa.select(_space)).first()
    if row is None:
        raise exception.StoreUnusable(
            f'the store {store} has no level space; run "svirt-nova db sync"'
        )
    try:
        space = spaces.LevelSpace.parse(
            row.categories,
            row.per_level,
            '',
            row.project_categories,
            row.per_project,
        )
    except exception.InvalidSpace as error:
        raise exception.StoreUnusable(
            f'the store {store} has an impossible level space: {error}; '
            f'restore it from a backup'
        ) from error
    distrust = trust_rows.reason(connection)
    return Stored(space, row.generation, row.closed_at is None, distrust)


def close(connection: sa.Connection) -> int:
    """Let no level be given out.

    :returns: the generation that begins
    """
    connection.execute(
        sa.update(_space).values(
            generation=_space.c.generation + 1, closed_at=schema.utcnow()
        )
    )
    generation: int
    generation = connection.execute(
        sa.select(_space.c.generation)
    ).scalar_one()
    return generation


def change(
    connection: sa.Connection, space: spaces.LevelSpace, generation: int
) -> list[levels.Level]:
    """Change a closed space and open it.

    :param generation: what :func:`close` answered
    :returns: the levels that stand against it, of allocations and
        projects; if there are any, the former space is opened again
    :raises errors.SpaceChanged: somebody else has closed it since
    """
    row = connection.execute(sa.select(_space).with_for_update()).one()
    if (
        row.generation != generation
        or row.closed_at is None
        or trust_rows.reason(connection) is not None
    ):
        wanted = _columns(space)
        if (
            row.generation == generation + 1
            and wanted.items() <= dict(row._mapping).items()
        ):
            # It was changed by a commit whose answer was lost.
            return []
        raise errors.SpaceChanged
    rows = connection.execute(
        sa.select(
            _allocation.c.level_rank,
            _allocation.c.project_id,
            _allocation.c.project_rank,
            _allocation.c.is_outside,
        )
    ).all()
    against = space_change.levels_against(
        space, ((level, project, part) for level, project, part, _ in rows)
    )
    if against:
        _open(connection)
        return against
    changed: dict[bool, list[levels.Level]] = {False: [], True: []}
    for level, _, _, was_outside in rows:
        is_outside = level not in space
        if is_outside != was_outside:
            changed[is_outside].append(level)
    leaving = [
        part
        for part in project_rows.parts(connection)
        if not space.has_part(part)
    ]
    connection.execute(
        sa.delete(_project).where(_project.c.level_rank.in_(leaving))
    )
    for is_outside, chosen in changed.items():
        for start in range(0, len(chosen), _BATCH):
            connection.execute(
                sa.update(_allocation)
                .where(
                    _allocation.c.level_rank.in_(
                        chosen[start : start + _BATCH]
                    )
                )
                .values(is_outside=is_outside)
            )
    _open(connection, **_columns(space))
    return []


def _open(connection: sa.Connection, **columns: object) -> None:
    connection.execute(
        sa.update(_space).values(
            generation=_space.c.generation + 1, closed_at=None, **columns
        )
    )


def _columns(space: spaces.LevelSpace) -> dict[str, object]:
    return {
        'categories': levels.format_categories(space.categories),
        'per_level': space.per_level,
        'project_categories': levels.format_categories(
            space.project_categories
        ),
        'per_project': space.per_project,
    }
