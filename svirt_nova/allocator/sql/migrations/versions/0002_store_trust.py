# SPDX-License-Identifier: Apache-2.0
"""A generation by which a store is known that is older than its hosts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0002'
down_revision = '0001'

_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
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
        'store_trust',
        sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('store_generation', _BIG, nullable=False),
        sa.Column('grown_at', _TIME),
        sa.Column('distrusted_at', _TIME),
        sa.Column('reason', sa.Text, nullable=False),
        sa.CheckConstraint('id = 1', name='ck_store_trust_one_row'),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_table(
        'store_host',
        sa.Column('host', sa.String(255), primary_key=True),
        sa.Column('told_at', _TIME),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
