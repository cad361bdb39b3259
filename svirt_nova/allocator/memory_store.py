# SPDX-License-Identifier: Apache-2.0
"""A store of levels in dictionaries, and how a level is chosen in it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import random
import threading
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from typing import Any

from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import clouds
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces


def _utcnow() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass
class MemoryStore:
    """What several allocators share, as processes share a database.

    :param space: the level space
    :param now: the clock, in UTC
    :param chance: chooses levels; one with a seed repeats its choices
    """

    space: spaces.LevelSpace
    now: Callable[[], datetime.datetime] = _utcnow
    chance: random.Random = dataclasses.field(default_factory=random.Random)
    allocations: dict[levels.Level, types.Allocation] = dataclasses.field(
        default_factory=dict
    )
    """The levels that are not free."""
    past: list[types.Holding] = dataclasses.field(default_factory=list)
    """Who had the levels that have come free, oldest first."""
    claimed_at: dict[tuple[str, str], datetime.datetime] = dataclasses.field(
        default_factory=dict
    )
    """Since when a host claims an instance, by both."""
    past_claims: list[tuple[str, types.ClaimPeriod]] = dataclasses.field(
        default_factory=list
    )
    """The claims on instances that were dropped, oldest first."""
    generation: int = 1
    distrusted_at: datetime.datetime | None = None
    distrust_reason: str = ''
    awaited: dict[str, bool] = dataclasses.field(default_factory=dict)
    """The hosts that must report, and whether they have."""
    cloud: clouds.KnownCloud = dataclasses.field(
        default_factory=clouds.KnownCloud
    )
    """The cloud that the store belongs to."""
    _lock: contextlib.AbstractContextManager[bool] = dataclasses.field(
        default_factory=threading.RLock
    )

    @contextlib.contextmanager
    def locked(self, cooling: datetime.timedelta) -> Iterator[None]:
        """Keep other threads out, and begin with freeing what has cooled.

        No timer frees levels: nobody can see that one came free before the
        next call.

        :param cooling: how long a level cools before it is free again
        """
        with self._lock:
            now = self.now()
            for level, found in [*self.allocations.items()]:
                past = found.holding
                if past and not past.keeps_level(now, cooling):
                    del self.allocations[level]
                    self.past.append(past)
            yield

    def find(self, instance: str) -> types.Allocation | None:
        """The allocation of an instance."""
        found = self.allocations.values()
        return next((a for a in found if a.instance_uuid == instance), None)

    def put(
        self, allocation: types.Allocation, **changes: Any
    ) -> types.Allocation:
        """Store an allocation, with changes to it."""
        changed = dataclasses.replace(allocation, **changes)
        self.allocations[changed.level] = changed
        return changed

    def allocate(
        self,
        level: levels.Level,
        instance: str | None = None,
        project: str | None = None,
        note: str = '',
    ) -> types.Allocation:
        """Give a free level to an instance, or reserve it."""
        part = None if project is None else self.space.project_part(level)
        return self.put(
            types.Allocation(
                level=level,
                instance_uuid=instance,
                project_id=project,
                hosts=frozenset(),
                created_at=self.now(),
                note=note,
                project_level=part,
            )
        )

    # Claims

    def claim(
        self, held: types.Allocation, host: str, number: int | None
    ) -> types.Allocation:
        """Claim an instance for a host, and take back that it is gone.

        :param number: of the claim; None lets it be chosen
        :raises ClaimOutdated: see :meth:`base.Allocator.acquire`
        :raises LimitReached: see :meth:`base.Allocator.acquire`
        """
        if number is not None and held.claims.get(host) == number:
            return held
        refusals.check_room(held, host, self.cloud.listed)
        number = claim_numbers.of_claim(
            number, held.last_claim or 0, str(held.instance_uuid)
        )
        key = str(held.instance_uuid), host
        self.claimed_at.setdefault(key, self.now())
        return self.put(
            held,
            hosts=held.hosts | {host},
            claims={**held.claims, host: number},
            last_claim=number,
            retired_at=None,
        )

    def drop(self, instance: str, host: str, number: int | None) -> bool:
        """Drop a host's claim; a retired level begins to cool anew.

        :param number: see :meth:`base.Allocator.unclaim`
        :returns: whether the host had such a claim
        """
        held = self.find(instance)
        if held is None:
            return False
        highest = claim_numbers.highest_dropped(number)
        # A claim that comes after its drop is refused.
        latest = max(held.last_claim or 0, claim_numbers.passed(number))
        if host not in held.hosts or held.claims[host] > highest:
            self.put(held, last_claim=latest)
            return False
        self._keep_claim(instance, host)
        self.put(
            held,
            hosts=held.hosts - {host},
            claims={h: n for h, n in held.claims.items() if h != host},
            last_claim=latest,
            retired_at=held.retired_at and self.now(),
        )
        return True

    def _keep_claim(self, instance: str, host: str) -> None:
        """Let the history know that a claim was dropped."""
        since = self.claimed_at.pop((instance, host))
        for index, (uuid, past) in enumerate(self.past_claims):
            if uuid == instance and past.host == host and past.absorbs(since):
                del self.past_claims[index]
                since = past.since or since
                break
        period = types.ClaimPeriod(host, since, self.now())
        self.past_claims.append((instance, period))

    def forget(self, end: datetime.datetime) -> None:
        """Forget what ended before a moment."""
        self.past = [p for p in self.past if p.until and p.until >= end]
        self.past_claims = [
            (uuid, past)
            for uuid, past in self.past_claims
            if past.until and past.until >= end
        ]

    def with_claims(self, held: types.Holding) -> types.Holding:
        """A holding, with the hosts that claimed its instance."""
        uuid = held.instance_uuid
        periods = [each for of, each in self.past_claims if of == uuid] + [
            types.ClaimPeriod(host, since, None)
            for (of, host), since in self.claimed_at.items()
            if of == uuid
        ]
        found = [
            each
            for each in periods[-types.MOST_PERIODS :]
            if each.overlaps(held.since, held.until)
        ]
        found.sort(key=lambda each: (each.since or held.since, each.host))
        return dataclasses.replace(held, claims=tuple(found))

    # Whether it is trusted

    def meet(self, host: str, seen: int) -> None:
        """Distrust the store if a host has seen a later generation."""
        if seen > self.generation:
            self.distrust(
                f'host {host} has seen its generation {seen}, and it has the '
                f'generation {self.generation}'
            )
            self.generation = min(seen, self.generation + types.LEAP)

    def distrust(self, reason: str) -> None:
        """Give out no level until all hosts have reported."""
        if self.distrusted_at is None:
            self.distrusted_at = self.now()
            self.distrust_reason = reason
            self.awaited = dict.fromkeys(
                (h for a in self.allocations.values() for h in a.hosts), False
            )

    def report(self, host: str, hosts: Collection[str]) -> None:
        """Note that a host has told what it runs."""
        if self.distrusted_at is None:
            return
        named = {*hosts} - self.awaited.keys()
        known = len(self.awaited)
        if named and known + len(named) > types.MOST_REPORTED:
            raise refusals.too_many_awaited(host, known, len(named))
        self.awaited |= dict.fromkeys(named, False) | {host: True}
        lasted = self.now() - self.distrusted_at
        if lasted >= types.LEAST_DISTRUST and all(self.awaited.values()):
            self.trust()

    def trust(self) -> None:
        """Give out levels again."""
        if self.distrusted_at is not None:
            self.distrusted_at = None
            self.generation += types.LEAP

    def show_trust(self) -> types.Trust:
        """Whether it is trusted, and who has not reported."""
        if self.distrusted_at is None:
            return types.Trust(self.generation)
        return types.Trust(
            self.generation,
            self.distrusted_at,
            self.distrust_reason,
            self._first_awaited(),
        )

    def _first_awaited(self) -> tuple[str, ...]:
        """Those that claim something before others, if there are many."""
        claimants = {h for a in self.allocations.values() for h in a.hosts}
        ordered = sorted(
            (host for host, told in self.awaited.items() if not told),
            key=lambda host: (host not in claimants, host),
        )
        return tuple(sorted(ordered[: types.MOST_AWAITED]))

    def choose(self, project: str) -> levels.Level | None:
        """A random free level for a new instance of a project.

        :returns: None when all levels that the project can have are taken
        :raises SpaceFull: the project is new, and no part is left for it
        """
        part = frozenset[int]()
        if self.space.scheme is spaces.Scheme.PROJECT:
            part = self._choose_part(project)
        taken = {
            level.categories - part
            for level in self.allocations
            if level in self.space and part <= level.categories
        }
        own = self._draw(self.space.categories, self.space.per_level, taken)
        return None if own is None else levels.Level(part | own)

    def _choose_part(self, project: str) -> frozenset[int]:
        parts = self._parts()
        if project in parts:
            return parts[project].categories
        part = self._draw(
            self.space.project_categories,
            self.space.per_project,
            {taken.categories for taken in parts.values()},
        )
        if part is None:
            raise refusals.no_part_left(self.space, project)
        return part

    def _draw(
        self,
        categories: frozenset[int],
        number: int,
        taken: Collection[frozenset[int]],
    ) -> frozenset[int] | None:
        """A random set of so many categories; None when all are taken."""
        if len(taken) == math.comb(len(categories), number):
            return None
        while True:
            sample = self.chance.sample(sorted(categories), number)
            if (drawn := frozenset(sample)) not in taken:
                return drawn

    def may_have(self, project: str, part: levels.Level) -> bool:
        """Whether a part is a project's, or neither has another."""
        return all(
            (owner == project) == (owned == part)
            for owner, owned in self._parts().items()
        )

    def _parts(self) -> dict[str, levels.Level]:
        """The part of each project that has levels."""
        return {
            str(found.project_id): found.project_level
            for found in self.allocations.values()
            if found.project_level is not None
        }
