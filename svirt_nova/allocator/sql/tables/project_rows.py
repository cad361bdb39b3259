# SPDX-License-Identifier: Apache-2.0
"""The part that all levels of a project have, in the scheme ``project``.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator.sql.tables import open_inserts
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels

_allocation = schema.allocation
_project = schema.project

_INSERT = open_inserts.InsertWhileOpen(
    _project,
    project_id=sa.bindparam('project', type_=sa.String()),
    level_rank=sa.bindparam('part', type_=_project.c.level_rank.type),
    created_at=schema.utcnow(),
)
_UNUSED = ~(
    sa.select(_allocation.c.level_rank)
    .where(
        _allocation.c.project_id == _project.c.project_id,
        _allocation.c.project_rank.is_not(None),
    )
    .correlate(_project)
    .exists()
)


def insert(
    connection: sa.Connection,
    project: str,
    part: levels.Level,
    *,
    generation: int,
    seen: int | None = None,
) -> None:
    """Give a project the part that its levels have.

    :param generation: of the level space that the part is from
    :param seen: see :func:`allocation_rows.insert`
    :raises errors.SpaceChanged: the store has another space, or is about to,
        or gives out no level
    """
    _INSERT.run(connection, generation, seen, project=project, part=part)


def find(connection: sa.Connection, project: str) -> levels.Level | None:
    """The part of a project; None as long as it has none."""
    return connection.execute(
        sa.select(_project.c.level_rank).where(
            _project.c.project_id == project
        )
    ).scalar_one_or_none()


def parts(connection: sa.Connection) -> Sequence[levels.Level]:
    """The parts of all projects."""
    return connection.execute(sa.select(_project.c.level_rank)).scalars().all()


def raw_ranks(connection: sa.Connection) -> Sequence[int]:
    """The ranks of the parts of all projects, as plain numbers."""
    return (
        connection.execute(
            sa.select(sa.type_coerce(_project.c.level_rank, sa.BigInteger()))
        )
        .scalars()
        .all()
    )


def unused(connection: sa.Connection, limit: int) -> Sequence[levels.Level]:
    """The parts of projects that have no level, oldest first.

    :param limit: how many at most
    """
    return (
        connection.execute(
            sa.select(_project.c.level_rank)
            .where(_UNUSED)
            .order_by(_project.c.created_at)
            .limit(limit)
        )
        .scalars()
        .all()
    )


def free(connection: sa.Connection, part: levels.Level) -> None:
    """Take a part from its project, if that still has no level."""
    connection.execute(
        sa.delete(_project).where(_project.c.level_rank == part, _UNUSED)
    )
