# SPDX-License-Identifier: Apache-2.0
"""Levels, claims, projects, history and the level space."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = '0001'
down_revision = None

_RANK = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')
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
    """Make the tables that are not there.

    MariaDB cannot undo the half of it that was broken off.
    """
    op.create_table(
        'level_space',
        sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('categories', sa.Text, nullable=False),
        sa.Column('per_level', sa.Integer, nullable=False),
        sa.Column('project_categories', sa.Text, nullable=False),
        sa.Column('per_project', sa.Integer, nullable=False),
        sa.Column('generation', sa.Integer, nullable=False),
        sa.Column('closed_at', _TIME),
        sa.Column('oldest_release', sa.String(32), nullable=False),
        sa.CheckConstraint('id = 1', name='ck_level_space_one_row'),
        sa.CheckConstraint('per_level >= 1', name='ck_level_space_per_level'),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_table(
        'project',
        sa.Column('project_id', sa.String(255), nullable=False),
        sa.Column('level_rank', _RANK, nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.PrimaryKeyConstraint('project_id', 'level_rank', name='pk_project'),
        sa.UniqueConstraint('project_id', name='uniq_project_id'),
        sa.UniqueConstraint('level_rank', name='uniq_project_rank'),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_table(
        'allocation',
        sa.Column('level_rank', _RANK, primary_key=True, autoincrement=False),
        sa.Column('instance_uuid', sa.String(36)),
        sa.Column('project_id', sa.String(255)),
        sa.Column('project_rank', _RANK),
        sa.Column('host', sa.String(255)),
        sa.Column('is_outside', sa.Boolean, nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('retired_at', _TIME),
        sa.Column('note', sa.String(255), nullable=False),
        sa.UniqueConstraint('instance_uuid', name='uniq_allocation_instance'),
        sa.ForeignKeyConstraint(
            ['project_id', 'project_rank'],
            ['project.project_id', 'project.level_rank'],
            name='fk_allocation_project',
            ondelete='RESTRICT',
            onupdate='RESTRICT',
        ),
        sa.CheckConstraint('level_rank >= 0', name='ck_allocation_rank'),
        sa.CheckConstraint(
            '(instance_uuid IS NULL AND project_id IS NULL) OR '
            '(instance_uuid IS NOT NULL AND project_id IS NOT NULL)',
            name='ck_allocation_owner',
        ),
        sa.CheckConstraint(
            'instance_uuid IS NOT NULL OR '
            '(host IS NULL AND retired_at IS NULL)',
            name='ck_allocation_reserved',
        ),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_index(
        'ix_allocation_project',
        'allocation',
        ['project_id', 'project_rank'],
        if_not_exists=True,
    )
    op.create_index(
        'ix_allocation_host', 'allocation', ['host'], if_not_exists=True
    )
    op.create_table(
        'history',
        sa.Column('id', _RANK, primary_key=True),
        sa.Column('level_rank', _RANK, nullable=False),
        sa.Column('instance_uuid', sa.String(36), nullable=False),
        sa.Column('project_id', sa.String(255), nullable=False),
        sa.Column('created_at', _TIME, nullable=False),
        sa.Column('retired_at', _TIME, nullable=False),
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_index(
        'ix_history_level',
        'history',
        ['level_rank', 'created_at'],
        if_not_exists=True,
    )
    op.create_index(
        'ix_history_retired', 'history', ['retired_at'], if_not_exists=True
    )
    op.create_table(
        'claim',
        sa.Column('instance_uuid', sa.String(36), nullable=False),
        sa.Column('host', sa.String(255), nullable=False),
        sa.PrimaryKeyConstraint('instance_uuid', 'host', name='pk_claim'),
        sa.ForeignKeyConstraint(
            ['instance_uuid'],
            ['allocation.instance_uuid'],
            name='fk_claim_allocation',
            ondelete='RESTRICT',
            onupdate='RESTRICT',
        ),
        sqlite_with_rowid=False,
        if_not_exists=True,
        **_TABLE_OPTIONS,
    )
    op.create_index('ix_claim_host', 'claim', ['host'], if_not_exists=True)
