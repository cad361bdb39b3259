# SPDX-License-Identifier: Apache-2.0
"""Optimistic allocation: how an instance comes to its level.

A new instance takes a random candidate: one INSERT, with no lock and no read
before it. The store's keys say whether the candidate was free. After two
collisions, and while many candidates collide, some candidates are checked
against the store first, and one that is free is taken.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import fill_warnings
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql import project_parts
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces

FREE_LIMIT = 5_000
"""Levels freed in one transaction: it bounds the wait of its caller."""

_BLIND_TRIES = 2
_CHECKED = 64
"""Candidates that are checked at once."""


class OptimisticAllocation:
    """Allocates the levels of a store.

    :param store: where allocations are kept
    :param space: the level space of the store
    :param cooling: how long a level cools before it is free again
    :param thresholds: fills of the space to warn of, in per cent
    """

    def __init__(
        self,
        store: stores.Store,
        space: present_space.PresentSpace,
        *,
        cooling: datetime.timedelta,
        thresholds: Sequence[int],
    ) -> None:
        self.cooling = cooling
        self._store = store
        self._space = space
        self._parts = project_parts.ProjectParts(
            store, lambda: self.free_cooled(limit=FREE_LIMIT)
        )
        self._warnings = fill_warnings.FillWarnings(thresholds)

    # Instances

    def acquire(
        self, instance: str, project: str, host: str
    ) -> types.Allocation:
        """See :meth:`base.Allocator.acquire`; the arguments are checked."""
        deadline = time.monotonic() + self._store.timeout
        collisions = 0
        while True:
            cache = self._space.cache()
            try:
                found = self._try(
                    cache, collisions, instance, project, host, deadline
                )
            except errors.SpaceChanged:
                self._space.forget()
                found = self._claim_known(instance, host)
                if found is None:
                    self._space.wait_until_open(deadline)
            except exception.SpaceFull:
                # An instance that has a level keeps it in a full space, too.
                found = self._claim_known(instance, host)
                if found is None:
                    if self._space.is_present(cache):
                        raise
                    # The space that is full is not the present one.
                    self._space.forget()
            if found is not None:
                return found
            collisions += 1
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the store {self._store} gave no level in '
                    f'{self._store.timeout:g} s and {collisions} tries: too '
                    f'many take the last ones at once; try again'
                )

    def _try(
        self,
        cache: candidates.CandidateCache,
        collisions: int,
        instance: str,
        project: str,
        host: str,
        deadline: float,
    ) -> types.Allocation | None:
        """Take a candidate, or claim the level that the instance has.

        :param collisions: how many candidates of this call were taken
        :returns: None after another collision
        :raises errors.SpaceChanged: the candidates are of a former space
        :raises SpaceFull: every level is in use
        """
        part = self._parts.acquire(cache, project, deadline)
        pool = cache.of_part(part)
        if pool.should_check_first or collisions >= _BLIND_TRIES:
            level = self._find_free(cache, part)
        else:
            level = cache.pick(part)
        is_taken = False
        if level is not None:
            try:
                taken = self._insert(
                    cache, level, part, instance, project, host
                )
            except errors.Conflict as conflict:
                is_taken = conflict.is_of_level
            else:
                pool.succeed()
                self._warnings.check(
                    cache.space,
                    pool.fill,
                    None if part is None else project,
                )
                return taken
        # Where the level's key refused the row, the next try shows whether
        # the instance has a level.
        if not is_taken:
            known = self._claim_known(instance, host)
            if known is not None:
                if level is not None and level != known.level:
                    cache.release(part, level)
                return known
            # The project may have lost its part.
            cache.project_parts.pop(project, None)
        if level is None or pool.collide():
            self._refresh(cache, part, project)
        return None

    def _find_free(
        self, cache: candidates.CandidateCache, part: levels.Level | None
    ) -> levels.Level | None:
        """Check some candidates; one of them that is free.

        :returns: None when the space looks full
        """
        picked = cache.sample(part, _CHECKED)
        taken = self._store.read(
            lambda c: allocation_queries.taken_among(c, picked)
        )
        free = [level for level in picked if level not in taken]
        if picked:
            cache.of_part(part).failure_rate = len(taken) / len({*picked})
        for level in free[1:]:
            cache.release(part, level)
        return free[0] if free else None

    def _insert(
        self,
        cache: candidates.CandidateCache,
        level: levels.Level,
        part: levels.Level | None,
        instance: str,
        project: str,
        host: str,
    ) -> types.Allocation:
        """Allocate a level to a new instance.

        :raises errors.Conflict: the level is taken or the instance not new
        :raises errors.SpaceChanged: the candidates are of a former space
        """
        self._store.write(
            lambda c: allocation_rows.insert(
                c,
                level,
                generation=cache.generation,
                uuid=instance,
                project=project,
                project_part=part,
                host=host,
            )
        )
        return types.Allocation(
            level=level,
            instance_uuid=instance,
            project_id=project,
            hosts=frozenset((host,)),
            project_level=part,
        )

    def _claim_known(
        self, instance: str, host: str
    ) -> types.Allocation | None:
        """Hold and claim the level that an instance has, if it has one."""

        def work(connection: sa.Connection) -> types.Allocation | None:
            held = allocation_queries.find_instance(connection, instance)
            if held is None or (
                host in held.hosts and held.retired_at is None
            ):
                # A repeated call writes nothing and does not wait for the
                # disk.
                return held
            # This locks the row, so that nobody else changes it.
            allocation_rows.hold(connection, instance)
            held = allocation_queries.find_instance(connection, instance)
            if held is not None and host not in held.hosts:
                allocation_rows.claim(connection, instance, host)
                held = allocation_queries.find_instance(connection, instance)
            return held

        try:
            return self._store.write(work)
        except errors.Conflict:
            # The level was freed, or claimed for the same host, since it
            # was read.
            return None

    def adopt(
        self, instance: str, project: str, host: str, level: levels.Level
    ) -> types.Allocation | None:
        """Take a certain level for an instance that has none.

        :returns: None when it is taken or the instance is not new
        :raises NotInSpace: the level is not one of the space
        :raises LevelTaken: the level is not one of the project's
        """

        def insert(
            cache: candidates.CandidateCache,
        ) -> types.Allocation | None:
            cache.space.check(level)
            part = self._check_part(cache, instance, project, level)
            for condition in (
                allocation_queries.of_level(level),
                allocation_queries.of_instance(instance),
            ):
                self.free_cooled(condition, limit=1)
            try:
                return self._insert(
                    cache, level, part, instance, project, host
                )
            except errors.Conflict:
                return None

        return self._space.run(insert)

    def _check_part(
        self,
        cache: candidates.CandidateCache,
        instance: str,
        project: str,
        level: levels.Level,
    ) -> levels.Level | None:
        """Check that a level has the part of its project.

        :returns: the part; None in the scheme ``instance``
        :raises LevelTaken: the project has another part
        """
        part = cache.space.project_part(level)
        if part is None:
            return None
        if not self._parts.adopt(cache, project, part):
            # Levels that have cooled may stand in the way.
            self.free_cooled(
                sa.or_(
                    allocation_queries.of_part(part),
                    allocation_queries.of_project(project),
                ),
                limit=FREE_LIMIT,
            )
            if not self._parts.adopt(cache, project, part):
                raise refusals.cannot_adopt_part(level, instance, part)
        return part

    # Free levels

    def free_cooled(
        self, *conditions: sa.ColumnElement[bool], limit: int
    ) -> int:
        """Free levels that have cooled; how many.

        :param conditions: only rows that meet these
        :param limit: how many at most
        """

        def work(connection: sa.Connection) -> int:
            cutoff = allocation_queries.cutoff(connection, self.cooling)
            return allocation_rows.free(
                connection, cutoff, *conditions, limit=limit
            )

        while True:
            try:
                return self._store.write(work)
            except errors.Conflict:
                # One of the instances has just been claimed again.
                if limit == 1:
                    return 0
                limit = max(1, limit // 10)

    def warn_of_fill(self, stats: types.Stats) -> None:
        """Log a warning if the space has passed a threshold."""
        self._warnings.check(
            self._space.cache().space,
            1 - stats.free / stats.size,
            is_counted=True,
        )

    def _refresh(
        self,
        cache: candidates.CandidateCache,
        part: levels.Level | None,
        project: str,
    ) -> None:
        """Free what has cooled, and learn anew what is taken.

        :raises errors.SpaceChanged: the candidates are of a former space.
            When all of these are taken, none is tried, and no insertion
            shows that there is another space.
        :raises SpaceFull: every level is in use
        """
        if not self._space.is_present(cache):
            raise errors.SpaceChanged
        # The project may have another part by now.
        cache.project_parts.pop(project, None)
        own = () if part is None else (allocation_queries.of_part(part),)
        freed = self.free_cooled(*own, limit=FREE_LIMIT)
        reserved = self._reserved_ranks(part)
        left = cache.space.per_owner - len(reserved)
        if not freed and self._store.read(
            lambda c: allocation_queries.count(c, *own) >= left
        ):
            raise self._full(cache.space, part, project)
        if cache.of_part(part).is_loadable:
            ranks = self._store.read(
                lambda c: allocation_queries.raw_ranks(c, *own)
            )
            cache.load(part, [*ranks, *reserved])

    def _reserved_ranks(self, part: levels.Level | None) -> list[int]:
        """The reserved levels that have the part of a project.

        They are no project's, so that their rows do not name the part.

        :param part: None in the scheme ``instance``, where all rows count
        """
        if part is None:
            return []
        return [
            ranking.rank(level.categories)
            for level in self._store.read(allocation_queries.reserved)
            if part.categories <= level.categories
        ]

    def count(self, space: spaces.LevelSpace) -> types.Stats:
        """How full a level space of the store is.

        :param space: the present one
        """
        return types.Stats.of(
            space.size,
            self._store.read(
                lambda c: allocation_queries.count_states(
                    c, allocation_queries.cutoff(c, self.cooling)
                )
            ),
        )

    def _full(
        self,
        space: spaces.LevelSpace,
        part: levels.Level | None,
        project: str,
    ) -> exception.SpaceFull:
        if part is not None:
            return refusals.project_full(space, project)
        return refusals.space_full(space, self.count(space), self.cooling)
