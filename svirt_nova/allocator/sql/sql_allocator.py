# SPDX-License-Identifier: Apache-2.0
"""The allocator on an SQL store: each call of the contract."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterable
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import forecast
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import allocation
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


class SqlAllocator(base.Allocator):
    """Keeps levels in the database of ``[svirt_database]``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._cooling = datetime.timedelta(seconds=conf.svirt.cooling_time)
        self._store = stores.Store(conf)
        self._space = present_space.PresentSpace(self._store)
        self._allocation = allocation.OptimisticAllocation(
            self._store,
            self._space,
            cooling=self._cooling,
            thresholds=conf.svirt.fill_marks,
        )

    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
        return self._allocation.acquire(instance, project_id, host)

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it."""
        instance = arguments.check_claim(instance_uuid, host, project_id)
        known = (
            self._of(instance)
            or self._allocation.adopt(instance, project_id, host, level)
            # The adoption may have been made by a commit whose answer was
            # lost.
            or self._of(instance)
        )
        if known is None or known.level != level:
            raise refusals.cannot_adopt(level, instance, self.find(level))
        return self._allocation.acquire(instance, project_id, host)

    def get(self, instance_uuid: str) -> types.Allocation:
        """The level of an instance."""
        if uuidutils.is_uuid_like(instance_uuid):
            found = self._of(arguments.canonical_uuid(instance_uuid))
            if found is not None:
                return found
        raise refusals.unknown_instance(instance_uuid)

    def find(self, level: levels.Level) -> types.Allocation | None:
        """Who has a level; None when it is free."""
        found: Sequence[types.Allocation] = ()
        if ranking.has_rank(level.categories):
            found = self._read(allocation_queries.of_level(level))
        if not found:
            self.space().check(level)
            return None
        return found[0]

    def unclaim(self, instance_uuid: str, host: str) -> None:
        """Drop a host's claim."""
        instance = arguments.check_claim(instance_uuid, host)
        self._store.write(lambda c: allocation_rows.unclaim(c, instance, host))

    def retire(self, instance_uuid: str) -> None:
        """Let the level of an instance that is gone for good cool."""
        instance = arguments.canonical_uuid(instance_uuid)
        self._store.write(lambda c: allocation_rows.retire(c, instance))

    def give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim and retire in one transaction."""
        instance = arguments.check_claim(instance_uuid, host)
        self._store.write(
            lambda c: allocation_rows.give_back(c, instance, host)
        )

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Keep a level that is used elsewhere from being given out."""
        arguments.check_name('note', note, shortest=0)
        ranking.check(level.categories)

        def insert(
            cache: candidates.CandidateCache,
        ) -> types.Allocation | None:
            def work(connection: sa.Connection) -> types.Allocation | None:
                allocation_rows.free(
                    connection,
                    allocation_queries.cutoff(connection, self._cooling),
                    allocation_queries.of_level(level),
                    limit=1,
                )
                if allocation_queries.find_level(connection, level) is None:
                    cache.space.check(level)
                    allocation_rows.insert(
                        connection,
                        level,
                        generation=cache.generation,
                        note=note,
                    )
                return allocation_queries.find_level(connection, level)

            try:
                return self._store.write(work)
            except errors.Conflict:
                # Another call has made a row, which the next try finds.
                return None

        found = None
        deadline = time.monotonic() + self._store.timeout
        while found is None:
            found = self._space.run(insert)
            if found is None and time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'level {level} was taken and freed by others all the '
                    f'time; try again'
                )
        if found.state is not types.State.RESERVED:
            raise refusals.cannot_reserve(found)
        return found

    def release(self, level: levels.Level) -> None:
        """Let a reserved level be given out again."""
        found = self.find(level)
        if found is None:
            return
        if found.state is not types.State.RESERVED or not self._store.write(
            lambda c: allocation_rows.release(c, level)
        ):
            # It may have been released by a commit whose answer was lost.
            found = self.find(level)
            if found is not None:
                raise refusals.cannot_release(found)

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
        conditions = []
        if after is not None:
            ranking.check(after.categories)
            conditions.append(allocation_queries.after(after))
        if project_id is not None:
            conditions.append(allocation_queries.of_project(project_id))
        return [
            *self._read(
                *conditions,
                host=host,
                states=types.State if states is None else states,
                limit=limit,
            )
        ]

    def space(self) -> spaces.LevelSpace:
        """The level space, as it is now."""
        return self._space.stored().space

    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have."""
        stored = self._space.stored()
        if stored.is_open and stored.space == space:
            return
        generation = self._store.write(space_rows.close)
        self._store.outlast_transactions()
        # Levels that have cooled are free, and stand against no space.
        while self._allocation.free_cooled(limit=allocation.FREE_LIMIT):
            pass
        try:
            against = self._store.write(
                lambda c: space_rows.change(c, space, generation)
            )
        except errors.SpaceChanged as error:
            raise exception.InvalidSpace(
                f'the level space was not made "{space}": somebody else is '
                f'changing it. See "svirt-nova space show" and try again'
            ) from error
        self._space.forget()
        if against:
            raise refusals.cannot_change_space(space, against)

    def history(self, level: levels.Level) -> Sequence[types.Holding]:
        """Who has, and had, a level, oldest first."""
        ranking.check(level.categories)

        def work(connection: sa.Connection) -> list[types.Holding]:
            # The present holder is read first: if the level comes free in
            # between, it is read twice rather than not at all.
            present = allocation_queries.find_level(connection, level)
            found = history_rows.past(connection, level)
            if (
                present is not None
                and (holding := present.holding) is not None
                and holding.since not in {past.since for past in found}
            ):
                found.append(holding)
            return found

        return self._store.read(work)

    def stats(self) -> types.Stats:
        """How full the space is."""
        return self._allocation.count(self.space())

    def usage(self) -> types.Usage:
        """Who uses the space, and how fast it fills."""
        free = self.stats().free

        def work(connection: sa.Connection) -> types.Usage:
            now = allocation_queries.now(connection)
            cooling = self._cooling
            per_day = forecast.levels_per_day(
                now,
                allocation_queries.oldest(connection),
                lambda moment: history_rows.count_used(
                    connection, moment, cooling
                ),
            )
            full_at = forecast.full_at(now, free, per_day)
            return types.Usage(
                by_project=allocation_queries.count_by_project(
                    connection, now - cooling
                ),
                by_host=allocation_queries.count_by_host(connection),
                per_day=per_day,
                full_at=full_at and schema.utc(full_at),
            )

        return self._store.read(work)

    def tidy(self) -> None:
        """Free levels that have cooled, and forget old history."""
        while self._allocation.free_cooled(limit=allocation.FREE_LIMIT):
            pass
        self._allocation.warn_of_fill(self.stats())
        kept = datetime.timedelta(seconds=self.conf.svirt.history_time)

        def forget(connection: sa.Connection) -> int:
            end = allocation_queries.now(connection) - kept
            return history_rows.forget(connection, end, allocation.FREE_LIMIT)

        while self._store.write(forget):
            pass

    def _of(self, instance: str) -> types.Allocation | None:
        found = self._read(allocation_queries.of_instance(instance))
        return found[0] if found else None

    def _read(
        self,
        *conditions: sa.ColumnElement[bool],
        host: str | None = None,
        states: Iterable[types.State] = types.State,
        limit: int | None = None,
    ) -> Sequence[types.Allocation]:
        def work(connection: sa.Connection) -> Sequence[types.Allocation]:
            cutoff = allocation_queries.cutoff(connection, self._cooling)
            chosen = [
                *conditions,
                sa.or_(
                    sa.false(),
                    *(schema.is_in(state, cutoff) for state in states),
                ),
            ]
            if host is not None:
                chosen.append(allocation_queries.claimed_by(connection, host))
            return allocation_queries.select(connection, *chosen, limit=limit)

        return self._store.read(work)
