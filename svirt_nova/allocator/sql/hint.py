# SPDX-License-Identifier: Apache-2.0
"""A guess at which levels are free, so that an allocation seldom fails.

Pure memory. A wrong guess costs one duplicate and another try, never a
wrong answer: the store's constraints decide.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Collection
from collections.abc import Iterable

from svirt_nova import ranking

MAX_SIZE = 1 << 24
"""The most sets with a bitmap, in bits: 2 MiB of memory."""

_PATIENCE = 1_000
_BLIND_PATIENCE = 64
# How much the last guess counts, and from which share of wrong ones on a
# look at some levels costs less than what follows a wrong guess.
_WEIGHT = 0.1
_DOUBT = 0.15

_NOT_FULL = re.compile(rb'[^\xff]')


class _Luck:
    """What share of guesses has lately been wrong."""

    def __init__(self) -> None:
        self._wrong = 0.0

    @property
    def is_doubtful(self) -> bool:
        """Whether to look before the next guess."""
        return self._wrong > _DOUBT

    def measured(self, wrong: float) -> None:
        """Learn from a look what share of guesses would be wrong."""
        self._wrong = wrong

    def _count(self, *, wrong: bool) -> None:
        self._wrong += _WEIGHT * (wrong - self._wrong)

    def hit(self) -> None:
        """Count a right guess."""
        self._count(wrong=False)


class Bitmap(_Luck):
    """A bit for each set of categories: set where it is believed taken.

    Nothing is known before the first :meth:`load`, which the first wrong
    guess is worth. Safe to use from several threads.

    :param categories: what the sets are made of
    :param size: how many categories each has
    """

    remembers = True
    """Whether :meth:`load` is of any use."""

    def __init__(self, categories: Collection[int], size: int) -> None:
        super().__init__()
        # Wrong guesses that a load is worth, and those since the last.
        self._patience = 1
        self._misses = 0
        self._first = ranking.first(size)
        self._lock = threading.Lock()
        possible = ranking.mask(categories, size)
        length = (possible.bit_length() + 7) // 8
        # Sets that cannot be made are as good as taken.
        self._empty = ((1 << 8 * length) - 1 ^ possible).to_bytes(
            length, 'little'
        )
        self._bits = bytearray(self._empty)
        self._size = self._free = possible.bit_count()

    @property
    def fill(self) -> float:
        """The share that is believed taken, 0 to 1."""
        return 1 - self._free / self._size

    def load(self, taken: Iterable[int]) -> None:
        """Believe of exactly these ranks that they are taken."""
        bits = bytearray(self._empty)
        end = self._first + 8 * len(bits)
        for rank in taken:
            if self._first <= rank < end:
                place = rank - self._first
                bits[place >> 3] |= 1 << (place & 7)
        with self._lock:
            self._bits = bits
            self._free = 8 * len(bits) - int.from_bytes(bits).bit_count()
            self._patience = _PATIENCE
            self._misses = 0
        self.measured(0.0)

    def pick(self) -> int | None:
        """The rank of a random set believed free, from now on taken.

        Picks from the first byte with a free one after a random place:
        one pass through memory however few are free.

        :returns: None when all are believed taken
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

    def miss(self) -> bool:
        """Count a wrong guess; whether it is time for a load."""
        self._count(wrong=True)
        with self._lock:
            self._misses += 1
            return self._misses >= self._patience

    def release(self, rank: int) -> None:
        """Believe of a rank that it is free."""
        place = rank - self._first
        with self._lock:
            bit = 1 << (place & 7)
            self._free += bool(self._bits[place >> 3] & bit)
            self._bits[place >> 3] &= ~bit


class Probe(_Luck):
    """The stand-in for more sets than a bitmap holds: any random one.

    :param categories: what the sets are made of
    :param size: how many categories each has
    """

    remembers = False
    fill = 0.0

    def __init__(self, categories: Collection[int], size: int) -> None:
        super().__init__()
        self._categories = sorted(categories)
        self._size = size
        self._misses = 0

    def load(self, taken: Iterable[int]) -> None:
        """Remember nothing."""

    def pick(self) -> int | None:
        """The rank of any set at all."""
        return ranking.rank(random.sample(self._categories, self._size))

    def miss(self) -> bool:
        """Count a wrong guess; whether the space may be full."""
        self._count(wrong=True)
        self._misses += 1
        return self._misses % _BLIND_PATIENCE == 0

    def release(self, rank: int) -> None:
        """Remember nothing."""


Hint = Bitmap | Probe


def of_sets(categories: Collection[int], size: int) -> Hint:
    """The kind of hint that fits the sets of a size out of categories."""
    bits = math.comb(max(categories) + 1, size)
    kind = Bitmap if bits <= MAX_SIZE else Probe
    return kind(categories, size)
