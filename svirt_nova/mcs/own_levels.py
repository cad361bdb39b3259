# SPDX-License-Identifier: Apache-2.0
"""The levels that one owner can have, by their position.

An owner is a project, or the whole cloud in the scheme ``instance``. All
levels of an owner have the same part of the project, so that their ranks
are in the order of the instance's own parts: colexicographic order compares
the largest category that only one of two sets has.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Sequence

from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking


class OwnLevels:
    """The levels of an owner, in the order of their ranks.

    :param categories: what the instance's part of a level is made of
    :param size: how many categories that part has
    :param part: the part of the project; None in the scheme ``instance``
    """

    def __init__(
        self,
        categories: Collection[int],
        size: int,
        part: levels.Level | None = None,
    ) -> None:
        self._categories = sorted(categories)
        self._size = size
        self._part = frozenset() if part is None else part.categories
        # The ranks of these are numbers without a gap.
        self._is_plain = not self._part and (
            self._categories[-1] == len(self._categories) - 1
        )
        self.number = math.comb(len(self._categories), size)
        """How many levels there are."""

    def rank(self, position: int) -> int:
        """The rank of the level at a position.

        :param position: from 0 to :attr:`number`, exclusive
        """
        chosen = self._places(position)
        return ranking.rank(
            self._part.union(self._categories[place] for place in chosen)
        )

    def ranks(self, start: int, stop: int) -> Sequence[int]:
        """The ranks of the levels at neighbouring positions, ascending.

        :param start: the first position
        :param stop: the position after the last
        """
        if self._is_plain:
            first = ranking.first(self._size)
            return range(first + start, first + stop)
        return [*itertools.islice(self._walk(start), stop - start)]

    def _places(self, position: int) -> list[int]:
        """Which of the categories a level has, ascending."""
        return sorted(ranking.unrank(ranking.first(self._size) + position))

    def _walk(self, position: int) -> Iterator[int]:
        """The ranks from a position on.

        Of neighbouring levels most differ in the lowest category alone, so
        that the rest of the sum is made once for all of them.
        """
        places = self._places(position)
        end = len(self._categories)
        while True:
            rest = sorted(
                self._part.union(self._categories[n] for n in places[1:])
            )
            # What the rest adds to the rank, by how many are below the
            # lowest category of the instance's part.
            sums = [
                ranking.first(len(rest) + 1)
                + sum(
                    math.comb(each, n + (1 if n < below else 2))
                    for n, each in enumerate(rest)
                )
                for below in range(len(rest) + 1)
            ]
            limit = places[1] if len(places) > 1 else end
            for place in range(places[0], limit):
                lowest = self._categories[place]
                below = bisect.bisect(rest, lowest)
                yield sums[below] + math.comb(lowest, below + 1)
            # The next larger of the higher places, with the lowest below.
            n = 1
            while n < len(places) and places[n] + 1 == (
                places[n + 1] if n + 1 < len(places) else end
            ):
                n += 1
            if n >= len(places):
                return
            places[n] += 1
            places[:n] = range(n)
