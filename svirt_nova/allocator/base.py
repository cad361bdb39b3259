# SPDX-License-Identifier: Apache-2.0
"""The contract of an allocator, and how one is loaded.

:mod:`svirt_nova.allocator.types` defines the states of a level, and
:mod:`svirt_nova.allocator.contract` tests what every driver must do.
"""

from __future__ import annotations

import abc
import datetime
from collections.abc import Collection
from collections.abc import Sequence

from oslo_config import cfg
from stevedore import driver as stevedore_driver
from stevedore import exception as stevedore_exception

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator import host_flows
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

    A call that makes or drops a claim can name the claim's number; see
    :mod:`svirt_nova.allocator.claim_numbers`. One that comes late, twice or
    out of order then changes nothing. Without a number, it cannot be told
    from a call that was made at that moment.

    A call raises ValueError for what is not the UUID of an instance, or not
    the name of a project or a host; see
    :mod:`svirt_nova.allocator.arguments`. Names are compared by their bytes.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf

    def enrolled_keys(self) -> enrolled_keys.EnrolledKeys:
        """The keys of hosts and of operators, beside the levels.

        The service needs them to believe who calls.

        :raises InvalidOption: this driver keeps none
        """
        raise exception.InvalidOption(
            f'the allocator driver {type(self).__name__} keeps no keys of '
            f'hosts: use the driver sql'
        )

    def host_flows(self) -> host_flows.HostFlows | None:
        """The counts of what hosts have and take; None if there are none.

        Without them, the service limits no host.
        """
        return None

    @abc.abstractmethod
    def acquire(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        seen: int | None = None,
        number: int | None = None,
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host.

        An instance that holds a level keeps it; one that had been retired
        and whose level is not free again yet gets the same one back.

        The host's claim has the number from then on. Where it has that
        number already, nothing changes.

        :param seen: the newest generation of the store that the host has
            seen; None for none. A store that is older is not trusted from
            then on
        :param number: of the claim; None lets the allocator choose one,
            which is in the answer
        :raises ClaimOutdated: there was a claim on the instance with this
            number, or a higher one, which is not the host's present claim
        :raises LimitReached: :data:`types.MOST_CLAIMS` hosts claim it
        :raises NotAllowed: the instance has a level, as one of another
            project; nothing was changed
        :raises StoreDistrusted: the instance has no level, and the store is
            not trusted
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
        number: int | None = None,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it.

        This is for guests that were started before svirt-nova, or whose
        level the store has lost. Adopting the same level again is no error.
        A level that cools is taken, also while the store is not trusted.

        :param number: of the claim, as in :meth:`acquire`
        :raises ClaimOutdated: as :meth:`acquire` does
        :raises NotInSpace: the level is not one of the space
        :raises LevelTaken: another instance has the level, or this one
            has another, or is of another project; or, in the scheme
            ``project``, the level has the part of another project, or the
            project's levels have another part
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
    def unclaim(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Say that a host has nothing of an instance any more.

        If the instance is retired and no other host claims it, its level
        cools from then on.

        :param number: the highest number of a claim that is dropped; a
            later claim of the host stays, and an earlier one that arrives
            afterwards is refused. None drops whatever the host claims
        """

    @abc.abstractmethod
    def retire(self, instance_uuid: str, number: int | None = None) -> None:
        """Say that an instance is gone for good.

        Its level cools from then on, or from the moment when the last
        host drops its claim.

        :param number: the highest number of a claim on the instance that
            the caller knows of: nothing changes if there was a later one.
            None retires in any case
        """

    @abc.abstractmethod
    def give_back(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Unclaim and retire in one transaction.

        :param number: of the claim, as in :meth:`unclaim`; where the host
            has no such claim, the instance is not retired either
        """

    @abc.abstractmethod
    def give_back_last(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> bool | None:
        """Unclaim, and retire if that was the only claim.

        It is one transaction: a host that comes to claim the instance is seen,
        or finds it retired and takes that back.

        :param number: of the claim, as in :meth:`unclaim`; where the host
            has no such claim, the instance is not retired
        :returns: whether the call has retired the instance; None where that
            is not told
        """

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

    def list_unclaimed(self) -> Sequence[types.Allocation]:
        """The levels that instances hold and no host claims.

        The service asks for them every few seconds: a driver with many
        levels should not read all of them for it.
        """
        held = self.list(states=frozenset([types.State.HELD]))
        return [each for each in held if not each.hosts]

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
        :raises StoreDistrusted: the store is not trusted
        """

    @abc.abstractmethod
    def history(
        self,
        level: levels.Level | None = None,
        begun_after: datetime.datetime | None = None,
        limit: int | None = None,
        instance_uuid: str | None = None,
        project_id: str | None = None,
        at: datetime.datetime | None = None,
    ) -> Sequence[types.Holding]:
        """Who had a level, or what an instance or project had, oldest first.

        :param begun_after: only what was given after this time
        :param limit: no more than the first so many, and those given at the
            same time as the last of them
        :param at: only levels that were held, or cooled, at this time. What
            ended before ``[svirt] history_time`` is forgotten
        :raises NotInSpace: the level has too many categories for a rank
        """

    @abc.abstractmethod
    def stats(self) -> types.Stats:
        """How full the space is."""

    @abc.abstractmethod
    def usage(self, most: int | None = None) -> types.Usage:
        """Who uses the space, and how fast it fills.

        :param most: no more than so many projects, and hosts: those with the
            most levels
        """

    @abc.abstractmethod
    def tidy(self) -> None:
        """Free levels that have cooled, and forget old history.

        No other call depends on it; it keeps the store small.
        """

    # A store that was restored from a backup has forgotten levels that
    # instances run with. While it is not trusted, instances that it knows
    # keep their levels and hosts adopt levels, but no new level is given out.

    @abc.abstractmethod
    def meet(self, host: str, seen: int) -> types.Trust:
        """Compare the store with what a host has seen of it.

        A store that is older is not trusted from then on. While it is not
        trusted, this host is one of those that must :meth:`report`.

        :param seen: the newest generation of the store that the host has
            seen; 0 for none
        """

    @abc.abstractmethod
    def doubt(
        self, host: str, instance_uuid: str, level: levels.Level
    ) -> None:
        """Distrust the store if it has another level for an instance.

        :param level: the level that a host has given the instance's guest
        """

    @abc.abstractmethod
    def report(self, host: str, hosts: Collection[str]) -> types.Trust:
        """Say that a host has adopted all levels that it has.

        When all hosts have said so that claimed something when the store
        was distrusted, that have met it since or that another one named, it
        is trusted again.

        :param hosts: all hosts that this one knows of
        """

    @abc.abstractmethod
    def distrust(self, reason: str) -> None:
        """Distrust the store, because an operator says so."""

    @abc.abstractmethod
    def trust(self) -> None:
        """Trust the store, because an operator says so."""

    @abc.abstractmethod
    def show_trust(self) -> types.Trust:
        """Whether the store is trusted, and who has not reported."""

    # What Nova says of instances counts only if it is the Nova of the hosts
    # that use the store.

    @abc.abstractmethod
    def show_cloud(self) -> clouds.KnownCloud:
        """The cloud that the store belongs to."""

    @abc.abstractmethod
    def meet_cloud(
        self,
        cloud: clouds.Cloud,
        strangers: Collection[str] = (),
        replaces: bool = False,
    ) -> clouds.KnownCloud:
        """Remember the cloud that the store belongs to.

        :param cloud: as Nova's API has shown it
        :param strangers: hosts that claim instances and that Nova does not
            list; they are remembered as such until it does
        :param replaces: whether all that was known before is forgotten,
            because an operator says so
        :raises OtherCloud: the store belongs to another one; nothing was
            changed
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
