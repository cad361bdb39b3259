# SPDX-License-Identifier: Apache-2.0
"""The allocator on an SQL store: each call of the contract."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import clouds
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator import host_flows
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import allocation
from svirt_nova.allocator.sql import history_search
from svirt_nova.allocator.sql import host_counts
from svirt_nova.allocator.sql import host_keys
from svirt_nova.allocator.sql import known_claims
from svirt_nova.allocator.sql import missing_hosts
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql import reservations
from svirt_nova.allocator.sql import space_usage
from svirt_nova.allocator.sql import store_trust
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import cloud_rows
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
        self._trust = store_trust.StoreTrust(self._store)
        self._missing = missing_hosts.MissingHosts(self._store)
        self._reservations = reservations.Reservations(
            self._store, self._space, self._cooling
        )
        self._allocation = allocation.OptimisticAllocation(
            self._store,
            self._space,
            self._trust,
            cooling=self._cooling,
            thresholds=conf.svirt.fill_marks,
        )

    def enrolled_keys(self) -> enrolled_keys.EnrolledKeys:
        """The keys of this store."""
        return host_keys.SqlEnrolledKeys(self._store)

    def host_flows(self) -> host_flows.HostFlows:
        """The counts of this store."""
        return host_counts.SqlHostFlows(self._store)

    def acquire(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        seen: int | None = None,
        number: int | None = None,
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host."""
        return self._allocation.acquire(
            known_claims.Claim.of(instance_uuid, project_id, host, number),
            arguments.limit_generation(seen),
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
        claim = known_claims.Claim.of(instance_uuid, project_id, host, number)
        known = self._of(claim.instance)
        if known is None:
            adopted = self._allocation.adopt(claim, level)
            if adopted is not None:
                return adopted
            # The adoption may have been made by a commit whose answer was
            # lost.
            known = self._of(claim.instance)
        if known is None or known.level != level:
            raise refusals.cannot_adopt(
                level, claim.instance, self.find(level)
            )
        try:
            claim.check_project(known)
        except exception.NotAllowed as error:
            raise refusals.cannot_adopt_for(level, error) from error
        if claim.is_made(known):
            return known
        # The level may come free before it is claimed. The instance must not
        # get another one then: its guest runs with this one.
        claimed = known_claims.claim_known(self._store, claim)
        if claimed is None or claimed.level != level:
            raise refusals.cannot_adopt(
                level, claim.instance, self.find(level)
            )
        return claimed

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

    def unclaim(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Drop a host's claim."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        self._store.write(
            lambda c: allocation_rows.unclaim(c, instance, host, number)
        )

    def retire(self, instance_uuid: str, number: int | None = None) -> None:
        """Let the level of an instance that is gone for good cool."""
        instance = arguments.canonical_uuid(instance_uuid)
        claim_numbers.check_dropped(number)
        self._store.write(
            lambda c: allocation_rows.retire(c, instance, number)
        )

    def give_back(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        """Unclaim and retire in one transaction."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        self._store.write(
            lambda c: allocation_rows.give_back(c, instance, host, number)
        )

    def give_back_last(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> bool:
        """Unclaim, and retire if that was the only claim."""
        instance = arguments.check_claim(instance_uuid, host)
        claim_numbers.check_dropped(number)
        return self._store.write(
            lambda c: allocation_rows.give_back_last(c, instance, host, number)
        )

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Keep a level that is used elsewhere from being given out."""
        arguments.check_text('note', note)
        ranking.check(level.categories)
        found = self._reservations.reserve(level, note)
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
        arguments.check_filters(host, project_id)
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

    def list_unclaimed(self) -> Sequence[types.Allocation]:
        """The levels that instances hold and no host claims."""
        return self._read(
            schema.is_unclaimed(), states=frozenset([types.State.HELD])
        )

    def space(self) -> spaces.LevelSpace:
        """The level space, as it is now."""
        return self._space.stored().space

    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have."""
        stored = self._space.stored()
        if stored.distrust is not None:
            raise refusals.cannot_change_distrusted()
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
        wanted = history_rows.Search(
            level, instance, project_id, begun_after, at, self._cooling
        )
        return history_search.search(self._store, wanted, limit)

    def stats(self) -> types.Stats:
        """How full the space is."""
        return self._allocation.count(self.space())

    def usage(self, most: int | None = None) -> types.Usage:
        """Who uses the space, and how fast it fills."""
        return space_usage.count(
            self._store, self._cooling, self.stats().free, most
        )

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
        host_counts.tidy(self._store)

    # Whether the store is trusted

    def meet(self, host: str, seen: int) -> types.Trust:
        """Compare the store with what a host has seen of it."""
        arguments.check_name('host', host)
        self._missing.hear(host)
        return self._trust.meet(host, arguments.limit_generation(seen))

    def doubt(
        self, host: str, instance_uuid: str, level: levels.Level
    ) -> None:
        """Distrust the store, if it does not know a level in use."""
        instance = arguments.check_claim(instance_uuid, host)
        held = self._of(instance)
        if held is None or held.level != level:
            self._trust.distrust(refusals.doubt(host, instance, level))

    def report(self, host: str, hosts: Collection[str]) -> types.Trust:
        """Note that a host has told what it runs."""
        for each in (host, *hosts):
            arguments.check_name('host', each)
        return self._trust.report(host, hosts)

    def distrust(self, reason: str) -> None:
        """Let no new instance get a level."""
        arguments.check_text('reason', reason, arguments.REASON_LENGTH)
        self._trust.distrust(reason)

    def trust(self) -> None:
        """Let new instances get levels."""
        self._trust.trust()

    def show_trust(self) -> types.Trust:
        """Whether the store is trusted."""
        return self._trust.show()

    # The cloud that the store belongs to

    def show_cloud(self) -> clouds.KnownCloud:
        """The cloud that the store belongs to."""
        return self._store.read(cloud_rows.show)

    def meet_cloud(
        self,
        cloud: clouds.Cloud,
        strangers: Collection[str] = (),
        replaces: bool = False,
    ) -> clouds.KnownCloud:
        """Remember the cloud that the store belongs to."""
        arguments.check_cloud(cloud, strangers)
        return self._store.write(
            lambda c: cloud_rows.meet(c, cloud, strangers, replaces)
        )

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
