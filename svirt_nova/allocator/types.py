# SPDX-License-Identifier: Apache-2.0
"""What an allocator answers: allocations, their states, and statistics.

A level is *held* by an instance from its first allocation on. Hosts *claim*
an instance while they may still have something of it; each claim has a number
(:mod:`svirt_nova.allocator.claim_numbers`). *Retired* means that
the instance is gone for good. A level that is retired and that no host claims
is *cooling*; after its cooling time it is free again. *Reserved* levels are
never allocated.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Mapping
from collections.abc import Sequence

from svirt_nova.mcs import levels

LEAP = 10_000_000
"""How far the generation of a store grows when it is trusted again.

It must be ahead of all that hosts have seen. A generation lasts ten seconds,
so that this is three years of a store that gives out levels all the time.

What a host says it has seen lets the generation grow by no more at a time: a
host that lies must not bring it to where all hosts seem to have seen as much.
"""

LEAST_DISTRUST = datetime.timedelta(minutes=5)
"""For how long reports of hosts do not end a distrust.

Each host asks once a minute whether the store is trusted, and is awaited from
then on. Whoever reports first must not end the distrust of an empty store
before the others have asked.
"""

MOST_REPORTED = 20_000
"""The most hosts that a store that is not trusted waits for.

Hosts report others, which may not exist.
"""

MOST_AWAITED = 1000
"""The most hosts that are named of those that have not told what they run."""

MERGED_CLAIMS = datetime.timedelta(minutes=10)
"""Claims of one host on one instance with shorter gaps count as one.

Otherwise a host that claims and drops all the time would fill the history.
"""

MOST_PERIODS = 200
"""The most claims that the history tells of for each instance: the newest."""

MOST_CLAIMS = 16
"""The most hosts that claim an instance at a time.

An instance has two or three, the source and the destinations of a move. If
hosts that Nova does not list claim as many, so many that it does may claim it
still, so that nobody keeps an instance from moving who makes up hosts.
"""


class State(enum.StrEnum):
    """What a level that is not free is used for."""

    HELD = 'held'
    RETIRED = 'retired'
    COOLING = 'cooling'
    RESERVED = 'reserved'


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceLevels:
    """The level that an instance runs with, and that of what it shares.

    :param own: the instance's level
    :param project: the level of what the instances of its project share,
        which ``own`` contains; None in the scheme ``instance``
    """

    own: levels.Level
    project: levels.Level | None


@dataclasses.dataclass(frozen=True, slots=True)
class Allocation:
    """A level that is not free.

    :param level: the level
    :param instance_uuid: whose it is; None for a reserved level
    :param project_id: the instance's project; None for a reserved level
    :param hosts: the hosts that claim the instance
    :param created_at: when it was given or reserved, in UTC; None in the
        answer of the call that gave it, which does not wait for the time
    :param retired_at: when the instance was found to be gone for good or,
        if that is later, when a host last dropped its claim; in UTC
    :param note: why it is reserved
    :param project_level: what all levels of the project have, in the
        scheme ``project``: the level of what its instances share
    :param generation: in the answer of the call that gave it, a generation
        that the store had by then
    :param claims: the number of each host's claim; empty in the answer of a
        service that does not number claims
    :param last_claim: the highest number that a claim on the instance has,
        or had; None where that is not known
    """

    level: levels.Level
    instance_uuid: str | None
    project_id: str | None
    hosts: frozenset[str]
    created_at: datetime.datetime | None = dataclasses.field(
        default=None, compare=False
    )
    retired_at: datetime.datetime | None = None
    note: str = ''
    project_level: levels.Level | None = None
    generation: int | None = dataclasses.field(default=None, compare=False)
    claims: Mapping[str, int] = dataclasses.field(
        default_factory=dict, compare=False
    )
    last_claim: int | None = dataclasses.field(default=None, compare=False)

    @property
    def levels(self) -> InstanceLevels:
        """What the instance runs with."""
        return InstanceLevels(self.level, self.project_level)

    @property
    def state(self) -> State:
        """What the level is doing."""
        if self.instance_uuid is None:
            return State.RESERVED
        if self.retired_at is None:
            return State.HELD
        return State.RETIRED if self.hosts else State.COOLING

    @property
    def holding(self) -> Holding | None:
        """The instance's entry in the history of the level.

        None for a reserved level, and in the answer of the call that gave
        the level, which does not know the time.
        """
        if (
            self.instance_uuid is None
            or self.project_id is None
            or self.created_at is None
        ):
            return None
        return Holding(
            instance_uuid=self.instance_uuid,
            project_id=self.project_id,
            since=self.created_at,
            until=None if self.hosts else self.retired_at,
            level=self.level,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ClaimPeriod:
    """From when to when a host claimed an instance.

    :param since: in UTC; None where that is not known, because a release
        made the claim that kept no times
    :param until: in UTC; None while the host claims the instance
    """

    host: str
    since: datetime.datetime | None
    until: datetime.datetime | None

    def overlaps(
        self, begin: datetime.datetime, end: datetime.datetime | None
    ) -> bool:
        """Whether some of it may lie between two moments.

        :param end: None for a time that has not ended
        """
        return (self.until is None or begin <= self.until) and (
            end is None or self.since is None or self.since <= end
        )

    def absorbs(self, since: datetime.datetime) -> bool:
        """Whether a claim that began then goes on with it."""
        return self.until is not None and since - self.until <= MERGED_CLAIMS


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """Who had a level, and when.

    :param since: when it was given, in UTC
    :param until: when the instance was gone for good and its last claim
        dropped, in UTC; None while it has the level
    :param level: None where the service is of a release that does not tell
    :param claims: the hosts that claimed the instance in this time, by when
        they did so; no more than the newest :data:`MOST_PERIODS`. A host that
        dropped its claim through a release that kept no times is missing
    """

    instance_uuid: str
    project_id: str
    since: datetime.datetime
    until: datetime.datetime | None
    level: levels.Level | None = dataclasses.field(default=None, compare=False)
    claims: Sequence[ClaimPeriod] = dataclasses.field(
        default=(), compare=False
    )

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that claimed the instance at some time of it."""
        return frozenset(each.host for each in self.claims)

    def hosts_at(
        self, begin: datetime.datetime, end: datetime.datetime
    ) -> list[str]:
        """The hosts that claimed the instance between two moments."""
        return sorted(
            {each.host for each in self.claims if each.overlaps(begin, end)}
        )

    def keeps_level(
        self, moment: datetime.datetime, cooling: datetime.timedelta
    ) -> bool:
        """Whether the level was held or cooling at a moment.

        :param cooling: how long a level cools before it is free again
        """
        return self.since <= moment and (
            self.until is None or self.until > moment - cooling
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Trust:
    """Whether a store may be older than what hosts have seen of it.

    :param generation: grows while levels are given out, and never shrinks
    :param distrusted_at: since when no new instance gets a level, in UTC;
        None for a store that is trusted
    :param reason: why it is not trusted
    :param awaited: the hosts that have not told what they run, sorted; no
        more than the first :data:`MOST_AWAITED`
    """

    generation: int
    distrusted_at: datetime.datetime | None = None
    reason: str = ''
    awaited: tuple[str, ...] = ()

    @property
    def is_trusted(self) -> bool:
        """Whether new instances get levels."""
        return self.distrusted_at is None


def with_most(counts: Mapping[str, int], most: int | None) -> dict[str, int]:
    """The names with the highest counts, and of equal ones the first.

    :param most: so many names at most; None for all
    """
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:most])


def first_holdings(
    found: Sequence[Holding], limit: int | None
) -> Sequence[Holding]:
    """The first of some holdings, and those that began with the last of them.

    Who reads on after the time of the last one misses none then.

    :param found: the oldest first
    :param limit: how many; None for all
    """
    if limit is None or len(found) <= limit:
        return found
    last = found[limit - 1].since
    return [each for each in found if each.since <= last]


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """Who uses the space, and how fast it fills.

    :param by_project: levels that are not free, by project
    :param by_host: instances that each host claims
    :param per_day: by how many levels a day the space fills; None as long
        as it is used for less than an hour
    :param full_at: when it is full at that rate, in UTC; None if never
    """

    by_project: Mapping[str, int]
    by_host: Mapping[str, int]
    per_day: float | None
    full_at: datetime.datetime | None


@dataclasses.dataclass(frozen=True, slots=True)
class Stats:
    """How full the level space is, in levels."""

    size: int
    held: int
    retired: int
    cooling: int
    reserved: int

    @classmethod
    def of(cls, size: int, counts: Mapping[State, int]) -> Stats:
        """Make them of the number of levels in each state.

        :param size: how many levels the space has
        :param counts: how many of them are in which state
        """
        return cls(
            size, **{state.value: counts.get(state, 0) for state in State}
        )

    @property
    def free(self) -> int:
        """Levels that an instance can still get now."""
        return (
            self.size - self.held - self.retired - self.cooling - self.reserved
        )
