# SPDX-License-Identifier: Apache-2.0
"""The allocator that keeps levels in dictionaries.

It is the example for those who write a driver, the fake of unit tests, and
the model that random walks compare other drivers with. It cannot be
configured: it has no entry point, and needs a store that only code can make.
What it knows is lost with its process, and the next one would give out the
levels of running instances a second time.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
from collections.abc import Collection
from collections.abc import Sequence

from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import clouds
from svirt_nova.allocator import forecast
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import refusals
from svirt_nova.allocator import space_change
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


class MemoryAllocator(base.Allocator):
    """Keeps levels in a store of dictionaries.

    :param store: what it shares with other allocators of the process
    """

    def __init__(
        self, conf: cfg.ConfigOpts, store: memory_store.MemoryStore
    ) -> None:
        super().__init__(conf)
        self._store = store
        self._cooling = datetime.timedelta(seconds=conf.svirt.cooling_time)
        self._kept = datetime.timedelta(seconds=conf.svirt.history_time)

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return self._store.locked(self._cooling)

    # Instances

    def acquire(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        seen: int | None = None,
        number: int | None = None,
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
        claim_numbers.check(number)
        with self._locked():
            self._store.meet(host, arguments.limit_generation(seen))
            held = self._store.find(instance)
            if held is not None:
                if held.project_id != project_id:
                    raise refusals.other_project(instance, held, project_id)
                return self._store.claim(held, host, number)
            trust = self._store.show_trust()
            if not trust.is_trusted:
                raise refusals.distrusted(trust)
            level = self._store.choose(project_id)
            if level is None:
                raise self._full(project_id)
            self._store.generation += 1
            held = self._store.allocate(level, instance, project_id)
            return dataclasses.replace(
                self._store.claim(held, host, number),
                generation=self._store.generation,
            )

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
        number: int | None = None,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
        claim_numbers.check(number)
        with self._locked():
            held = self._store.find(instance)
            if held is None:
                self._store.space.check(level)
                part = self._store.space.project_part(level)
                if part and not self._store.may_have(project_id, part):
                    raise refusals.cannot_adopt_part(level, instance, part)
            holder = self.find(level)
            if holder != held:
                raise refusals.cannot_adopt(level, instance, holder)
            if held is not None and held.project_id != project_id:
                raise refusals.cannot_adopt_for(
                    level, refusals.other_project(instance, held, project_id)
                )
            if held is None:
                held = self._store.allocate(level, instance, project_id)
            return self._store.claim(held, host, number)

    def _full(self, project: str) -> exception.SpaceFull:
        space = self._store.space
        if space.scheme is spaces.Scheme.PROJECT:
            return refusals.project_full(space, project)
        return refusals.space_full(space, self.stats(), self._cooling)

    def get(self, instance_uuid: str) -> types.Allocation:
        """The level of an instance."""
        found = None
        if uuidutils.is_uuid_like(instance_uuid):
            with self._locked():
                found = self._store.find(
                    arguments.canonical_uuid(instance_uuid)
                )
        if found is None:
            raise refusals.unknown_instance(instance_uuid)
        return found

    def unclaim(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Drop a host's claim; a retired level begins to cool anew."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        with self._locked():
            self._store.drop(instance, host, number)

    def retire(self, instance_uuid: str, number: int | None = None) -> None:
        """Let the level of an instance that is gone for good cool."""
        instance = arguments.canonical_uuid(instance_uuid)
        claim_numbers.check_dropped(number)
        highest = claim_numbers.highest_dropped(number)
        with self._locked():
            held = self._store.find(instance)
            if (
                held is not None
                and held.retired_at is None
                and (held.last_claim or 0) <= highest
            ):
                self._store.put(held, retired_at=self._store.now())

    def give_back(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Unclaim and retire, before another call sees either."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        with self._locked():
            if self._store.drop(instance, host, number) or number is None:
                self.retire(instance)

    def give_back_last(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> bool:
        """Give back, before another call sees whether it is the last."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        with self._locked():
            held = self._store.find(instance)
            is_last = held is not None and held.hosts == {host}
            if self._store.drop(instance, host, number) and is_last:
                self.retire(instance)
                return True
            return False

    # Levels

    def find(self, level: levels.Level) -> types.Allocation | None:
        """Who has a level; None when it is free."""
        with self._locked():
            found = self._store.allocations.get(level)
            if found is None:
                self._store.space.check(level)
            return found

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Keep a level that is used elsewhere from being given out."""
        arguments.check_text('note', note)
        with self._locked():
            found = self.find(level) or self._store.allocate(level, note=note)
            if found.state is not types.State.RESERVED:
                raise refusals.cannot_reserve(found)
            return found

    def release(self, level: levels.Level) -> None:
        """Let a reserved level be given out again."""
        with self._locked():
            found = self.find(level)
            if found is None:
                return
            if found.state is not types.State.RESERVED:
                raise refusals.cannot_release(found)
            del self._store.allocations[level]

    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[types.State] | None = None,
        after: levels.Level | None = None,
        limit: int | None = None,
    ) -> list[types.Allocation]:
        """The levels that are not free, sorted by their rank."""
        arguments.check_filters(host, project_id)
        last = -1 if after is None else ranking.rank(after.categories)
        with self._locked():
            by_rank = {
                ranking.rank(level.categories): found
                for level, found in self._store.allocations.items()
                if (host is None or host in found.hosts)
                and (project_id is None or found.project_id == project_id)
                and (states is None or found.state in states)
            }
        return [by_rank[n] for n in sorted(by_rank) if n > last][:limit]

    # The level space

    def space(self) -> spaces.LevelSpace:
        """The level space, as it is at this moment."""
        return self._store.space

    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have."""
        with self._locked():
            if not self._store.show_trust().is_trusted:
                raise refusals.cannot_change_distrusted()
            against = space_change.levels_against(
                space,
                (
                    (a.level, a.project_id, a.project_level)
                    for a in self.list()
                ),
            )
            if against:
                raise refusals.cannot_change_space(space, against)
            self._store.space = space

    def stats(self) -> types.Stats:
        """How full the space is."""
        with self._locked():
            states = [
                a.state for a in self.list() if a.level in self._store.space
            ]
            return types.Stats.of(
                self._store.space.size, collections.Counter(states)
            )

    def usage(self, most: int | None = None) -> types.Usage:
        """Who uses the space, and how fast it fills."""
        with self._locked():
            now, free = self._store.now(), self.stats().free
            held = [a for a in self.list() if a.instance_uuid is not None]
            present = [holding for a in held if (holding := a.holding)]
            past = self._store.past
        per_day = forecast.levels_per_day(
            now,
            min((each.since for each in present), default=None),
            lambda moment: sum(
                each.keeps_level(moment, self._cooling)
                for each in present + past
            ),
        )
        return types.Usage(
            by_project=types.with_most(
                collections.Counter(str(a.project_id) for a in held), most
            ),
            by_host=types.with_most(
                collections.Counter(host for a in held for host in a.hosts),
                most,
            ),
            per_day=per_day,
            full_at=forecast.full_at(now, free, per_day),
        )

    def history(
        self,
        level: levels.Level | None = None,
        begun_after: datetime.datetime | None = None,
        limit: int | None = None,
        instance_uuid: str | None = None,
        project_id: str | None = None,
        at: datetime.datetime | None = None,
    ) -> Sequence[types.Holding]:
        """Who has, and had, which level, oldest first."""
        instance = arguments.check_search(level, instance_uuid, project_id)
        with self._locked():
            present = [a.holding for a in self._store.allocations.values()]
            found = [
                self._store.with_claims(each)
                for each in (*self._store.past, *present)
                if each is not None
                and level in (None, each.level)
                and instance in (None, each.instance_uuid)
                and project_id in (None, each.project_id)
                and (begun_after is None or each.since > begun_after)
                and (at is None or each.keeps_level(at, self._cooling))
            ]
        found.sort(key=lambda each: each.since)
        return types.first_holdings(found, limit)

    def tidy(self) -> None:
        """Forget old history; cooled levels are free without it."""
        with self._locked():
            end = self._store.now() - self._kept
            self._store.forget(end)

    # Whether the store is trusted

    def meet(self, host: str, seen: int) -> types.Trust:
        """Compare the store with what a host has seen of it."""
        arguments.check_name('host', host)
        with self._locked():
            self._store.meet(host, arguments.limit_generation(seen))
            self._store.cloud = self._store.cloud.hear(host, self._store.now())
            if self._store.distrusted_at is not None:
                self._store.awaited.setdefault(host, False)
            return self._store.show_trust()

    def doubt(
        self, host: str, instance_uuid: str, level: levels.Level
    ) -> None:
        """Distrust the store, if it does not know a level in use."""
        instance = arguments.check_claim(instance_uuid, host)
        with self._locked():
            held = self._store.find(instance)
            if held is None or held.level != level:
                self._store.distrust(refusals.doubt(host, instance, level))

    def report(self, host: str, hosts: Collection[str]) -> types.Trust:
        """Note that a host has told what it runs."""
        for each in (host, *hosts):
            arguments.check_name('host', each)
        with self._locked():
            self._store.report(host, hosts)
            return self._store.show_trust()

    def distrust(self, reason: str) -> None:
        """Let no new instance get a level."""
        arguments.check_text('reason', reason, arguments.REASON_LENGTH)
        with self._locked():
            self._store.distrust(reason)

    def trust(self) -> None:
        """Let new instances get levels."""
        with self._locked():
            self._store.trust()

    def show_trust(self) -> types.Trust:
        """Whether the store is trusted."""
        with self._locked():
            return self._store.show_trust()

    # The cloud that the store belongs to

    def show_cloud(self) -> clouds.KnownCloud:
        """The cloud that the store belongs to."""
        with self._locked():
            return self._show_cloud()

    def _show_cloud(self) -> clouds.KnownCloud:
        return dataclasses.replace(
            self._store.cloud, asked_at=self._store.now()
        )

    def meet_cloud(
        self,
        cloud: clouds.Cloud,
        strangers: Collection[str] = (),
        replaces: bool = False,
    ) -> clouds.KnownCloud:
        """Remember the cloud that the store belongs to."""
        arguments.check_cloud(cloud, strangers)
        with self._locked():
            self._store.cloud = self._store.cloud.meet(
                cloud, strangers, self._store.now(), replaces=replaces
            )
            return self._show_cloud()
