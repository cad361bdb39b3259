# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of a space that it has seen to be full."""

from __future__ import annotations

import dataclasses
import datetime
import time

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import free_queries

_LONGEST = 60.0
"""Seconds after which the space is looked through again in any case.

What the marks do not show, such as rows that somebody deletes by hand or a
clock that is set back, is noticed after so long.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Fullness:
    """That every level of an owner was in use.

    Levels come free when they have cooled, when a reservation is released,
    and when the space is changed. The times of the first kind are known
    beforehand, and the store's marks show the others, so that one small
    query tells whether this still holds, whoever has changed the store.

    :param marks: of the store when it was seen
    :param until: when the first level that cools has cooled, by the
        database's clock, without a time zone
    :param stats: what the levels were used for; None of a project
    :param seen_at: when the space was looked through, as a monotonic time
    :param checked_at: when it was last known to hold, as such a time
    """

    marks: free_queries.Marks
    until: datetime.datetime
    stats: types.Stats | None
    seen_at: float
    checked_at: float

    def holds(self, marks: free_queries.Marks, now: datetime.datetime) -> bool:
        """Whether nothing has come free since.

        :param marks: of the store
        :param now: the database's clock, without a time zone
        """
        return (
            marks == self.marks
            and now < self.until
            and time.monotonic() < self.seen_at + _LONGEST
        )
