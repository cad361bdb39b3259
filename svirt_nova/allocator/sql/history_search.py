# SPDX-License-Identifier: Apache-2.0
"""Who has, and had, which level."""

from __future__ import annotations

import sqlalchemy as sa

from svirt_nova.allocator import types
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import history_rows
from svirt_nova.allocator.sql.tables import past_claim_rows


def search(
    store: stores.Store, wanted: history_rows.Search, limit: int | None
) -> list[types.Holding]:
    """Find holdings, oldest first; see :meth:`base.Allocator.history`."""

    def work(connection: sa.Connection) -> list[types.Holding]:
        # What instances have is read first: a level that comes free in
        # between is read twice rather than not at all.
        present = history_rows.present(connection, wanted, limit)
        found = history_rows.past(connection, wanted, limit)
        known = {(each.level, each.since) for each in found}
        found += [
            each for each in present if (each.level, each.since) not in known
        ]
        found.sort(key=lambda each: each.since)
        return past_claim_rows.with_claims(
            connection, types.first_holdings(found, limit)
        )

    return store.read(work)
