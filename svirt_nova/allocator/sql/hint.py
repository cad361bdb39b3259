# SPDX-License-Identifier: Apache-2.0
"""A guess at which ranks are free, so that an allocation seldom fails.

Pure memory. A wrong guess costs one duplicate and another try, never a
wrong answer: the store's constraints decide.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterable

MAX_SIZE = 1 << 24
"""The largest space with a bitmap, in levels: 2 MiB of memory."""

_PATIENCE = 16
_BLIND_PATIENCE = 64

_NOT_FULL = re.compile(rb'[^\xff]')


class Bitmap:
    """A bit for each rank: set where the level is believed taken.

    Nothing is known before the first :meth:`load`, which the first wrong
    guess is worth. Safe to use from several threads.

    :param size: the number of levels
    """

    remembers = True
    """Whether :meth:`load` is of any use."""

    patience: int
    """Wrong guesses in a row that a load is worth."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.patience = 1
        self._lock = threading.Lock()
        self._bits = self._filled(())

    def _filled(self, ranks: Iterable[int]) -> bytearray:
        bits = bytearray((self.size + 7) // 8)
        if self.size % 8:
            # There are no levels behind the last one.
            bits[-1] = 0xFF << self.size % 8 & 0xFF
        for rank in ranks:
            bits[rank >> 3] |= 1 << (rank & 7)
        return bits

    def load(self, taken: Iterable[int]) -> None:
        """Believe of exactly these ranks that they are taken."""
        bits = self._filled(taken)
        with self._lock:
            self._bits = bits
            self.patience = _PATIENCE

    def pick(self) -> int | None:
        """A random rank that is believed free, from now on taken.

        Picks from the first byte with a free rank after a random place:
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
            return byte * 8 + bit

    def release(self, rank: int) -> None:
        """Believe of a rank that it is free."""
        with self._lock:
            self._bits[rank >> 3] &= ~(1 << (rank & 7))


class Probe:
    """The stand-in for a space too large for a bitmap: any random rank.

    :param size: the number of levels
    """

    remembers = False
    patience = _BLIND_PATIENCE

    def __init__(self, size: int) -> None:
        self.size = size

    def load(self, taken: Iterable[int]) -> None:
        """Remember nothing."""

    def pick(self) -> int | None:
        """Any rank at all."""
        return random.randrange(self.size)

    def release(self, rank: int) -> None:
        """Remember nothing."""


Hint = Bitmap | Probe


def for_size(size: int) -> Hint:
    """The kind of hint that fits a space of so many levels."""
    return Bitmap(size) if size <= MAX_SIZE else Probe(size)
