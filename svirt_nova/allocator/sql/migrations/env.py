# SPDX-License-Identifier: Apache-2.0
"""Runs migrations on the connection that :mod:`upgrade` hands over."""

from __future__ import annotations

from alembic import context

from svirt_nova.allocator.sql.tables import schema

# Migrations run in the transaction of the caller, who settles the level
# space in it as well.
context.configure(
    connection=context.config.attributes['connection'],
    target_metadata=schema.metadata,
    version_table=schema.VERSION_TABLE,
)
context.run_migrations()
