# SPDX-License-Identifier: Apache-2.0
"""How fast the level space fills, and when it will be full."""

from __future__ import annotations

import datetime
from collections.abc import Callable

_PERIOD = datetime.timedelta(days=7)
"""How far back the rate is measured."""

_SHORTEST_PERIOD = datetime.timedelta(hours=1)
"""A store that is used for less than this has no rate yet."""

_MOST_DAYS = 365_000
"""What is more days away may not be a date, nor even a timedelta."""

_DAY = datetime.timedelta(days=1)


def levels_per_day(
    now: datetime.datetime,
    oldest: datetime.datetime | None,
    count_used: Callable[[datetime.datetime], int],
) -> float | None:
    """By how many levels a day the space fills.

    It is measured over the last week or, if that is shorter, since the
    first of the present instances got its level.

    :param oldest: when that was; None when there is no instance
    :param count_used: tells how many levels were not free at a moment
    :returns: None within the first hour; negative while the space empties
    """
    begin = max(now - _PERIOD, oldest or now)
    if now - begin < _SHORTEST_PERIOD:
        return None
    return (count_used(now) - count_used(begin)) / ((now - begin) / _DAY)


def full_at(
    now: datetime.datetime, free: int, per_day: float | None
) -> datetime.datetime | None:
    """When the last free level will be given out.

    :param free: how many levels are free
    :param per_day: by how many levels a day the space fills
    :returns: None if never, or not within a thousand years
    """
    if per_day is None or per_day <= 0 or free / per_day >= _MOST_DAYS:
        return None
    return now + free / per_day * _DAY
