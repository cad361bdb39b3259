# SPDX-License-Identifier: Apache-2.0
"""Counts who uses the level space, and how fast it fills."""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from svirt_nova.allocator import forecast
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import schema


def count(
    store: stores.Store,
    cooling: datetime.timedelta,
    free: int,
    most: int | None,
) -> types.Usage:
    """Count for :meth:`base.Allocator.usage`.

    :param cooling: how long a level cools before it is free again
    :param free: how many levels are free
    :param most: no more than so many projects, and hosts; None for all
    """

    def work(connection: sa.Connection) -> types.Usage:
        now = allocation_queries.now(connection)
        per_day = forecast.levels_per_day(
            now,
            allocation_queries.oldest(connection),
            lambda moment: history_rows.count_used(
                connection, moment, cooling
            ),
        )
        full_at = forecast.full_at(now, free, per_day)
        return types.Usage(
            by_project=types.with_most(
                allocation_queries.count_by_project(connection, now - cooling),
                most,
            ),
            by_host=types.with_most(
                allocation_queries.count_by_host(connection), most
            ),
            per_day=per_day,
            full_at=full_at and schema.utc(full_at),
        )

    return store.read(work)
