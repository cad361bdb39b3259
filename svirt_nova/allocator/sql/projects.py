# SPDX-License-Identifier: Apache-2.0
"""The part that all levels of a project have, in the store's rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator.sql import errors
from svirt_nova.allocator.sql import schema

_allocation = schema.allocation
_project = schema.project

_INSERT = (
    sa.insert(_project)
    .from_select(
        ['project_id', 'level_rank', 'created_at'],
        sa.select(
            sa.bindparam('project', type_=sa.String()),
            sa.bindparam('rank', type_=_project.c.level_rank.type),
            schema.utcnow(),
        ).where(schema.is_open),
    )
    .returning(_project.c.level_rank)
)


def insert(
    connection: sa.Connection, project: str, rank: int, *, generation: int
) -> None:
    """Give a project the part that its levels have.

    :param generation: of the level space that the part is from
    :raises errors.SpaceChanged: the store has another one, or is about to
    """
    given = connection.execute(
        _INSERT, {'project': project, 'rank': rank, 'generation': generation}
    ).scalar_one_or_none()
    if given is None:
        raise errors.SpaceChanged


def rank(connection: sa.Connection, project: str) -> int | None:
    """The part of a project; None as long as it has none."""
    return connection.execute(
        sa.select(_project.c.level_rank).where(
            _project.c.project_id == project
        )
    ).scalar_one_or_none()


def ranks(connection: sa.Connection) -> Sequence[int]:
    """The parts of all projects."""
    return connection.execute(sa.select(_project.c.level_rank)).scalars().all()


def free(connection: sa.Connection, limit: int) -> int:
    """Take their parts from projects that have no level, oldest first.

    :param limit: from no more than these
    :returns: from how many
    """
    unused = ~(
        sa.select(_allocation.c.level_rank)
        .where(
            _allocation.c.project_id == _project.c.project_id,
            _allocation.c.project_rank.is_not(None),
        )
        .correlate(_project)
        .exists()
    )
    chosen = (
        connection.execute(
            sa.select(_project.c.level_rank)
            .where(unused)
            .order_by(_project.c.created_at)
            .limit(limit)
        )
        .scalars()
        .all()
    )
    return connection.execute(
        sa.delete(_project).where(_project.c.level_rank.in_(chosen))
    ).rowcount
