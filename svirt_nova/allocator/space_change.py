# SPDX-License-Identifier: Apache-2.0
"""Which levels in use stand against a new level space."""

from __future__ import annotations

from collections.abc import Iterable

from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


def levels_against(
    space: spaces.LevelSpace,
    in_use: Iterable[tuple[levels.Level, levels.Level | None]],
) -> list[levels.Level]:
    """The levels and projects' parts that the space cannot be used beside.

    :param space: the new space
    :param in_use: each level that is not free, with the part that it has
        of its project, if any
    :returns: sorted by rank; none when the space may be changed
    """
    against = set()
    for level, part in in_use:
        if space.clashes(level):
            against.add(level)
        # Files that the project shares have its part alone as their level.
        if part is not None and not space.has_part(part):
            against.add(part)
    return sorted(against, key=lambda each: ranking.rank(each.categories))
