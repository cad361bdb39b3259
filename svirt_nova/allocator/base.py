# SPDX-License-Identifier: Apache-2.0
"""The contract of an allocator, and how one is loaded.

:mod:`svirt_nova.allocator.types` defines the states of a level, and
:mod:`svirt_nova.allocator.contract` tests what every driver must do.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from oslo_config import cfg
from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exception

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

NAMESPACE = 'svirt_nova.allocator'
"""The stevedore namespace of allocator drivers."""


class Allocator(abc.ABC):
    """Gives out levels and knows who holds them.

    Every call may raise :class:`exception.StoreUnreachable` (try again
    later; whether a change was made is not known) and
    :class:`exception.StoreUnusable`. Every changing call is idempotent
    and one transaction: when its answer was lost, it can be repeated.

    A changing call raises ValueError for what is not the UUID of an
    instance, or not the name of a project or a host; see
    :mod:`svirt_nova.allocator.arguments`.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    @abc.abstractmethod
    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host.

        An instance that holds a level keeps it; one that had been retired
        and whose level is not free again yet gets the same one back.

        :raises SpaceFull: every level is in use or, in the scheme
            ``project``, every level that the project can have
        """

    @abc.abstractmethod
    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it.

        This is for guests that were started before svirt-nova, or whose
        level the store has lost. Adopting the same level again is no error.

        :raises NotInSpace: the level is not one of the space
        :raises LevelTaken: another instance has the level, or this one
            has another; or, in the scheme ``project``, the level has the
            part of another project, or the project's levels have another
            part
        """

    @abc.abstractmethod
    def get(self, instance_uuid: str) -> types.Allocation:
        """The level of an instance, also while it is retired or cools.

        :raises UnknownInstance: the instance has no level
        """

    @abc.abstractmethod
    def find(self, level: levels.Level) -> types.Allocation | None:
        """Who has a level; None when it is free.

        :raises NotInSpace: the level is free, and not one of the space
        """

    def is_held(self, level: levels.Level) -> bool:
        """Whether a level is in use, so that a guest may run with it.

        A level that cools is not: no host has anything of its instance.
        """
        try:
            found = self.find(level)
        except exception.NotInSpace:
            return False
        return found is not None and found.state is not types.State.COOLING

    @abc.abstractmethod
    def unclaim(self, instance_uuid: str, host: str) -> None:
        """Say that a host has nothing of an instance any more.

        If the instance is retired and no other host claims it, its level
        cools from then on.
        """

    @abc.abstractmethod
    def retire(self, instance_uuid: str) -> None:
        """Say that an instance is gone for good.

        Its level cools from then on, or from the moment when the last
        host drops its claim.
        """

    @abc.abstractmethod
    def give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim and retire in one transaction."""

    @abc.abstractmethod
    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Keep a level that is used elsewhere from being given out.

        Reserving a reserved level again is no error, and changes nothing.

        :raises NotInSpace: the level is free, and not one of the space
        :raises LevelTaken: the level is in use
        """

    @abc.abstractmethod
    def release(self, level: levels.Level) -> None:
        """Let a reserved level be given out again.

        Releasing a free level is no error.

        :raises NotInSpace: the level is free, and not one of the space
        :raises LevelTaken: the level is not reserved, but in use
        """

    @abc.abstractmethod
    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[types.State] | None = None,
        after: levels.Level | None = None,
        limit: int | None = None,
    ) -> list[types.Allocation]:
        """The levels that are not free, sorted by their rank.

        :param host: only those that this host claims
        :param project_id: only those of this project
        :param states: only those in one of these states
        :param after: only those ranked after this level
        :param limit: no more than the first so many
        :raises NotInSpace: ``after`` has too many categories for a rank
        """

    @abc.abstractmethod
    def space(self) -> spaces.LevelSpace:
        """The level space, as the store has it."""

    @abc.abstractmethod
    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have.

        No level is given out meanwhile. A change that takes long, or was
        broken off, can be asked for again.

        :raises InvalidSpace: levels in use stand against it, which the
            error names; the space stays what it was
        """

    @abc.abstractmethod
    def history(self, level: levels.Level) -> Sequence[types.Holding]:
        """Who has, and had, a level, oldest first.

        It goes as far back as ``[svirt] history_time``.

        :raises NotInSpace: the level has too many categories for a rank
        """

    @abc.abstractmethod
    def stats(self) -> types.Stats:
        """How full the space is."""

    @abc.abstractmethod
    def usage(self) -> types.Usage:
        """Who uses the space, and how fast it fills."""

    @abc.abstractmethod
    def tidy(self) -> None:
        """Free levels that have cooled, and forget old history.

        No other call depends on it; it keeps the store small.
        """


def load(conf: cfg.ConfigOpts, name: str | None = None) -> Allocator:
    """The allocator that ``[svirt] allocator`` names.

    :param name: another driver than that
    :raises InvalidOption: there is no such driver
    """
    name = name or conf.svirt.allocator
    try:
        manager: stevedore_driver.DriverManager[Allocator]
        manager = stevedore_driver.DriverManager(
            NAMESPACE, name, invoke_on_load=True, invoke_args=(conf,)
        )
    except stevedore_exception.NoMatches as error:
        raise exception.InvalidOption(
            f'allocator driver {name}: no driver of that name is '
            f'installed in the namespace {NAMESPACE}'
        ) from error
    allocator = manager.driver
    assert isinstance(allocator, Allocator)
    return allocator
