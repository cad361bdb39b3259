# SPDX-License-Identifier: Apache-2.0
"""What hosts have and take, counted in the store of levels."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from svirt_nova.allocator import host_flows
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import flow_rows

_FORGET_LIMIT = 1_000
"""Rows deleted in one transaction: it bounds the wait of others."""


class SqlHostFlows(host_flows.HostFlows):
    """Counts in a store.

    :param store: where the levels are, too
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store

    def count(self, host: str) -> host_flows.HostCount:
        """Give what a host has."""

        def work(connection: sa.Connection) -> host_flows.HostCount:
            return host_flows.HostCount(
                allocation_queries.count_claims(connection, host),
                flow_rows.taken(connection, host),
            )

        return self._store.read(work)

    def add(self, host: str, taken: Mapping[host_flows.Flow, int]) -> None:
        """Count levels that a host has taken."""

        def work(connection: sa.Connection) -> None:
            for flow, number in taken.items():
                flow_rows.add(connection, host, flow, number)

        try:
            self._store.write(work)
        except errors.Conflict:
            # Another process has just made the row of the host.
            self._store.write(work)


def tidy(store: stores.Store) -> None:
    """Forget what was counted in windows that are over."""
    while store.write(lambda c: flow_rows.forget(c, _FORGET_LIMIT)):
        pass
