# SPDX-License-Identifier: Apache-2.0
"""Finds levels that are free: in a window, and then wherever there are some.

Nearly always one of the first windows has a free level, and some thousand
rows are read. Otherwise the database counts: first all levels, which tells
whether the space is full, and then those of each window, which tells where
the last free ones are. What was full is remembered (:mod:`fullness`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import random
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import fullness
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import free_queries
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

_WINDOWS = 12
"""Windows to look at before everything is counted."""

_SMALL = 256
"""Levels that are looked at as fast as one finds out that they are in use."""

_MOST_COUNTED = 128
"""Parts of the space whose levels are counted, each in one query."""

_FREED = 64
"""Levels that have cooled and are freed at once, for one that is needed."""

_PAUSE = 0.02
"""Seconds between two refusals, while others wait for theirs."""


class FreeSearch:
    """Finds free levels in a store.

    One thread at a time looks further than at some windows, so that those
    who are refused leave the store, and this process, to those who have a
    level.

    :param store: where allocations are kept
    :param cooling: how long a level cools before it is free again
    :param free: frees levels that have cooled and meet a condition, up to
        a number; tells how many
    """

    def __init__(
        self,
        store: stores.Store,
        cooling: datetime.timedelta,
        free: Callable[[sa.ColumnElement[bool], int], int],
    ) -> None:
        self._store = store
        self._cooling = cooling
        self._free = free
        self._turn = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0

    def look_around(
        self,
        cache: candidates.CandidateCache,
        project: str,
        part: levels.Level | None,
    ) -> levels.Level | None:
        """Look for a level that is free, at some windows.

        :param project: for whom
        :param part: the part of the project; None in the scheme ``instance``
        :returns: None when none was found, or the space was full before
        """
        pool = cache.of_part(part)
        if pool.full is not None:
            return None
        tries = min(_WINDOWS, -(-pool.own.number // candidates.WINDOW))
        for _ in range(tries):
            level = self._look(pool, _owner(project, part), pool.window())
            if level is not None:
                return level
        return None

    def find_last(
        self,
        cache: candidates.CandidateCache,
        project: str,
        part: levels.Level | None,
        deadline: float,
    ) -> levels.Level | None:
        """Find one of the last levels that are free.

        :param project: for whom
        :param part: the part of the project; None in the scheme ``instance``
        :param deadline: when to give up, as a monotonic time in seconds
        :returns: None when others were faster, and it is to be tried again
        :raises errors.SpaceChanged: the candidates are of a former space
        :raises SpaceFull: every level is in use
        :raises StoreUnreachable: too many others wait for a level
        """
        pool = cache.of_part(part)
        owner = _owner(project, part)
        began = time.monotonic()
        with self._wait_for_turn(deadline):
            # Somebody else may have found some in the meantime.
            level = pool.pick()
            if level is None:
                self._check_fullness(cache, pool, owner, began)
                level = self._look_everywhere(cache, pool, owner)
        return level

    @contextlib.contextmanager
    def _wait_for_turn(self, deadline: float) -> Iterator[None]:
        with self._counting:
            self._waiting += 1
        try:
            has_turn = self._turn.acquire(
                timeout=max(0, deadline - time.monotonic())
            )
        finally:
            with self._counting:
                self._waiting -= 1
        if not has_turn:
            raise exception.StoreUnreachable(
                f'the level space of the store {self._store} is nearly full, '
                f'and too many instances wait for one of its last levels; '
                f'try again'
            )
        try:
            yield
        except exception.SpaceFull:
            if self._waiting:
                time.sleep(_PAUSE)
            raise
        finally:
            self._turn.release()

    def _look(
        self,
        pool: candidates.Candidates,
        owner: free_queries.Owner,
        window: candidates.Window,
    ) -> levels.Level | None:
        """Look at a window; a level of it that is free, if there is one."""
        ranks = pool.own.ranks(*window)
        low, high = ranks[0], ranks[-1]

        def work(connection: sa.Connection) -> tuple[list[int], list[int]]:
            taken = free_queries.taken(connection, owner, low, high)
            free = [rank for rank in ranks if rank not in taken]
            if free:
                return free, []
            cutoff = allocation_queries.cutoff(connection, self._cooling)
            return [], free_queries.cooled(
                connection, owner, cutoff, free_queries.in_range(low, high)
            )

        free, cooled = self._store.read(work)
        level = pool.learn(window, free)
        return self._take_cooled(pool, cooled) if level is None else level

    def _take_cooled(
        self, pool: candidates.Candidates, cooled: Sequence[int]
    ) -> levels.Level | None:
        """Free some levels that have cooled, and pick one of them."""
        chosen = random.sample(cooled, min(_FREED, len(cooled)))
        if not chosen:
            return None
        self._free(free_queries.of_ranks(chosen), len(chosen))
        return pool.offer(chosen)

    def _look_everywhere(
        self,
        cache: candidates.CandidateCache,
        pool: candidates.Candidates,
        owner: free_queries.Owner,
    ) -> levels.Level | None:
        """Find out whether a level is free, and where.

        :raises errors.SpaceChanged: the candidates are of a former space.
            When all of these are taken, none is tried, and no insertion
            shows that there is another space.
        :raises SpaceFull: every level is in use
        """
        began = time.monotonic()

        def work(
            connection: sa.Connection,
        ) -> tuple[fullness.Fullness | None, list[int], int]:
            marks = free_queries.marks(connection)
            if marks.generation != cache.generation:
                raise errors.SpaceChanged
            now = allocation_queries.now(connection)
            cutoff = now - self._cooling
            survey = free_queries.survey(connection, owner, cutoff)
            reserved = self._reserved(connection, owner)
            used = sum(survey.counts.values()) + len(reserved)
            oldest = survey.oldest
            if oldest is not None and oldest <= cutoff:
                return None, free_queries.cooled(connection, owner, cutoff), 0
            free = pool.own.number - used
            if free > 0:
                return None, [], free
            stats = None
            if owner.part is None:
                stats = types.Stats.of(pool.own.number, survey.counts)
            until = (now if oldest is None else oldest) + self._cooling
            full = fullness.Fullness(marks, until, stats, began, began)
            return full, [], 0

        full, cooled, free = self._store.read(work)
        pool.full = None
        if full is not None:
            if pool.own.number > _SMALL:
                pool.full = full
            raise self._refusal(cache, owner, full)
        if free:
            pool.prefer(self._narrow(pool, owner))
            return self._look(pool, owner, pool.window())
        return self._take_cooled(pool, cooled)

    def _check_fullness(
        self,
        cache: candidates.CandidateCache,
        pool: candidates.Candidates,
        owner: free_queries.Owner,
        began: float,
    ) -> None:
        """Refuse if what was full is so still.

        :param began: when the caller came, as a monotonic time: what was
            found out since holds for it as well
        :raises errors.SpaceChanged: the candidates are of a former space
        :raises SpaceFull: every level is in use
        """
        full = pool.full
        if full is None:
            return
        if full.checked_at < began:
            checked_at = time.monotonic()
            marks, now = self._store.read(
                lambda c: (free_queries.marks(c), allocation_queries.now(c))
            )
            if marks.generation != cache.generation:
                raise errors.SpaceChanged
            if not full.holds(marks, now):
                pool.full = None
                return
            pool.full = dataclasses.replace(full, checked_at=checked_at)
        raise self._refusal(cache, owner, full)

    def _narrow(
        self, pool: candidates.Candidates, owner: free_queries.Owner
    ) -> list[candidates.Window]:
        """The windows that have a free level, or some of them."""

        def work(connection: sa.Connection) -> list[candidates.Window]:
            reserved = self._reserved(connection, owner)
            first, last = 0, pool.own.number
            while True:
                size = max(
                    candidates.WINDOW, -((first - last) // _MOST_COUNTED)
                )
                free: dict[candidates.Window, int] = {}
                for start in range(first, last, size):
                    stop = min(start + size, last)
                    low, high = pool.own.rank(start), pool.own.rank(stop - 1)
                    found = (
                        stop
                        - start
                        - free_queries.count_between(
                            connection, owner, low, high
                        )
                        - sum(low <= rank <= high for rank in reserved)
                    )
                    if found > 0:
                        free[start, stop] = found
                if size == candidates.WINDOW or not free:
                    return [*free]
                [(first, last)] = random.choices([*free], [*free.values()])

        return self._store.read(work)

    def _reserved(
        self, connection: sa.Connection, owner: free_queries.Owner
    ) -> list[int]:
        """The reserved levels that have the part of a project.

        They are no project's, so that their rows do not name the part. In
        the scheme ``instance``, where all rows count, there are none.
        """
        if owner.part is None:
            return []
        return [
            ranking.rank(level.categories)
            for level in allocation_queries.reserved(connection)
            if owner.part.categories <= level.categories
        ]

    def _refusal(
        self,
        cache: candidates.CandidateCache,
        owner: free_queries.Owner,
        full: fullness.Fullness,
    ) -> exception.SpaceFull:
        if full.stats is None or owner.project is not None:
            return refusals.project_full(cache.space, owner.project or '')
        return refusals.space_full(cache.space, full.stats, self._cooling)


def _owner(project: str, part: levels.Level | None) -> free_queries.Owner:
    return free_queries.Owner(None if part is None else project, part)
