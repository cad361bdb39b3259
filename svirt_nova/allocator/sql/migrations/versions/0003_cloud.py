# SPDX-License-Identifier: Apache-2.0
"""The cloud that a store belongs to."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0003'
down_revision = '0002'

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
        'cloud',
        sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('name', sa.Text, nullable=False),
        sa.CheckConstraint('id = 1', name='ck_cloud_one_row'),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_table(
        'cloud_host',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('service_uuid', sa.String(36)),
        sa.Column('missing_since', _TIME),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
