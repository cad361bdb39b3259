# SPDX-License-Identifier: Apache-2.0
"""Keys of hosts and of operators, and the calls that they have signed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0004'
down_revision = '0003'

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')

_TABLE_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'mariadb_collate': 'utf8mb4_bin',
}


def upgrade() -> None:
    """Make the tables that are not there."""
    op.create_table(
        'caller_key',
        sa.Column('public_key', sa.String(43), primary_key=True),
        sa.Column('role', sa.String(16), nullable=False),
        sa.Column('owner', sa.String(255), nullable=False),
        sa.Column('enrolled_at', _TIME, nullable=False),
        sa.Column('used_at', _TIME),
        sa.Column('revoked_at', _TIME),
        sa.Column('is_first_call', sa.Boolean, nullable=False),
        sa.Column('is_binding', sa.Boolean, nullable=False),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_index(
        'ix_caller_key_owner', 'caller_key', ['owner'], if_not_exists=True
    )
    op.create_table(
        'signed_call',
        sa.Column('identity', sa.String(56), primary_key=True),
        sa.Column('done_by', sa.String(22), nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
