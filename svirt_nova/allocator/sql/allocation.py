# SPDX-License-Identifier: Apache-2.0
"""Optimistic allocation: how an instance comes to its level.

A new instance takes a random candidate: one INSERT, with no lock and no read
before it. The store's keys say whether the candidate was free. After a
collision, candidates are levels that were free when the store was looked at.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import fill_warnings
from svirt_nova.allocator.sql import free_search
from svirt_nova.allocator.sql import known_claims
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql import project_parts
from svirt_nova.allocator.sql import store_trust
from svirt_nova.allocator.sql import try_counts
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

FREE_LIMIT = 5_000
"""Levels freed in one transaction: it bounds the wait of its caller."""


class OptimisticAllocation:
    """Allocates the levels of a store.

    :param store: where allocations are kept
    :param space: the level space of the store
    :param cooling: how long a level cools before it is free again
    :param trust: whether the store is trusted
    :param thresholds: fills of the space to warn of, in per cent
    """

    def __init__(
        self,
        store: stores.Store,
        space: present_space.PresentSpace,
        trust: store_trust.StoreTrust,
        *,
        cooling: datetime.timedelta,
        thresholds: Sequence[int],
    ) -> None:
        self.cooling = cooling
        self._store = store
        self._space = space
        self._trust = trust
        self._parts = project_parts.ProjectParts(
            store, lambda: self.free_cooled(limit=FREE_LIMIT)
        )
        self._search = free_search.FreeSearch(
            store,
            cooling,
            lambda condition, limit: self.free_cooled(condition, limit=limit),
        )
        self._warnings = fill_warnings.FillWarnings(thresholds)

    # Instances

    def acquire(
        self, claim: known_claims.Claim, seen: int
    ) -> types.Allocation:
        """See :meth:`base.Allocator.acquire`; the arguments are checked."""
        try:
            return self._acquire(claim, seen)
        except exception.NotAllowed:
            # What the instance had as one of another project may have cooled.
            condition = allocation_queries.of_instance(claim.instance)
            if not self.free_cooled(condition, limit=1):
                raise
            return self._acquire(claim, seen)

    def _acquire(
        self, claim: known_claims.Claim, seen: int
    ) -> types.Allocation:
        deadline = time.monotonic() + self._store.timeout
        needed = self._trust.grow(seen)
        collisions = 0
        while True:
            cache = self._space.cache()
            try:
                found = self._try(cache, claim, deadline, needed)
            except errors.SpaceChanged:
                self._space.forget()
                self._trust.compare(claim.host, seen)
                found = known_claims.claim(self._store, claim)
                if found is None:
                    self._trust.check()
                    self._space.wait_until_open(deadline)
            except exception.SpaceFull:
                # An instance that has a level keeps it in a full space, too.
                found = known_claims.claim(self._store, claim)
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
        claim: known_claims.Claim,
        deadline: float,
        seen: int,
    ) -> types.Allocation | None:
        """Take a candidate, or claim the level that the instance has.

        :param seen: the generation that the store must have at least
        :returns: None after another collision
        :raises errors.SpaceChanged: the candidates are of a former space
        :raises SpaceFull: every level is in use
        """
        project = claim.project
        if (
            cache.space.scheme is spaces.Scheme.PROJECT
            and project not in cache.project_parts
        ):
            # No part must be left behind for a project that the instance is
            # not of.
            known = known_claims.claim(self._store, claim)
            if known is not None:
                return known
        part = self._parts.acquire(cache, project, deadline, seen)
        pool = cache.of_part(part)
        level = pool.pick()
        if level is None:
            # The project may have another part by the next try.
            cache.project_parts.pop(project, None)
            level = self._search.look_around(cache, project, part)
        if level is None:
            # Those who have a level shall not wait with those who want one
            # of the last.
            known = known_claims.claim(self._store, claim)
            if known is not None:
                return known
            level = self._search.find_last(cache, project, part, deadline)
        if level is None:
            return None
        try:
            taken = self._insert(cache, level, part, claim, seen)
        except errors.Conflict as conflict:
            # Where the level's key refused the row, the next try shows
            # whether the instance has a level.
            if not conflict.is_of_level:
                known = known_claims.claim(self._store, claim)
                if known is not None:
                    if level != known.level:
                        pool.release(level)
                    return known
                # The project may have lost its part.
                cache.project_parts.pop(project, None)
            try_counts.taken()
            pool.collide()
            return None
        try_counts.given()
        pool.succeed()
        self._warnings.check(
            cache.space, pool.fill, None if part is None else project
        )
        return taken

    def _insert(
        self,
        cache: candidates.CandidateCache,
        level: levels.Level,
        part: levels.Level | None,
        claim: known_claims.Claim,
        seen: int | None = None,
    ) -> types.Allocation:
        """Allocate a level to a new instance.

        :param seen: the generation that the store must have at least; None
            to adopt
        :raises errors.Conflict: the level is taken or the instance not new
        :raises errors.SpaceChanged: the candidates are of a former space, or
            the store gives out no level
        """
        number = claim_numbers.of_claim(claim.number, 0, claim.instance)
        self._store.write(
            lambda c: allocation_rows.insert(
                c,
                level,
                generation=cache.generation,
                seen=seen,
                uuid=claim.instance,
                project=claim.project,
                project_part=part,
                host=claim.host,
                number=number,
            )
        )
        return types.Allocation(
            level=level,
            instance_uuid=claim.instance,
            project_id=claim.project,
            hosts=frozenset((claim.host,)),
            project_level=part,
            generation=seen,
            claims={claim.host: number},
            last_claim=number,
        )

    def adopt(
        self, claim: known_claims.Claim, level: levels.Level
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
            part = self._check_part(
                cache, claim.instance, claim.project, level
            )
            for condition in (
                allocation_queries.of_level(level),
                allocation_queries.of_instance(claim.instance),
            ):
                self.free_cooled(condition, limit=1)
            try:
                return self._insert(cache, level, part, claim)
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
        self,
        *conditions: sa.ColumnElement[bool],
        limit: int,
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
