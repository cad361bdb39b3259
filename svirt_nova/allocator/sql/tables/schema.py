# SPDX-License-Identifier: Apache-2.0
"""The tables of the store, and what their rows mean.

There is one row for each level that is not free. A constraint of the
database keeps a level from being held twice: the code above it only chooses
candidates. The one statement that frees levels has the condition that no
host claims them.
"""

from __future__ import annotations

import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext import compiler
from sqlalchemy.sql import functions

from svirt_nova.allocator import arguments
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

REVISION = '0007'
"""The schema's alembic revision that this code works with."""

OLDEST_RELEASE = '0001'
"""The oldest revision whose code may use a store of this schema.

A new revision only adds what older code can do without (tables, columns
with a default, indices), so that releases run side by side during an
upgrade. One that takes something away raises this number, and comes a
release after the code that did without it.
"""

VERSION_TABLE = 'svirt_nova_version'
"""Where alembic keeps the store's revision."""


class utcnow(functions.FunctionElement[datetime.datetime]):
    """The database's own clock: UTC, without a time zone, sub-second."""

    type = sa.DateTime()
    inherit_cache = True


@compiler.compiles(utcnow, 'sqlite')
def _utcnow_sqlite(_element: utcnow, _compiler: Any, **_kw: Any) -> str:
    # SQLAlchemy stores the same text, so that texts compare as times do.
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiler.compiles(utcnow, 'mysql')
@compiler.compiles(utcnow, 'mariadb')
def _utcnow_mysql(_element: utcnow, _compiler: Any, **_kw: Any) -> str:
    return 'UTC_TIMESTAMP(6)'


@compiler.compiles(utcnow, 'postgresql')
def _utcnow_postgresql(_element: utcnow, _compiler: Any, **_kw: Any) -> str:
    return "TIMEZONE('utc', CLOCK_TIMESTAMP())"


# SQLite takes only an INTEGER primary key for the table's own row number.
_BIG = sa.BigInteger().with_variant(sa.Integer(), 'sqlite')


class LevelRank(sa.TypeDecorator[levels.Level]):
    """A level, which the database keeps as its rank.

    The rank of a level does not depend on the level space, so that rows
    keep their meaning when the space is changed.
    """

    impl = _BIG
    cache_ok = True

    def process_bind_param(
        self, value: levels.Level | None, dialect: sa.Dialect
    ) -> int | None:
        """The rank of a level.

        :raises NotInSpace: the level has too many categories for a rank
        """
        return None if value is None else ranking.rank(value.categories)

    def process_result_value(
        self, value: int | None, dialect: sa.Dialect
    ) -> levels.Level | None:
        """The level of a rank."""
        return None if value is None else levels.Level(ranking.unrank(value))


TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), 'mysql', 'mariadb')
"""A time in UTC, to the microsecond."""

# The number of a claim, which older releases leave at 0.
_NUMBER: dict[str, Any] = {'nullable': False, 'server_default': sa.text('0')}

TABLE_OPTIONS: dict[str, Any] = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mysql_collate': 'utf8mb4_bin',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'mariadb_collate': 'utf8mb4_bin',
}
"""Names are compared by their bytes; MySQL's default ignores case."""

metadata = sa.MetaData()

level_space = sa.Table(
    'level_space',
    metadata,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('categories', sa.Text, nullable=False),
    sa.Column('per_level', sa.Integer, nullable=False),
    sa.Column('project_categories', sa.Text, nullable=False),
    sa.Column('per_project', sa.Integer, nullable=False),
    sa.Column('generation', sa.Integer, nullable=False),
    sa.Column('closed_at', TIME),
    sa.Column('oldest_release', sa.String(32), nullable=False),
    sa.CheckConstraint('id = 1', name='ck_level_space_one_row'),
    sa.CheckConstraint('per_level >= 1', name='ck_level_space_per_level'),
    **TABLE_OPTIONS,
)
"""The one level space, and what holds for the whole store.

:attr:`generation` counts its changes: a level is given out only by those
who know the present one. While :attr:`closed_at` is set, none is given
out. :attr:`oldest_release` is the oldest revision of the schema whose
code may use the store.
"""

store_trust = sa.Table(
    'store_trust',
    metadata,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('store_generation', _BIG, nullable=False),
    sa.Column('grown_at', TIME),
    sa.Column('distrusted_at', TIME),
    sa.Column('reason', sa.Text, nullable=False),
    sa.CheckConstraint('id = 1', name='ck_store_trust_one_row'),
    **TABLE_OPTIONS,
)
"""Whether the store may be older than what hosts have seen of it.

:attr:`store_generation` grows while levels are given out, the last time at
:attr:`grown_at`. While :attr:`distrusted_at` is set, the space is closed,
too, so that levels are only adopted; :attr:`reason` says why.
"""

store_host = sa.Table(
    'store_host',
    metadata,
    sa.Column('host', sa.String(arguments.NAME_LENGTH), primary_key=True),
    sa.Column('told_at', TIME),
    **TABLE_OPTIONS,
)
"""The hosts that must tell a store what they run before it is trusted again,
and when each has."""

cloud = sa.Table(
    'cloud',
    metadata,
    sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
    sa.Column('name', sa.Text, nullable=False),
    sa.CheckConstraint('id = 1', name='ck_cloud_one_row'),
    **TABLE_OPTIONS,
)
"""Where the Nova was asked that the store belongs to; no row before that.

Its key keeps two clouds from being the first one both.
"""

cloud_host = sa.Table(
    'cloud_host',
    metadata,
    sa.Column('host', sa.String(arguments.NAME_LENGTH), primary_key=True),
    sa.Column('service_uuid', sa.String(36)),
    sa.Column('missing_since', TIME),
    **TABLE_OPTIONS,
)
"""The hosts that this Nova has listed, with their compute services' UUIDs.

One without such a UUID is a stranger: it claimed instances and was never
listed. :attr:`missing_since` is set while the host is not listed: it is the
time at which it was first found missing, or last called.
"""

project = sa.Table(
    'project',
    metadata,
    sa.Column('project_id', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('level_rank', LevelRank, nullable=False),
    sa.Column('created_at', TIME, nullable=False),
    sa.PrimaryKeyConstraint('project_id', 'level_rank', name='pk_project'),
    sa.UniqueConstraint('project_id', name='uniq_project_id'),
    sa.UniqueConstraint('level_rank', name='uniq_project_rank'),
    **TABLE_OPTIONS,
)
"""The part that all levels of a project have, in the scheme project."""

allocation = sa.Table(
    'allocation',
    metadata,
    sa.Column('level_rank', LevelRank, primary_key=True, autoincrement=False),
    sa.Column('instance_uuid', sa.String(36)),
    sa.Column('project_id', sa.String(arguments.NAME_LENGTH)),
    sa.Column('project_rank', LevelRank),
    sa.Column('host', sa.String(arguments.NAME_LENGTH)),
    sa.Column('is_outside', sa.Boolean, nullable=False),
    sa.Column('created_at', TIME, nullable=False),
    sa.Column('retired_at', TIME),
    sa.Column('note', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('claim_number', _BIG, **_NUMBER),
    sa.Column('last_claim', _BIG, **_NUMBER),
    sa.UniqueConstraint('instance_uuid', name='uniq_allocation_instance'),
    sa.ForeignKeyConstraint(
        ['project_id', 'project_rank'],
        ['project.project_id', 'project.level_rank'],
        name='fk_allocation_project',
        ondelete='RESTRICT',
        onupdate='RESTRICT',
    ),
    sa.Index('ix_allocation_project', 'project_id', 'project_rank'),
    sa.Index('ix_allocation_host', 'host'),
    sa.CheckConstraint('level_rank >= 0', name='ck_allocation_rank'),
    sa.CheckConstraint(
        '(instance_uuid IS NULL AND project_id IS NULL) OR '
        '(instance_uuid IS NOT NULL AND project_id IS NOT NULL)',
        name='ck_allocation_owner',
    ),
    sa.CheckConstraint(
        'instance_uuid IS NOT NULL OR (host IS NULL AND retired_at IS NULL)',
        name='ck_allocation_reserved',
    ),
    **TABLE_OPTIONS,
)
"""The levels that are not free; one without an instance is reserved.

The foreign key keeps a level from being given to a project whose part it
does not have. A level is outside when the level space was changed and no
longer has it; it stays with its instance.

:attr:`host` is the host that the level was given out for, as long as it
claims the instance: most instances never have another, so that a level
costs one row. Hosts that come later are in :data:`claim`.

:attr:`claim_number` is the number of that host's claim. Later claims of any
host need numbers above :attr:`last_claim`.
"""

history = sa.Table(
    'history',
    metadata,
    sa.Column('id', _BIG, primary_key=True),
    sa.Column('level_rank', LevelRank, nullable=False),
    sa.Column('instance_uuid', sa.String(36), nullable=False),
    sa.Column('project_id', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('created_at', TIME, nullable=False),
    sa.Column('retired_at', TIME, nullable=False),
    sa.Index('ix_history_level', 'level_rank', 'created_at'),
    sa.Index('ix_history_retired', 'retired_at'),
    sa.Index('ix_history_instance', 'instance_uuid', 'created_at'),
    sa.Index('ix_history_project', 'project_id', 'created_at', 'retired_at'),
    **TABLE_OPTIONS,
)
"""Who had the levels that have come free."""

claim = sa.Table(
    'claim',
    metadata,
    sa.Column('instance_uuid', sa.String(36), nullable=False),
    sa.Column('host', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('claim_number', _BIG, **_NUMBER),
    sa.Column('claimed_at', TIME),
    sa.PrimaryKeyConstraint('instance_uuid', 'host', name='pk_claim'),
    sa.ForeignKeyConstraint(
        ['instance_uuid'],
        ['allocation.instance_uuid'],
        name='fk_claim_allocation',
        ondelete='RESTRICT',
        onupdate='RESTRICT',
    ),
    sa.Index('ix_claim_host', 'host'),
    sqlite_with_rowid=False,
    **TABLE_OPTIONS,
)
"""Which further host may have something of which instance.

The foreign key keeps a level from being freed that one of them has come
to claim since it was looked at. A release before revision 0007 leaves
:attr:`claimed_at` empty.
"""

past_claim = sa.Table(
    'past_claim',
    metadata,
    sa.Column('id', _BIG, primary_key=True),
    sa.Column('instance_uuid', sa.String(36), nullable=False),
    sa.Column('host', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('claimed_at', TIME),
    sa.Column('dropped_at', TIME, nullable=False),
    sa.Index('ix_past_claim_instance', 'instance_uuid', 'dropped_at'),
    sa.Index('ix_past_claim_dropped', 'dropped_at'),
    **TABLE_OPTIONS,
)
"""The claims that hosts have dropped, for the history."""

_CLAIMED = sa.or_(
    allocation.c.host.is_not(None),
    sa.select(claim.c.host)
    .where(claim.c.instance_uuid == allocation.c.instance_uuid)
    .correlate(allocation)
    .exists(),
)


def is_cooled(cutoff: datetime.datetime) -> sa.ColumnElement[bool]:
    """Rows whose level is free again: their cooling time is over.

    :param cutoff: the database's clock less the cooling time
    """
    return sa.and_(allocation.c.retired_at <= cutoff, ~_CLAIMED)


def is_cooling() -> sa.ColumnElement[bool]:
    """Rows whose level cools, or has cooled."""
    return sa.and_(allocation.c.retired_at.is_not(None), ~_CLAIMED)


def is_unclaimed() -> sa.ColumnElement[bool]:
    """Rows of instances that no host claims.

    Servers find the rows without a first host by its index. Among them are
    those of instances that have moved to another host.
    """
    return sa.and_(allocation.c.host.is_(None), ~_CLAIMED)


def is_used(cutoff: datetime.datetime) -> sa.ColumnElement[bool]:
    """Rows whose level is not free.

    :param cutoff: the database's clock less the cooling time
    """
    return sa.or_(
        allocation.c.retired_at.is_(None),
        allocation.c.retired_at > cutoff,
        _CLAIMED,
    )


def is_in(
    state: types.State, cutoff: datetime.datetime
) -> sa.ColumnElement[bool]:
    """Rows in a state.

    :param cutoff: the database's clock less the cooling time
    """
    owned = allocation.c.instance_uuid.is_not(None)
    retired = allocation.c.retired_at.is_not(None)
    match state:
        case types.State.RESERVED:
            return ~owned
        case types.State.HELD:
            return sa.and_(owned, ~retired)
        case types.State.RETIRED:
            return sa.and_(retired, _CLAIMED)
        case types.State.COOLING:
            return sa.and_(allocation.c.retired_at > cutoff, ~_CLAIMED)


def utc(time: datetime.datetime) -> datetime.datetime:
    """A time that the database gave, with its time zone."""
    return time.replace(tzinfo=datetime.UTC)
