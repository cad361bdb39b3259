# SPDX-License-Identifier: Apache-2.0
"""How many levels hosts have taken of late."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0006'
down_revision = '0005'

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
    """Make the table, if it is not there."""
    op.create_table(
        'host_flow',
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('flow', sa.String(16), nullable=False),
        sa.Column('begun_at', _TIME, nullable=False),
        sa.Column('number', sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint('host', 'flow', name='pk_host_flow'),
        if_not_exists=True,
        sqlite_with_rowid=False,
        **_TABLE_OPTIONS,
    )
