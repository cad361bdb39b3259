# SPDX-License-Identifier: Apache-2.0
"""Candidates: levels that are believed to be free, kept in memory.

The store's constraints decide whether a candidate is free. A wrong one costs
a duplicate key and another try, never a wrong answer; nothing here does I/O.
"""

from __future__ import annotations

import collections
import math
import random
import re
import threading
from collections.abc import Collection
from collections.abc import Iterable

from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

MAX_BITS = 1 << 24
"""The largest bitmap, in bits: 2 MiB of memory."""

_MAX_BITMAPS = 256
"""Projects with a bitmap of their own: 64 KiB of memory each."""

_COLLISIONS_PER_LOAD = 1_000
"""Collisions after which loading a bitmap costs less than the next ones."""

_COLLISIONS_PER_CHECK = 64
"""Collisions of random probes after which the space may be full."""

# How much the newest result weighs in the failure rate, and the rate from
# which on checking some candidates costs less than their collisions.
_WEIGHT = 0.1
_CHECK_FIRST_ABOVE = 0.15

_NOT_FULL = re.compile(rb'[^\xff]')


class _FailureRate:
    """The share of recent candidates that turned out to be taken."""

    def __init__(self) -> None:
        self.failure_rate = 0.0

    @property
    def should_check_first(self) -> bool:
        """Whether to ask the store about candidates before trying one."""
        return self.failure_rate > _CHECK_FIRST_ABOVE

    def succeed(self) -> None:
        """Count a candidate that was free."""
        self._count(failed=False)

    def _count(self, *, failed: bool) -> None:
        self.failure_rate += _WEIGHT * (failed - self.failure_rate)


class Bitmap(_FailureRate):
    """A bit for each set of categories, set where it is believed taken.

    The bitmap starts empty; the first collision loads it from the store.
    It is safe to use from several threads.

    :param categories: what the sets are made of
    :param size: how many categories each set has
    """

    is_loadable = True
    """Whether :meth:`load` has an effect."""

    def __init__(self, categories: Collection[int], size: int) -> None:
        super().__init__()
        self._collisions_per_load = 1
        self._collisions = 0
        self._first = ranking.first(size)
        self._lock = threading.Lock()
        possible = ranking.mask(categories, size)
        length = (possible.bit_length() + 7) // 8
        # Sets that are not of these categories count as taken.
        self._empty = ((1 << 8 * length) - 1 ^ possible).to_bytes(
            length, 'little'
        )
        self._bits = bytearray(self._empty)
        self._size = self._free = possible.bit_count()

    @property
    def fill(self) -> float:
        """The share that is believed taken, from 0 to 1."""
        return 1 - self._free / self._size

    def load(self, taken: Iterable[int]) -> None:
        """Replace the bitmap: exactly these ranks are believed taken."""
        bits = bytearray(self._empty)
        end = self._first + 8 * len(bits)
        for rank in taken:
            if self._first <= rank < end:
                place = rank - self._first
                bits[place >> 3] |= 1 << (place & 7)
        with self._lock:
            self._bits = bits
            self._free = 8 * len(bits) - int.from_bytes(bits).bit_count()
            self._collisions_per_load = _COLLISIONS_PER_LOAD
            self._collisions = 0
        self.failure_rate = 0.0

    def pick(self) -> int | None:
        """Pick the rank of a random free set, and mark it as taken.

        The search starts at a random byte, so that it passes once through
        memory however few sets are free.

        :returns: None when all sets are believed taken
        """
        with self._lock:
            bits = self._bits
            start = random.randrange(len(bits))
            found = _NOT_FULL.search(bits, start) or _NOT_FULL.search(bits)
            if found is None:
                return None
            byte = found.start()
            bit = random.choice(
                [n for n in range(8) if not bits[byte] >> n & 1]
            )
            bits[byte] |= 1 << bit
            self._free -= 1
            return self._first + byte * 8 + bit

    def collide(self) -> bool:
        """Count a candidate that was taken.

        :returns: whether loading the bitmap anew is worth its cost
        """
        self._count(failed=True)
        with self._lock:
            self._collisions += 1
            return self._collisions >= self._collisions_per_load

    def release(self, rank: int) -> None:
        """Mark a rank as free."""
        place = rank - self._first
        with self._lock:
            bit = 1 << (place & 7)
            self._free += bool(self._bits[place >> 3] & bit)
            self._bits[place >> 3] &= ~bit


class RandomProbe(_FailureRate):
    """Candidates of a space that is too large for a bitmap: random sets.

    :param categories: what the sets are made of
    :param size: how many categories each set has
    """

    is_loadable = False
    fill = 0.0

    def __init__(self, categories: Collection[int], size: int) -> None:
        super().__init__()
        self._categories = sorted(categories)
        self._size = size
        self._collisions = 0

    def load(self, taken: Iterable[int]) -> None:
        """Do nothing: a probe has no memory."""

    def pick(self) -> int | None:
        """Pick the rank of any random set."""
        return ranking.rank(random.sample(self._categories, self._size))

    def collide(self) -> bool:
        """Count a candidate that was taken.

        :returns: whether to find out if the space is full
        """
        self._count(failed=True)
        self._collisions += 1
        return self._collisions % _COLLISIONS_PER_CHECK == 0

    def release(self, rank: int) -> None:
        """Do nothing: a probe has no memory."""


Candidates = Bitmap | RandomProbe


def of_sets(categories: Collection[int], size: int) -> Candidates:
    """The kind of candidates that fits sets of a size."""
    bits = math.comb(max(categories) + 1, size)
    kind = Bitmap if bits <= MAX_BITS else RandomProbe
    return kind(categories, size)


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
                found = of_sets(self.space.categories, self.space.per_level)
            self._by_part[part] = found
            if len(self._by_part) > _MAX_BITMAPS:
                self._by_part.popitem(last=False)
        return found

    def pick(self, part: levels.Level | None) -> levels.Level | None:
        """Pick a candidate with a part; None when all seem taken."""
        own = self.of_part(part).pick()
        if own is None:
            return None
        categories = ranking.unrank(own)
        if part is not None:
            categories |= part.categories
        return levels.Level(categories)

    def sample(
        self, part: levels.Level | None, number: int
    ) -> list[levels.Level]:
        """Pick several candidates with a part; fewer when few are left."""
        picked = (self.pick(part) for _ in range(number))
        return [level for level in picked if level is not None]

    def release(self, part: levels.Level | None, level: levels.Level) -> None:
        """Mark a level with a part as free."""
        self.of_part(part).release(
            ranking.rank(_own_categories(part, level.categories))
        )

    def load(self, part: levels.Level | None, ranks: Iterable[int]) -> None:
        """Learn which levels with a part are taken, and that no others are.

        :param ranks: of whole levels. They are read by the hundred thousand,
            and in the scheme ``instance`` are those of the bitmap.
        """
        if part is not None:
            ranks = (
                ranking.rank(_own_categories(part, ranking.unrank(rank)))
                for rank in ranks
            )
        self.of_part(part).load(ranks)


def _own_categories(
    part: levels.Level | None, categories: frozenset[int]
) -> frozenset[int]:
    """The categories of a level that are not its project's."""
    return categories if part is None else categories - part.categories
