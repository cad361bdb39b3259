# SPDX-License-Identifier: Apache-2.0
"""The history by instance and by project, and the hosts in it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0007'
down_revision = '0006'

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
    """Add what is not there.

    MariaDB cannot undo the half of it that was broken off. When claims were
    made that are there is not known.
    """
    if 'claimed_at' not in _present('claim'):
        op.add_column('claim', sa.Column('claimed_at', _TIME))
    op.create_table(
        'past_claim',
        sa.Column('id', _BIG, primary_key=True),
        sa.Column('instance_uuid', sa.String(36), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.Column('claimed_at', _TIME),
        sa.Column('dropped_at', _TIME, nullable=False),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    for name, table, columns in (
        (
            'ix_past_claim_instance',
            'past_claim',
            ['instance_uuid', 'dropped_at'],
        ),
        ('ix_past_claim_dropped', 'past_claim', ['dropped_at']),
        ('ix_history_instance', 'history', ['instance_uuid', 'created_at']),
        (
            'ix_history_project',
            'history',
            ['project_id', 'created_at', 'retired_at'],
        ),
    ):
        op.create_index(name, table, columns, if_not_exists=True)


def _present(table: str) -> set[str]:
    if op.get_context().as_sql:
        return set()
    columns = sa.inspect(op.get_bind()).get_columns(table)
    return {each['name'] for each in columns}
