# SPDX-License-Identifier: Apache-2.0
"""What an allocator says when it refuses: the same with every driver.

Each function makes the error for its caller to raise.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

_MOST_NAMED = 10
"""Levels that one error names at most."""


def unknown_instance(instance: str) -> exception.UnknownInstance:
    """An instance holds no level."""
    return exception.UnknownInstance(
        f'no level is held for an instance {instance!r}'
    )


# Levels in use


def cannot_adopt(
    level: levels.Level, instance: str, holder: types.Allocation | None
) -> exception.LevelTaken:
    """An instance cannot have the level that it runs with.

    :param holder: who has the level; None when it is free by now
    """
    owner = 'another instance'
    if holder is not None:
        owner = holder.instance_uuid or f'nobody: {holder.note}'
    return exception.LevelTaken(
        f'level {level} of instance {instance} cannot be recorded: it is in '
        f'use by {owner}, or the instance has another one'
    )


def cannot_adopt_part(
    level: levels.Level, instance: str, part: levels.Level
) -> exception.LevelTaken:
    """An instance runs with a level that its project cannot have."""
    return exception.LevelTaken(
        f'level {level} of instance {instance} cannot be recorded: {part} is '
        f'not the part of its project'
    )


def cannot_reserve(holder: types.Allocation) -> exception.LevelTaken:
    """A level to reserve is an instance's."""
    return exception.LevelTaken(
        f'level {holder.level} cannot be reserved: it is {holder.state} for '
        f'instance {holder.instance_uuid}'
    )


def cannot_release(holder: types.Allocation) -> exception.LevelTaken:
    """A level to release is an instance's."""
    return exception.LevelTaken(
        f'level {holder.level} cannot be released: it is not reserved, but '
        f'{holder.state} for instance {holder.instance_uuid}'
    )


# The level space


def space_full(
    space: spaces.LevelSpace,
    stats: types.Stats,
    cooling: datetime.timedelta,
) -> exception.SpaceFull:
    """Every level of the space is in use.

    :param cooling: how long a level cools before it is free again
    """
    return exception.SpaceFull(
        f'the level space "{space}" is full: of its {stats.size} levels '
        f'{stats.held} are held, {stats.retired} are of deleted instances '
        f'that a host still claims, {stats.cooling} cool for '
        f'{cooling.total_seconds():g} s and {stats.reserved} are reserved; '
        f'delete instances, wait for cooling levels, or see with '
        f'"svirt-nova label list" who holds them'
    )


def project_full(
    space: spaces.LevelSpace, project: str
) -> exception.SpaceFull:
    """Every level with the part of a project is in use."""
    return exception.SpaceFull(
        f'project {project} uses all {space.per_owner} levels that the '
        f'level space "{space}" has for a project; delete instances, or '
        f'wait until the levels of deleted ones have cooled'
    )


def no_part_left(
    space: spaces.LevelSpace, project: str
) -> exception.SpaceFull:
    """Every part that a project could have is another project's."""
    return exception.SpaceFull(
        f'the level space "{space}" has no part left for project {project}: '
        f'{space.projects} projects have instances'
    )


def cannot_change_space(
    space: spaces.LevelSpace, against: Sequence[levels.Level]
) -> exception.InvalidSpace:
    """Levels in use stand against a new level space.

    :param against: these levels
    """
    named = ', '.join(map(str, against[:_MOST_NAMED]))
    more = len(against) - _MOST_NAMED
    return exception.InvalidSpace(
        f'the level space cannot become "{space}": instances could open '
        f'files of others, because these levels are in use: '
        f'{named}{f" and {more} more" if more > 0 else ""}. Choose other '
        f'categories, or see with "svirt-nova label show" who has them; '
        f'nothing was changed'
    )
