# SPDX-License-Identifier: Apache-2.0
"""The allocator on an SQL store."""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterable
from collections.abc import Sequence

import sqlalchemy as sa
from oslo_config import cfg
from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import ranking
from svirt_nova import space as spaces
from svirt_nova.allocator import base
from svirt_nova.allocator.sql import errors
from svirt_nova.allocator.sql import giving
from svirt_nova.allocator.sql import guess as guesses
from svirt_nova.allocator.sql import history
from svirt_nova.allocator.sql import level_space
from svirt_nova.allocator.sql import rows
from svirt_nova.allocator.sql import schema
from svirt_nova.allocator.sql import store as stores

_NAMED = 10
_RATE_PERIOD = datetime.timedelta(days=7)
_SHORTEST_PERIOD = 1 / 24
_FARTHEST = datetime.timedelta(days=365_000)


class SqlAllocator(base.Allocator):
    """Keeps levels in the database of ``[svirt_database]``."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._store = stores.Store(conf)
        self._giver = giving.Giver(
            self._store,
            cooling=datetime.timedelta(seconds=conf.svirt.cooling_time),
            marks=conf.svirt.fill_marks,
        )

    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> base.Allocation:
        """Hold a level for an instance and claim it for a host."""
        instance = _uuid(instance_uuid)
        _check_name('project', project_id)
        _check_name('host', host)
        return self._giver.acquire(instance, project_id, host)

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
        known = (
            self._of(instance)
            or self._giver.adopt(instance, project_id, host, level)
            # Such as by a commit whose answer was lost.
            or self._of(instance)
        )
        if known is None or known.level != level:
            held = self.find(level)
            owner = 'another instance'
            if held is not None:
                owner = held.instance_uuid or f'nobody: {held.note}'
            raise exception.LevelTaken(
                f'level {level} of instance {instance} cannot be recorded: '
                f'it is in use by {owner}, or the instance has another one'
            )
        return self._giver.acquire(instance, project_id, host)

    def get(self, instance_uuid: str) -> base.Allocation:
        """The level of an instance."""
        if uuidutils.is_uuid_like(instance_uuid):
            found = self._of(_uuid(instance_uuid))
            if found is not None:
                return found
        raise exception.UnknownInstance(
            f'no level is held for an instance {instance_uuid!r}'
        )

    def find(self, level: levels.Level) -> base.Allocation | None:
        """Who has a level; None when it is free."""
        found: Sequence[base.Allocation] = ()
        if len(level.categories) <= ranking.MOST_CATEGORIES:
            rank = ranking.rank(level.categories)
            found = self._read(rows.has_rank(rank))
        if not found:
            self.space().check(level)
            return None
        return found[0]

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
        _check_name('note', note, shortest=0)

        def insert(guess: guesses.Guess) -> rows.Held | None:
            guess.space.check(level)
            rank = ranking.rank(level.categories)

            def work(connection: sa.Connection) -> rows.Held | None:
                cutoff = rows.cutoff(connection, self._giver.cooling)
                rows.free(connection, cutoff, rows.has_rank(rank), limit=1)
                if rows.of_rank(connection, rank) is None:
                    rows.insert(
                        connection,
                        rank,
                        generation=guess.generation,
                        note=note,
                    )
                return rows.of_rank(connection, rank)

            try:
                return self._store.write(work)
            except errors.Conflict:
                # It leaves a row behind, which the next try finds.
                return None

        held = None
        deadline = time.monotonic() + self._store.timeout
        while held is None:
            held = self._giver.in_space(insert)
            if held is None and time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'level {level} was taken and freed by others all the '
                    f'time; try again'
                )
        found = giving.allocation(held)
        if found.state is not base.State.RESERVED:
            raise exception.LevelTaken(
                f'level {level} cannot be reserved: it is {found.state} '
                f'for instance {found.instance_uuid}'
            )
        return found

    def release(self, level: levels.Level) -> None:
        """Let a reserved level be given out again."""
        found = self.find(level)
        if found is None:
            return
        rank = ranking.rank(level.categories)
        if found.state is not base.State.RESERVED or not self._store.write(
            lambda c: rows.release(c, rank)
        ):
            # Unless it was done, by a commit whose answer was lost.
            found = self.find(level)
            if found is not None:
                raise exception.LevelTaken(
                    f'level {level} cannot be released: it is not reserved, '
                    f'but {found.state} for instance {found.instance_uuid}'
                )

    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[base.State] | None = None,
        after: levels.Level | None = None,
        limit: int | None = None,
    ) -> list[base.Allocation]:
        """The levels that are not free, sorted by their rank."""
        conditions = []
        if after is not None:
            conditions.append(rows.after(ranking.rank(after.categories)))
        if project_id is not None:
            conditions.append(rows.of_project(project_id))
        return [
            *self._read(
                *conditions,
                host=host,
                states=base.State if states is None else states,
                limit=limit,
            )
        ]

    def space(self) -> spaces.LevelSpace:
        """The level space, as it is now."""
        return self._giver.stored_space().space

    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have."""
        stored = self._giver.stored_space()
        if stored.is_open and stored.space == space:
            return
        generation = self._store.write(level_space.close)
        self._store.outlast_transactions()
        # Levels that are free but have a row stand against nothing.
        while self._giver.free(limit=giving.FREE_LIMIT):
            pass
        try:
            against = self._store.write(
                lambda c: level_space.change(c, space, generation)
            )
        except errors.SpaceChanged as error:
            raise exception.InvalidSpace(
                f'the level space was not made "{space}": somebody else is '
                f'changing it. See "svirt-nova space show" and try again'
            ) from error
        self._giver.forget()
        if against:
            named = ', '.join(map(str, against[:_NAMED]))
            more = len(against) - _NAMED
            raise exception.InvalidSpace(
                f'the level space cannot become "{space}": instances could '
                f'open files of others, because these levels are in use: '
                f'{named}{f" and {more} more" if more > 0 else ""}. Choose '
                f'other categories, or see with "svirt-nova label show" who '
                f'has them; nothing was changed'
            )

    def history(self, level: levels.Level) -> Sequence[base.Holding]:
        """Who has, and had, a level, oldest first."""
        rank = ranking.rank(level.categories)

        def work(connection: sa.Connection) -> list[base.Holding]:
            # The present first: what comes free in between is in both.
            held = rows.of_rank(connection, rank)
            found = history.past(connection, rank)
            if (
                held is not None
                and held.instance_uuid is not None
                and held.created_at not in {past.since for past in found}
            ):
                assert held.project_id is not None
                found.append(
                    base.Holding(
                        instance_uuid=held.instance_uuid,
                        project_id=held.project_id,
                        since=held.created_at,
                        until=None if held.hosts else held.retired_at,
                    )
                )
            return found

        return self._store.read(work)

    def stats(self) -> base.Stats:
        """How full the space is."""
        size = self.space().size
        counts = self._store.read(
            lambda c: rows.count_states(c, rows.cutoff(c, self._giver.cooling))
        )
        return base.Stats(
            size=size,
            held=counts[base.State.HELD],
            retired=counts[base.State.RETIRED],
            cooling=counts[base.State.COOLING],
            reserved=counts[base.State.RESERVED],
        )

    def usage(self) -> base.Usage:
        """Who uses the space, and how fast it fills."""
        free = self.stats().free

        def work(connection: sa.Connection) -> base.Usage:
            now = rows.now(connection)
            cooling = self._giver.cooling
            used, oldest = history.count_used(connection, now, cooling)
            begin = max(now - _RATE_PERIOD, oldest or now)
            days = (now - begin) / datetime.timedelta(days=1)
            per_day = full_at = None
            if days >= _SHORTEST_PERIOD:
                before, _ = history.count_used(connection, begin, cooling)
                per_day = (used - before) / days
            if per_day is not None and per_day > 0:
                left = datetime.timedelta(days=free / per_day)
                # Later than that, and the calendar may end.
                if left < _FARTHEST:
                    full_at = schema.utc(now + left)
            return base.Usage(
                by_project=rows.count_by_project(connection, now - cooling),
                by_host=rows.count_by_host(connection),
                per_day=per_day,
                full_at=full_at,
            )

        return self._store.read(work)

    def tidy(self) -> None:
        """Free levels that have cooled, and forget old history."""
        while self._giver.free(limit=giving.FREE_LIMIT):
            pass
        self._giver.warn_when_full(self.stats())
        kept = datetime.timedelta(seconds=self.conf.svirt.history_time)

        def forget(connection: sa.Connection) -> int:
            end = rows.now(connection) - kept
            return history.forget(connection, end, giving.FREE_LIMIT)

        while self._store.write(forget):
            pass

    def _of(self, instance: str) -> base.Allocation | None:
        found = self._read(rows.of_uuid(instance))
        return found[0] if found else None

    def _read(
        self,
        *conditions: sa.ColumnElement[bool],
        host: str | None = None,
        states: Iterable[base.State] = base.State,
        limit: int | None = None,
    ) -> Sequence[base.Allocation]:
        def work(connection: sa.Connection) -> Sequence[rows.Held]:
            cutoff = rows.cutoff(connection, self._giver.cooling)
            chosen = [
                *conditions,
                sa.or_(
                    sa.false(),
                    *(schema.is_in(state, cutoff) for state in states),
                ),
            ]
            if host is not None:
                chosen.append(rows.claimed_by(connection, host))
            return rows.select(connection, *chosen, limit=limit)

        return [giving.allocation(held) for held in self._store.read(work)]


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
