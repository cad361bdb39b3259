# SPDX-License-Identifier: Apache-2.0
"""The allocator on an SQL store.

A new instance takes a random rank that is believed free: one insert, no
lock and no read before it. The store's keys say whether the guess was
right.
"""

from __future__ import annotations

import datetime
import functools
import time
import uuid
from collections.abc import Iterable
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import space as spaces
from svirt_nova.allocator import base
from svirt_nova.allocator.sql import errors
from svirt_nova.allocator.sql import hint as hints
from svirt_nova.allocator.sql import migrate
from svirt_nova.allocator.sql import rows
from svirt_nova.allocator.sql import schema
from svirt_nova.allocator.sql import store as stores

_FREE_LIMIT = 5_000
"""Levels freed at once: it bounds the wait of the call that frees them."""


class SqlAllocator(base.Allocator):
    """Keeps levels in the database of ``[svirt_database]``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._store = stores.Store(conf)
        self._cooling = datetime.timedelta(seconds=conf.svirt.cooling_time)

    @functools.cached_property
    def _space(self) -> spaces.LevelSpace:
        return self._store.read(
            lambda c: migrate.stored_space(c, str(self._store))
        )

    @functools.cached_property
    def _hint(self) -> hints.Hint:
        return hints.for_size(self._space.size)

    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> base.Allocation:
        """Hold a level for an instance and claim it for a host."""
        instance = _uuid(instance_uuid)
        _check_name('project', project_id)
        _check_name('host', host)
        deadline = time.monotonic() + self._store.timeout
        misses = 0
        while True:
            rank = self._hint.pick()
            if rank is not None:
                taken = self._take(rank, instance, project_id, host)
                if taken is not None:
                    return taken
            known = self._claim_known(instance, host)
            if known is not None:
                if rank is not None and rank != known.rank:
                    self._hint.release(rank)
                return self._allocation(known)
            misses += 1
            if rank is None or misses % self._hint.patience == 0:
                self._refresh_hint()
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the store {self._store} gave no level in '
                    f'{self._store.timeout:g} s and {misses} tries: too '
                    f'many take the last ones at once; try again'
                )

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
    ) -> base.Allocation:
        """Hold the level that a running instance has, and claim it."""
        instance = _uuid(instance_uuid)
        _check_name('project', project_id)
        _check_name('host', host)
        rank = self._space.rank(level)

        def work(connection: sa.Connection) -> None:
            cutoff = rows.cutoff(connection, self._cooling)
            rows.free(connection, cutoff, limit=1, rank=rank)
            rows.insert(connection, rank, instance, project_id)
            rows.claim(connection, instance, host)

        try:
            self._store.write(work)
            return self.get(instance)
        except errors.Conflict:
            # The level is in use, or the instance has one.
            pass
        held = self.find(level)
        if held is None or held.instance_uuid != instance:
            owner = 'another instance'
            if held is not None:
                owner = held.instance_uuid or f'nobody: {held.note}'
            raise exception.LevelTaken(
                f'level {level} of instance {instance} cannot be recorded: '
                f'it is in use by {owner}, or the instance has another one'
            )
        return self.acquire(instance, project_id, host)

    def _take(
        self, rank: int, instance: str, project: str, host: str
    ) -> base.Allocation | None:
        """Take a rank for a new instance.

        :returns: None when the rank is taken or the instance not new
        """

        def work(connection: sa.Connection) -> datetime.datetime:
            created_at = rows.insert(connection, rank, instance, project)
            rows.claim(connection, instance, host)
            return created_at

        try:
            created_at = self._store.write(work)
        except errors.Conflict:
            return None
        return base.Allocation(
            level=self._space.unrank(rank),
            instance_uuid=instance,
            project_id=project,
            hosts=frozenset((host,)),
            created_at=created_at,
        )

    def _claim_known(self, instance: str, host: str) -> rows.Held | None:
        """Hold and claim the level that an instance has, if it has one."""

        def work(connection: sa.Connection) -> rows.Held | None:
            held = rows.of_instance(connection, instance)
            if held is None:
                return None
            if host not in held.hosts:
                rows.claim(connection, instance, host)
            elif held.retired_at is None:
                # A repeated call: no write, so no wait for the disk.
                return held
            rows.hold(connection, instance)
            return rows.of_instance(connection, instance)

        try:
            return self._store.write(work)
        except errors.Conflict:
            # Freed, or claimed by the same host, since it was read.
            return None

    def get(self, instance_uuid: str) -> base.Allocation:
        """The level of an instance."""
        if uuidutils.is_uuid_like(instance_uuid):
            instance = _uuid(instance_uuid)
            found = self._read(schema.allocation.c.instance_uuid == instance)
            if found:
                return found[0]
        raise exception.UnknownInstance(
            f'no level is held for an instance {instance_uuid!r}'
        )

    def find(self, level: levels.Level) -> base.Allocation | None:
        """Who has a level; None when it is free."""
        rank = self._space.rank(level)
        found = self._read(schema.allocation.c.level_rank == rank)
        return found[0] if found else None

    def unclaim(self, instance_uuid: str, host: str) -> None:
        """Drop a host's claim."""
        instance = _uuid(instance_uuid)
        _check_name('host', host)
        self._store.write(lambda c: rows.unclaim(c, instance, host))

    def retire(self, instance_uuid: str) -> None:
        """Let the level of an instance that is gone for good cool."""
        instance = _uuid(instance_uuid)
        self._store.write(lambda c: rows.retire(c, instance))

    def give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim and retire in one transaction."""
        instance = _uuid(instance_uuid)
        _check_name('host', host)
        self._store.write(lambda c: rows.give_back(c, instance, host))

    def reserve(self, level: levels.Level, note: str) -> base.Allocation:
        """Keep a level that is used elsewhere from being given out."""
        rank = self._space.rank(level)
        _check_name('note', note, shortest=0)

        def work(connection: sa.Connection) -> rows.Held | None:
            cutoff = rows.cutoff(connection, self._cooling)
            rows.free(connection, cutoff, limit=1, rank=rank)
            if rows.of_rank(connection, rank) is None:
                rows.insert(connection, rank, None, None, note)
            return rows.of_rank(connection, rank)

        held = None
        while held is None:
            # A conflict leaves a row behind, which the next try finds.
            try:
                held = self._store.write(work)
            except errors.Conflict:
                continue
        found = self._allocation(held)
        if found.state is not base.State.RESERVED:
            raise exception.LevelTaken(
                f'level {level} cannot be reserved: it is {found.state} '
                f'for instance {found.instance_uuid}'
            )
        return found

    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[base.State] | None = None,
    ) -> list[base.Allocation]:
        """The levels that are not free, sorted by their rank."""
        conditions = []
        if host is not None:
            conditions.append(rows.claimed_by(host))
        if project_id is not None:
            conditions.append(rows.of_project(project_id))
        return [
            *self._read(
                *conditions, states=base.State if states is None else states
            )
        ]

    def space(self) -> spaces.LevelSpace:
        """The level space, read once."""
        return self._space

    def stats(self) -> base.Stats:
        """How full the space is."""
        size = self._space.size
        counts = self._store.read(
            lambda c: rows.count_states(c, rows.cutoff(c, self._cooling))
        )
        return base.Stats(
            size=size,
            held=counts[base.State.HELD],
            retired=counts[base.State.RETIRED],
            cooling=counts[base.State.COOLING],
            reserved=counts[base.State.RESERVED],
        )

    def _read(
        self,
        *conditions: sa.ColumnElement[bool],
        states: Iterable[base.State] = base.State,
    ) -> Sequence[base.Allocation]:
        def work(connection: sa.Connection) -> Sequence[rows.Held]:
            cutoff = rows.cutoff(connection, self._cooling)
            in_state = sa.or_(
                sa.false(), *(schema.is_in(state, cutoff) for state in states)
            )
            return rows.select(connection, *conditions, in_state)

        return [self._allocation(held) for held in self._store.read(work)]

    def _refresh_hint(self) -> None:
        """Free what has cooled, and learn anew which ranks are taken.

        :raises SpaceFull: every level is in use
        """

        def free(connection: sa.Connection) -> int:
            cutoff = rows.cutoff(connection, self._cooling)
            return rows.free(connection, cutoff, limit=_FREE_LIMIT)

        try:
            freed = self._store.write(free)
        except errors.Conflict:
            # One of them was claimed again just now; the others wait for
            # the next try.
            freed = 0
        if not freed and self._store.read(rows.count) >= self._space.size:
            raise self._full()
        if self._hint.remembers:
            self._hint.load(self._store.read(rows.ranks))

    def _full(self) -> exception.SpaceFull:
        stats = self.stats()
        return exception.SpaceFull(
            f'the level space "{self._space}" is full: of its {stats.size} '
            f'levels {stats.held} are held, {stats.retired} are of deleted '
            f'instances that a host still claims, {stats.cooling} cool for '
            f'{self.conf.svirt.cooling_time} s and {stats.reserved} are '
            f'reserved; delete instances, wait for cooling levels, or see '
            f'with "svirt-nova label list" who holds them'
        )

    def _allocation(self, held: rows.Held) -> base.Allocation:
        try:
            level = self._space.unrank(held.rank)
        except exception.NotInSpace as error:
            raise exception.StoreUnusable(
                f'the store {self._store} is damaged: {error}; restore it '
                f'from a backup'
            ) from error
        return base.Allocation(
            level=level,
            instance_uuid=held.instance_uuid,
            project_id=held.project_id,
            hosts=held.hosts,
            created_at=held.created_at,
            retired_at=held.retired_at,
            note=held.note,
        )


def _uuid(text: str) -> str:
    """The one spelling of an instance's UUID that the store knows."""
    if not uuidutils.is_uuid_like(text):
        raise ValueError(f'{text!r} is not the UUID of an instance')
    return str(uuid.UUID(text))


def _check_name(what: str, text: str, shortest: int = 1) -> None:
    if (
        not shortest <= len(text) <= schema.NAME_LENGTH
        or not text.isprintable()
    ):
        raise ValueError(
            f'{text!r} is not the name of a {what}: {shortest} to '
            f'{schema.NAME_LENGTH} printable characters'
        )
