# SPDX-License-Identifier: Apache-2.0
"""Reserves levels that are used elsewhere, so that no instance gets them."""

from __future__ import annotations

import datetime
import time

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.mcs import levels


class Reservations:
    """Reserves levels of the present space.

    :param cooling: the time after which a level that cools is free
    """

    def __init__(
        self,
        store: stores.Store,
        space: present_space.PresentSpace,
        cooling: datetime.timedelta,
    ) -> None:
        self._store = store
        self._space = space
        self._cooling = cooling

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Reserve a level if it is free.

        :returns: who has the level afterwards
        :raises NotInSpace: the level is free, and not one of the space
        """
        deadline = time.monotonic() + self._store.timeout
        while True:
            found = self._space.run(
                lambda cache: self._insert(cache, level, note)
            )
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'level {level} was taken and freed by others all the '
                    f'time; try again'
                )

    def _insert(
        self, cache: candidates.CandidateCache, level: levels.Level, note: str
    ) -> types.Allocation | None:
        """Reserve a level if it is free; who has it afterwards.

        :returns: None if another call has made a row, which the next try
            finds
        """

        def work(connection: sa.Connection) -> types.Allocation | None:
            allocation_rows.free(
                connection,
                allocation_queries.cutoff(connection, self._cooling),
                allocation_queries.of_level(level),
                limit=1,
            )
            if allocation_queries.find_level(connection, level) is None:
                cache.space.check(level)
                allocation_rows.insert(
                    connection, level, generation=cache.generation, note=note
                )
            return allocation_queries.find_level(connection, level)

        try:
            return self._store.write(work)
        except errors.Conflict:
            return None
