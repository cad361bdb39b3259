# SPDX-License-Identifier: Apache-2.0
"""Which levels in use stand against a new level space."""

from __future__ import annotations

from collections.abc import Iterable

from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces


def levels_against(
    space: spaces.LevelSpace,
    in_use: Iterable[tuple[levels.Level, str | None, levels.Level | None]],
) -> list[levels.Level]:
    """The levels and projects' parts that the space cannot be used beside.

    :param space: the new space
    :param in_use: each level that is not free, with its instance's project
        and the part that it has of the project, if it has these
    :returns: sorted by rank; none when the space may be changed
    """
    against = set()
    for level, project, part in in_use:
        if space.clashes(level):
            against.add(level)
        # Files that the project shares have its part alone as their level.
        if part is not None and not space.has_part(part):
            against.add(part)
        # Another project could get the part that the level would have, and
        # the files that its instances share would be open to this one.
        if (
            project is not None
            and level in space
            and space.project_part(level) != part
        ):
            against.add(level)
    return sorted(against, key=lambda each: ranking.rank(each.categories))
