# SPDX-License-Identifier: Apache-2.0
"""Which level a new instance may get: a guess, out of memory.

It belongs to one generation of the level space; when that changes, a new
one is made.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterable
from collections.abc import Sequence

from svirt_nova import ranking
from svirt_nova.allocator.sql import hint as hints
from svirt_nova.allocator.sql import level_space

WHOLE = -1
"""In the place of a project's part: the space as a whole."""

_HYSTERESIS = 5

_MOST_HINTS = 256
"""Projects whose levels are remembered: 64 KiB of memory each."""


class Guess:
    """Levels and projects' parts that are believed free.

    :param stored: the level space, as the store has it
    """

    def __init__(self, stored: level_space.Stored) -> None:
        self.space = stored.space
        self.generation = stored.generation
        self.parts: dict[str, int] = {}
        """The parts that projects are known to have, as ranks."""
        self._told: dict[int | None, int] = {}
        self._lock = threading.Lock()
        self._hints: collections.OrderedDict[int | None, hints.Hint]
        self._hints = collections.OrderedDict()

    def hint(self, part: int | None) -> hints.Hint:
        """What is known of the levels with a project's part."""
        with self._lock:
            found = self._hints.pop(part, None)
            if found is None:
                found = hints.of_sets(
                    self.space.categories, self.space.per_level
                )
            self._hints[part] = found
            if len(self._hints) > _MOST_HINTS:
                self._hints.popitem(last=False)
        return found

    def pick(self, part: int | None) -> int | None:
        """The rank of a level with a part; None when all seem taken."""
        own = self.hint(part).pick()
        if own is None or part is None:
            return own
        return ranking.rank(ranking.unrank(part) | ranking.unrank(own))

    def sample(self, part: int | None, number: int) -> list[int]:
        """The ranks of several levels with a part; fewer when few are left."""
        picked = (self.pick(part) for _ in range(number))
        return [rank for rank in picked if rank is not None]

    def release(self, part: int | None, rank: int) -> None:
        """Believe of a level with a part that it is free."""
        self.hint(part).release(self._own(part, rank))

    def load(self, part: int | None, ranks: Iterable[int]) -> None:
        """Believe of exactly these levels with a part that they are taken."""
        self.hint(part).load(self._own(part, rank) for rank in ranks)

    def marks_passed(
        self, part: int | None, marks: Sequence[int], fill: float
    ) -> int | None:
        """The highest mark that a fill has passed and not been told.

        A mark is told again after the fill was well below it.

        :param part: a project's part, None in the scheme instance, or
            :data:`WHOLE`
        :param marks: in per cent, ascending
        :param fill: 0 to 1
        """
        passed = [mark for mark in marks if 100 * fill >= mark]
        highest = passed[-1] if passed else -1
        told = self._told.get(part, -1)
        if highest > told or 100 * fill < told - _HYSTERESIS:
            self._told[part] = highest
        return highest if highest > told else None

    def _own(self, part: int | None, rank: int) -> int:
        if part is None:
            return rank
        return ranking.rank(ranking.unrank(rank) - ranking.unrank(part))
