# SPDX-License-Identifier: Apache-2.0
"""The level space: which levels may be given out, and their ranking.

A space is the k-subsets of a set of categories. Levels of one fixed size
form an antichain: none contains another.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import math

from svirt_nova import exception
from svirt_nova import level as levels


@dataclasses.dataclass(frozen=True)
class LevelSpace:
    """All levels of a fixed number of categories out of a set.

    Levels are ranked in colexicographic order (the combinatorial number
    system): a space whose category range grows at its upper end keeps the
    ranks that it had.

    :param categories: the categories that levels are made of
    :param per_level: how many categories each level has
    :raises InvalidSpace: no level could be made
    """

    categories: frozenset[int]
    per_level: int = 2

    def __post_init__(self) -> None:
        try:
            # Checks that every category exists.
            levels.Level(self.categories)
        except exception.InvalidLevel as error:
            raise exception.InvalidSpace(str(error)) from error
        if not 1 <= self.per_level < len(self.categories):
            raise exception.InvalidSpace(
                f'a level of {self.per_level} categories cannot be chosen '
                f'out of {len(self.categories)}: take between 1 and one '
                f'less than there are'
            )

    @classmethod
    def parse(
        cls, categories: str, per_level: int = 2, excluded: str = ''
    ) -> LevelSpace:
        """Make a space from texts such as ``c0.c1023`` and ``c5,c7.c9``.

        :raises InvalidSpace: the texts are no category lists, or the
            space is empty
        """
        try:
            chosen = levels.parse_categories(categories)
            removed = (
                levels.parse_categories(excluded) if excluded else frozenset()
            )
        except exception.InvalidLevel as error:
            raise exception.InvalidSpace(str(error)) from error
        return cls(chosen - removed, per_level)

    def __str__(self) -> str:
        return (
            f'{self.per_level} of {levels.format_categories(self.categories)}'
        )

    @functools.cached_property
    def size(self) -> int:
        """How many levels the space has."""
        return math.comb(len(self.categories), self.per_level)

    @functools.cached_property
    def _ordered(self) -> list[int]:
        return sorted(self.categories)

    @functools.cached_property
    def _position(self) -> dict[int, int]:
        return {number: n for n, number in enumerate(self._ordered)}

    @functools.cached_property
    def _binomials(self) -> list[list[int]]:
        """For each subset size 1..k the column C(0, i), C(1, i), ..."""
        return [
            [math.comb(n, i) for n in range(len(self.categories))]
            for i in range(1, self.per_level + 1)
        ]

    def __contains__(self, level: levels.Level) -> bool:
        return (
            len(level.categories) == self.per_level
            and level.categories <= self.categories
        )

    def rank(self, level: levels.Level) -> int:
        """The number of a level in the space, from 0.

        :raises NotInSpace: the level is not one of the space
        """
        if level not in self:
            raise exception.NotInSpace(
                f'level {level} is not one of the space "{self}"'
            )
        positions = sorted(self._position[c] for c in level.categories)
        return sum(
            column[position]
            for column, position in zip(
                self._binomials, positions, strict=True
            )
        )

    def unrank(self, rank: int) -> levels.Level:
        """The level of a number; the inverse of :meth:`rank`.

        :raises NotInSpace: no level has that number
        """
        if not 0 <= rank < self.size:
            raise exception.NotInSpace(
                f'{rank} is no rank of the space "{self}": its ranks are 0 '
                f'to {self.size - 1}'
            )
        chosen = []
        for column in reversed(self._binomials):
            position = bisect.bisect_right(column, rank) - 1
            chosen.append(self._ordered[position])
            rank -= column[position]
        return levels.Level(frozenset(chosen))
