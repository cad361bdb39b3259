# SPDX-License-Identifier: Apache-2.0
"""Enrolled keys, and the calls that were signed with them, in their rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import calendar
import dataclasses
import datetime
import secrets

import sqlalchemy as sa

from svirt_nova.allocator import arguments
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema

caller_key = sa.Table(
    'caller_key',
    schema.metadata,
    sa.Column('public_key', sa.String(43), primary_key=True),
    sa.Column('role', sa.String(16), nullable=False),
    sa.Column('owner', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('enrolled_at', schema.TIME, nullable=False),
    sa.Column('used_at', schema.TIME),
    sa.Column('revoked_at', schema.TIME),
    sa.Column('is_first_call', sa.Boolean, nullable=False),
    sa.Column('is_binding', sa.Boolean, nullable=False),
    sa.Index('ix_caller_key_owner', 'owner'),
    **schema.TABLE_OPTIONS,
)
"""Whose key is whose. A row is never deleted: a revoked key stays refused."""

signed_call = sa.Table(
    'signed_call',
    schema.metadata,
    sa.Column('identity', sa.String(56), primary_key=True),
    sa.Column('done_by', sa.String(22), nullable=False),
    sqlite_with_rowid=False,
    **schema.TABLE_OPTIONS,
)
"""The signed calls that were done, until they are void.

:attr:`identity` begins with the second in which the call is void, so that the
primary key has new rows side by side, and old ones are found without another
index. :attr:`done_by` tells a process that lost the answer to its commit that
the row is its own.
"""

ENROLMENT = f'{10**12 - 1}.enrolment'
"""The one row there that is no call: who enrols a key changes it.

It is void so late that it stays.
"""

_NAMES = tuple(
    field.name for field in dataclasses.fields(enrolled_keys.EnrolledKey)
)

_record = sa.insert(signed_call).from_select(
    ['identity', 'done_by'],
    sa.select(
        sa.bindparam('identity', type_=sa.String),
        sa.bindparam('done_by', type_=sa.String),
    ).where(
        sa.exists().where(
            caller_key.c.public_key == sa.bindparam('public_key'),
            caller_key.c.revoked_at.is_(None),
        ),
        ~sa.exists().where(signed_call.c.identity == sa.bindparam('identity')),
        sa.bindparam('forgotten_at', type_=sa.DateTime()) > schema.utcnow(),
    ),
)
_record = _record.execution_options(preserve_rowcount=True)


def call_of(expires_at: int, identity: str) -> str:
    """The key of the row of a call.

    :param expires_at: when the call is void, in seconds since 1970
    :param identity: 43 characters that no other call has
    """
    return f'{expires_at:012}.{identity}'


def record_call(
    connection: sa.Connection,
    public_key: str,
    identity: str,
    done_by: str,
    forgotten_at: datetime.datetime,
) -> bool:
    """Note that a call is done, if its key is not revoked.

    :param forgotten_at: when the note may be deleted, by the database's
        clock, in UTC without a time zone
    :returns: whether it was noted; False when it is there or may have been
        deleted, or the key is not or is revoked
    """
    result = connection.execute(
        _record,
        {
            'public_key': public_key,
            'identity': identity,
            'done_by': done_by,
            'forgotten_at': forgotten_at,
        },
    )
    return result.rowcount == 1


def done_by(connection: sa.Connection, identity: str) -> str | None:
    """Who has done a call; None when nobody has."""
    return connection.execute(
        sa.select(signed_call.c.done_by).where(
            signed_call.c.identity == identity
        )
    ).scalar_one_or_none()


def forget_calls(connection: sa.Connection, margin: int, limit: int) -> int:
    """Delete the record of calls that are void.

    :param margin: seconds for which they have been void at least, by the
        database's clock, so that the clock of no service is so far behind
    :param limit: no more rows than these
    :returns: how many went
    """
    now = calendar.timegm(allocation_queries.now(connection).utctimetuple())
    chosen = (
        connection.execute(
            sa.select(signed_call.c.identity)
            .where(signed_call.c.identity < call_of(now - margin, ''))
            .limit(limit)
        )
        .scalars()
        .all()
    )
    if not chosen:
        return 0
    return connection.execute(
        sa.delete(signed_call).where(signed_call.c.identity.in_(chosen))
    ).rowcount


# Keys


def find(
    connection: sa.Connection, public_key: str
) -> enrolled_keys.EnrolledKey | None:
    """The row of a key."""
    found = _select(connection, caller_key.c.public_key == public_key)
    return found[0] if found else None


def of_owner(
    connection: sa.Connection,
    role: enrolled_keys.Role,
    owner: str | None = None,
) -> list[enrolled_keys.EnrolledKey]:
    """The keys of an owner, revoked ones included; or of all of a role.

    The owner's name is compared here, by its characters: MariaDB ignores
    spaces at the end.
    """
    conditions = [caller_key.c.role == role.value]
    if owner is not None:
        conditions.append(caller_key.c.owner == owner)
    return [
        each
        for each in _select(connection, *conditions)
        if owner in (None, each.owner)
    ]


def _select(
    connection: sa.Connection, *conditions: sa.ColumnElement[bool]
) -> list[enrolled_keys.EnrolledKey]:
    rows = connection.execute(
        sa.select(*(caller_key.c[name] for name in _NAMES))
        .where(*conditions)
        .order_by(caller_key.c.owner, caller_key.c.enrolled_at)
    )
    found = []
    for row in rows:
        values = row._asdict()
        for name in ('enrolled_at', 'used_at', 'revoked_at'):
            values[name] = values[name] and schema.utc(values[name])
        values['role'] = enrolled_keys.Role(values['role'])
        found.append(enrolled_keys.EnrolledKey(**values))
    return found


def lock(connection: sa.Connection) -> None:
    """Let those who enrol keys wait for each other.

    On a cluster of Galera a lock is known to its own node alone. There, all
    who enrol change one row more, so that only one of two that do it at once
    can commit.
    """
    connection.execute(sa.select(schema.level_space.c.id).with_for_update())
    mark = secrets.token_urlsafe(16)
    changed = connection.execute(
        sa.update(signed_call)
        .where(signed_call.c.identity == ENROLMENT)
        .values(done_by=mark)
    )
    if changed.rowcount == 0:
        connection.execute(
            sa.insert(signed_call).values(identity=ENROLMENT, done_by=mark)
        )


def insert(
    connection: sa.Connection,
    role: enrolled_keys.Role,
    owner: str,
    public_key: str,
    is_first_call: bool,
    is_binding: bool,
) -> None:
    """Enrol a key."""
    connection.execute(
        sa.insert(caller_key).values(
            public_key=public_key,
            role=role.value,
            owner=owner,
            enrolled_at=schema.utcnow(),
            is_first_call=is_first_call,
            is_binding=is_binding,
        )
    )


def bind(connection: sa.Connection, public_key: str) -> None:
    """Let a key bind its owner from now on, whether it was used or not."""
    connection.execute(
        sa.update(caller_key)
        .where(caller_key.c.public_key == public_key)
        .values(is_binding=True)
    )


def use(connection: sa.Connection, public_key: str) -> None:
    """Note that a key has signed a call that was done, if it is the first."""
    connection.execute(
        sa.update(caller_key)
        .where(
            caller_key.c.public_key == public_key,
            caller_key.c.used_at.is_(None),
        )
        .values(used_at=schema.utcnow())
    )


def revoke(connection: sa.Connection, public_key: str) -> None:
    """Refuse a key from now on."""
    connection.execute(
        sa.update(caller_key)
        .where(
            caller_key.c.public_key == public_key,
            caller_key.c.revoked_at.is_(None),
        )
        .values(revoked_at=schema.utcnow())
    )
