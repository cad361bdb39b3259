# SPDX-License-Identifier: Apache-2.0
"""The rank of a level: one number for each set of categories.

Sets are ranked by their size, and sets of one size in colexicographic
order (the combinatorial number system). The rank of a level does not depend
on the level space, so that it stays the same when the space is changed.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Collection

from svirt_nova import exception
from svirt_nova.mcs import levels

MOST_CATEGORIES = 7
"""The largest sets with a rank: those of larger ones do not fit 63 bits."""


@functools.cache
def _column(size: int) -> list[int]:
    """C(0, size), C(1, size), ... up to the number of categories."""
    return [math.comb(n, size) for n in range(levels.CATEGORY_LIMIT + 1)]


@functools.cache
def first(size: int) -> int:
    """The rank of the first set of a size."""
    return sum(_column(n)[-1] for n in range(size))


def has_rank(categories: Collection[int]) -> bool:
    """Whether a set of categories is small enough to have a rank."""
    return len(categories) <= MOST_CATEGORIES


def check(categories: Collection[int]) -> None:
    """Check that a set of categories has a rank.

    :raises NotInSpace: the set is too large to have one
    """
    if not has_rank(categories):
        raise exception.NotInSpace(
            f'a level of {len(categories)} categories has no rank: '
            f'{MOST_CATEGORIES} are the most'
        )


def rank(categories: Collection[int]) -> int:
    """The rank of a set of categories.

    :raises NotInSpace: the set is too large to have one
    """
    check(categories)
    return first(len(categories)) + sum(
        _column(size)[category]
        for size, category in enumerate(sorted(categories), start=1)
    )


def unrank(rank: int) -> frozenset[int]:
    """The set of categories of a rank; the inverse of :func:`rank`.

    :raises NotInSpace: no set has that rank
    """
    if not 0 <= rank < first(MOST_CATEGORIES + 1):
        raise exception.NotInSpace(f'{rank} is the rank of no level')
    size = MOST_CATEGORIES
    while rank < first(size):
        size -= 1
    rank -= first(size)
    chosen = []
    for n in range(size, 0, -1):
        column = _column(n)
        category = bisect.bisect_right(column, rank) - 1
        chosen.append(category)
        rank -= column[category]
    return frozenset(chosen)


def mask(categories: Collection[int], size: int) -> int:
    """The sets of one size out of some categories, as a bit mask.

    Bit n stands for the set of the rank ``first(size) + n``.
    """
    bits = 1
    for n in range(1, size + 1):
        column, below = _column(n), _column(n - 1)
        # The sets whose largest category is c: those of n - 1 below c.
        bits = sum(
            (bits & (1 << below[c]) - 1) << column[c] for c in categories
        )
    return bits
