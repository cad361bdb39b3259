# SPDX-License-Identifier: Apache-2.0
"""Candidates: levels that are believed to be free, kept in memory.

The store's constraints decide whether a candidate is free. A wrong one costs
a duplicate key and another try, never a wrong answer; nothing here does I/O.

Levels are looked at in windows: those at some thousand neighbouring
positions, which a database reads as one range of its primary key.
"""

from __future__ import annotations

import collections
import random
import threading
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence

from svirt_nova.allocator.sql import fullness
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import own_levels
from svirt_nova.mcs import ranking

WINDOW = 4_096
"""Levels that are looked at together.

In a space of which one level in a thousand is free, four are in a window.
"""

_FEWEST_KEPT = 6
_MOST_KEPT = 64
_SHARE_KEPT = 16
"""The part of a window's free levels that is kept: one of so many.

Others take levels of the same window unseen, and the levels of a process
shall not be neighbours for long. Windows of which more was taken at once
would soon be either full or nearly free, so that ever more of them had to be
looked at.
"""

_COLLISIONS = 2
"""Collisions in a row after which what is kept is looked at as too old."""

_MOST_OWNERS = 256
"""Projects whose candidates are kept."""

_WEIGHT = 0.2
"""How much the newest window weighs in what is believed of the fill."""

Window = tuple[int, int]
"""The first position, and the one after the last."""


def windows(number: int) -> Iterator[Window]:
    """All windows, from a random one on: each level is in one of them.

    :param number: how many levels there are
    """
    first = random.randrange(number) // WINDOW * WINDOW
    for start in (*range(first, number, WINDOW), *range(0, first, WINDOW)):
        yield start, min(start + WINDOW, number)


class Candidates:
    """The candidates of an owner: a project, or the whole cloud.

    At first each is any level of the owner. From the first collision on,
    each is one that was free when its window was looked at.

    It is safe to use from several threads.

    :param own: all levels of the owner
    """

    def __init__(self, own: own_levels.OwnLevels) -> None:
        self.own = own
        self.full: fullness.Fullness | None = None
        """What is remembered if every level was in use."""
        self._lock = threading.Lock()
        self._is_blind = True
        self._kept: list[int] = []
        self._windows: list[Window] = []
        # One that had more free levels than were kept.
        self._spare: Window | None = None
        self._collisions = 0
        self._fill = 0.0
        self._saw_all = False

    @property
    def fill(self) -> float:
        """The share that is believed taken, from 0 to 1.

        It is exact for those who saw all levels in one window, and an
        estimate by the last windows otherwise.
        """
        if self._saw_all:
            return self._fill
        return min(self._fill, 1 - 1 / self.own.number)

    def pick(self) -> levels.Level | None:
        """Pick a candidate, which nobody else gets from here.

        :returns: None when a window is to be looked at
        """
        if self._is_blind:
            return _level(self.own.rank(random.randrange(self.own.number)))
        with self._lock:
            if not self._kept:
                return None
            if self._saw_all:
                self._fill += 1 / self.own.number
            return _level(self._kept.pop())

    def succeed(self) -> None:
        """Note that a candidate was free."""
        self._collisions = 0

    def collide(self) -> None:
        """Note that a candidate was taken."""
        with self._lock:
            self._is_blind = False
            self._collisions += 1
            if self._collisions >= _COLLISIONS:
                self._collisions = 0
                self._kept.clear()

    def release(self, level: levels.Level) -> None:
        """Take back a candidate that was not tried."""
        with self._lock:
            if self._is_blind:
                return
            self._kept.append(ranking.rank(level.categories))
            if self._saw_all:
                self._fill -= 1 / self.own.number

    def window(self) -> Window:
        """The window to look at next."""
        with self._lock:
            if self._windows:
                return self._windows.pop()
        return next(windows(self.own.number))

    def prefer(self, chosen: Sequence[Window]) -> None:
        """Look at these windows before any others, in any order."""
        with self._lock:
            self._windows = random.sample(chosen, len(chosen))

    def learn(
        self, window: Window, free: Sequence[int]
    ) -> levels.Level | None:
        """Learn which levels of a window are free, and pick one of them.

        :param free: the ranks of those that are free
        :returns: None when none is
        """
        start, stop = window
        share = 1 - len(free) / (stop - start)
        kept = min(_MOST_KEPT, max(_FEWEST_KEPT, len(free) // _SHARE_KEPT))
        with self._lock:
            self._saw_all = stop - start == self.own.number
            is_first = self._is_blind or self._fill == 0
            weight = 1 if self._saw_all or is_first else _WEIGHT
            self._fill += weight * (share - self._fill)
            if len(free) > kept:
                self._spare = window
            elif not free and self._spare is not None:
                self._windows.append(self._spare)
                self._spare = None
        return self.offer(random.sample(free, min(kept, len(free))))

    def offer(self, free: Sequence[int]) -> levels.Level | None:
        """Let these levels be the candidates, and pick one of them.

        :param free: their ranks, in any order
        :returns: None when there are none
        """
        with self._lock:
            self._is_blind = False
            self._collisions = 0
            self._kept = [*free]
        return self.pick()


def _level(rank: int) -> levels.Level:
    return levels.Level(ranking.unrank(rank))


class CandidateCache:
    """Candidates for one generation of the level space.

    In the scheme ``project`` each project has candidates of its own. When
    the generation changes, a new cache is made.

    :param stored: the level space, as the store has it
    """

    def __init__(self, stored: space_rows.Stored) -> None:
        self.space = stored.space
        self.generation = stored.generation
        self.project_parts: dict[str, levels.Level] = {}
        """The parts that projects are known to have."""
        self._lock = threading.Lock()
        # The least recently used part comes first.
        self._by_part: collections.OrderedDict[
            levels.Level | None, Candidates
        ] = collections.OrderedDict()

    def of_part(self, part: levels.Level | None) -> Candidates:
        """The candidates with a project's part.

        :param part: None in the scheme ``instance``
        """
        with self._lock:
            found = self._by_part.pop(part, None)
            if found is None:
                found = Candidates(
                    own_levels.OwnLevels(
                        self.space.categories, self.space.per_level, part
                    )
                )
            self._by_part[part] = found
            if len(self._by_part) > _MOST_OWNERS:
                self._by_part.popitem(last=False)
        return found


def pick_set(
    categories: Collection[int], size: int, taken: Collection[int]
) -> int | None:
    """The rank of a random set of categories.

    :param size: how many categories the set has
    :param taken: the ranks of sets that it must not be
    :returns: None when all are taken
    """
    own = own_levels.OwnLevels(categories, size)
    for window in windows(own.number):
        free = [rank for rank in own.ranks(*window) if rank not in taken]
        if free:
            return random.choice(free)
    return None
