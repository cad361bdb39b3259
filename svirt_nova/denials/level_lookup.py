# SPDX-License-Identifier: Apache-2.0
"""Asks an allocator who has a level, and who had it."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.denials import holders
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces


def look_up(
    allocator: base.Allocator,
    level: levels.Level,
    space: spaces.LevelSpace | None = None,
) -> holders.LevelRecord:
    """Ask the store for a level: who has it, and who had it.

    :param space: to know of the parts of projects
    :raises NotInSpace: nobody can ever have had the level
    """
    problem: exception.NotInSpace | None = None
    present: types.Allocation | None = None
    # First the row: if the level comes free in between, it is in both.
    try:
        present = allocator.find(level)
    except exception.NotInSpace as error:
        problem = error
    try:
        history = allocator.history(level)
    except exception.NotInSpace:
        history = ()
    is_part = space is not None and space.has_part(level)
    if problem is not None and not history and not is_part:
        raise problem
    return holders.LevelRecord.of(
        level,
        present,
        history,
        space.project_part(level) if space and level in space else None,
        is_part,
    )
