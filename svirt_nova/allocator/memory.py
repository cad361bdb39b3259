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
import datetime
from collections.abc import Sequence

from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
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
        self, instance_uuid: str, project_id: str, host: str
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
        with self._locked():
            held = self._store.find(instance)
            if held is None:
                level = self._store.choose(project_id)
                if level is None:
                    raise self._full(project_id)
                held = self._store.allocate(level, instance, project_id)
            return self._store.put(
                held, hosts=held.hosts | {host}, retired_at=None
            )

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
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
            if held is None:
                self._store.allocate(level, instance, project_id)
            return self.acquire(instance, project_id, host)

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

    def unclaim(self, instance_uuid: str, host: str) -> None:
        """Drop a host's claim; a retired level begins to cool anew."""
        instance = arguments.check_claim(instance_uuid, host)
        with self._locked():
            held = self._store.find(instance)
            if held is not None and host in held.hosts:
                retired_at = held.retired_at and self._store.now()
                hosts = held.hosts - {host}
                self._store.put(held, hosts=hosts, retired_at=retired_at)

    def retire(self, instance_uuid: str) -> None:
        """Let the level of an instance that is gone for good cool."""
        instance = arguments.canonical_uuid(instance_uuid)
        with self._locked():
            held = self._store.find(instance)
            if held is not None and held.retired_at is None:
                self._store.put(held, retired_at=self._store.now())

    def give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim and retire, before another call sees either."""
        with self._locked():
            self.unclaim(instance_uuid, host)
            self.retire(instance_uuid)

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
        arguments.check_name('note', note, shortest=0)
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

    def usage(self) -> types.Usage:
        """Who uses the space, and how fast it fills."""
        with self._locked():
            now, free = self._store.now(), self.stats().free
            held = [a for a in self.list() if a.instance_uuid is not None]
            present = [holding for a in held if (holding := a.holding)]
            past = [holding for _, holding in self._store.past]
        per_day = forecast.levels_per_day(
            now,
            min((each.since for each in present), default=None),
            lambda moment: sum(
                each.keeps_level(moment, self._cooling)
                for each in present + past
            ),
        )
        return types.Usage(
            by_project=collections.Counter(str(a.project_id) for a in held),
            by_host=collections.Counter(
                host for a in held for host in a.hosts
            ),
            per_day=per_day,
            full_at=forecast.full_at(now, free, per_day),
        )

    def history(self, level: levels.Level) -> Sequence[types.Holding]:
        """Who has, and had, a level, oldest first."""
        ranking.check(level.categories)
        with self._locked():
            found = self._store.allocations.get(level)
            present = None if found is None else found.holding
            past = [holding for at, holding in self._store.past if at == level]
            return past if present is None else [*past, present]

    def tidy(self) -> None:
        """Forget old history; cooled levels are free without it."""
        with self._locked():
            end = self._store.now() - self._kept
            self._store.past = [
                (level, holding)
                for level, holding in self._store.past
                if holding.until is not None and holding.until >= end
            ]
