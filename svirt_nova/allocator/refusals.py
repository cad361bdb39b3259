# SPDX-License-Identifier: Apache-2.0
"""What an allocator says when it refuses: the same with every driver.

Each function makes the error for its caller to raise.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from collections.abc import Sequence

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

_MOST_NAMED = 10
"""Levels that one error names at most."""


def unknown_instance(instance: str) -> exception.UnknownInstance:
    """An instance holds no level."""
    return exception.UnknownInstance(
        f'no level is held for an instance {printing.quote(instance)}'
    )


def other_project(
    instance: str, held: types.Allocation, project: str
) -> exception.NotAllowed:
    """A call names another project of an instance than the store has."""
    return exception.NotAllowed(
        f'instance {instance} is of project {held.project_id} in the store of '
        f'levels, and was named as one of project {printing.name(project)}: '
        f'an instance stays in its project. Ask Nova ("openstack server '
        f'show") which one is right; if the store is wrong, an intruder may '
        f'have been first to name it: replace the instance, and look in the '
        f'log of the allocator for the host that claimed it'
    )


# Levels in use


def cannot_adopt_for(
    level: levels.Level, error: exception.NotAllowed
) -> exception.LevelTaken:
    """A level that a guest runs with cannot be recorded for its instance.

    Those who adopt many levels go on after this error.

    :param error: what stands against the instance, rather than the level
    """
    return exception.LevelTaken(f'level {level} cannot be recorded: {error}')


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
        f'use by {owner}, or the instance has another one',
        _for_hosts(level, instance),
    )


def cannot_adopt_former(
    level: levels.Level, instance: str, holder: str
) -> exception.LevelTaken:
    """A level to adopt is, or was, another instance's.

    :param holder: the UUID of that instance
    """
    return exception.LevelTaken(
        f'level {level} of instance {instance} cannot be recorded: instance '
        f'{holder} has it, or had it within [svirt] history_time. '
        f'Hard-reboot the instance to give it a level of its own',
        _for_hosts(level, instance),
    )


def _for_hosts(level: levels.Level, instance: str) -> str:
    """What a host is told of a level that its instance cannot have.

    Not whose it is: a host that was taken over could ask for every level,
    and would know all instances of the cloud.
    """
    return (
        f'level {level} of instance {instance} cannot be recorded: it is '
        f'reserved, or another instance has it, or had it within [svirt] '
        f'history_time, or the instance has another one. The log of the '
        f'allocator says which. Hard-reboot the instance to give it a level '
        f'of its own'
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


def check_room(
    held: types.Allocation, host: str, listed: Collection[str]
) -> None:
    """Check that a host may come to claim an instance.

    :param held: the instance's allocation
    :param listed: which of the hosts Nova lists, as the store remembers
    :raises LimitReached: too many hosts claim the instance
    """
    others = held.hosts
    if host in listed:
        others = held.hosts & frozenset(listed)
    if host in held.hosts or len(others) < types.MOST_CLAIMS:
        return
    names = ', '.join(map(printing.name, sorted(held.hosts)[:_MOST_NAMED]))
    raise exception.LimitReached(
        f'host {printing.name(host)} cannot claim instance '
        f'{held.instance_uuid}: {len(held.hosts)} hosts claim it, such as '
        f'{names}, and {types.MOST_CLAIMS} is the most. Drop those that have '
        f'nothing of it: see "svirt-nova claim list" and "svirt-nova claim '
        f'purge"'
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


# A store that may be old


def distrusted(trust: types.Trust) -> exception.StoreDistrusted:
    """The store gives no level to new instances."""
    awaited = ', '.join(trust.awaited[:_MOST_NAMED])
    more = len(trust.awaited) - _MOST_NAMED
    least = 'at least ' if len(trust.awaited) == types.MOST_AWAITED else ''
    minutes = types.LEAST_DISTRUST.total_seconds() / 60
    told = (
        f'these hosts have told what they run: {awaited}'
        if awaited
        else f'all hosts that ask within {minutes:.0f} minutes have told what '
        f'they run'
    )
    return exception.StoreDistrusted(
        f'the store of levels may not know all levels that instances run '
        f'with: {trust.reason}. New instances get no level before {told}'
        f'{f" and {least}{more} more" if more > 0 else ""}. Instances that '
        f'have their level are not affected. See "svirt-nova store show"'
    )


def too_many_awaited(
    host: str, known: int, named: int
) -> exception.LimitReached:
    """A host reports more hosts than a store that is old waits for."""
    return exception.LimitReached(
        f'the report of host {printing.name(host)} is not taken: the store '
        f'waits for {known} hosts, the report names {named} more, and '
        f'{types.MOST_REPORTED} is the most. Somebody may make up hosts: see '
        f'"svirt-nova store show"'
    )


def cannot_change_distrusted() -> exception.StoreDistrusted:
    """The space of a store that may be old must not be changed."""
    return exception.StoreDistrusted(
        'the level space is not changed as long as the store may not know '
        'all levels that instances run with: see "svirt-nova store show"'
    )


def doubt(host: str, instance: str, level: levels.Level) -> str:
    """Why a store is not trusted that does not know a level in use."""
    return (
        f'host {host} has instance {instance} at the level {level}, which the '
        f'store does not have for it'
    )
