# SPDX-License-Identifier: Apache-2.0
"""How many levels hosts have taken of late, in rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from svirt_nova.allocator import arguments
from svirt_nova.allocator import host_flows
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema

host_flow = sa.Table(
    'host_flow',
    schema.metadata,
    sa.Column('host', sa.String(arguments.NAME_LENGTH), nullable=False),
    sa.Column('flow', sa.String(16), nullable=False),
    sa.Column('begun_at', schema.TIME, nullable=False),
    sa.Column('number', sa.Integer, nullable=False),
    sa.PrimaryKeyConstraint('host', 'flow', name='pk_host_flow'),
    sqlite_with_rowid=False,
    **schema.TABLE_OPTIONS,
)
"""How many levels a host has taken since :attr:`begun_at`, by how it did.

Only hosts that take many are here, and only until their window is over.
"""

_MORE = sa.bindparam('more', type_=sa.Integer)
_IS_PRESENT = host_flow.c.begun_at > sa.bindparam(
    'oldest', type_=host_flow.c.begun_at.type
)
_ADD = (
    sa.update(host_flow)
    .where(
        host_flow.c.host == sa.bindparam('of_host'),
        host_flow.c.flow == sa.bindparam('of_flow'),
    )
    # MariaDB assigns in this order, and the number depends on the time before.
    .ordered_values(
        (
            host_flow.c.number,
            sa.case((_IS_PRESENT, host_flow.c.number + _MORE), else_=_MORE),
        ),
        (
            host_flow.c.begun_at,
            sa.case(
                (_IS_PRESENT, host_flow.c.begun_at), else_=schema.utcnow()
            ),
        ),
    )
)
_OF_HOST = sa.select(host_flow).where(
    host_flow.c.host == sa.bindparam('of_host')
)


def _oldest(
    connection: sa.Connection, flow: host_flows.Flow
) -> datetime.datetime:
    """When the present window of a host must have begun at the earliest."""
    now = allocation_queries.now(connection)
    return now - datetime.timedelta(seconds=flow.window)


def add(
    connection: sa.Connection, host: str, flow: host_flows.Flow, number: int
) -> None:
    """Count levels that a host has taken."""
    result = connection.execute(
        _ADD,
        {
            'of_host': host,
            'of_flow': flow.value,
            'oldest': _oldest(connection, flow),
            'more': number,
        },
    )
    if result.rowcount == 0:
        connection.execute(
            sa.insert(host_flow).values(
                host=host,
                flow=flow.value,
                begun_at=schema.utcnow(),
                number=number,
            )
        )


def taken(connection: sa.Connection, host: str) -> dict[host_flows.Flow, int]:
    """How many levels a host has taken in the present windows."""
    rows = connection.execute(_OF_HOST, {'of_host': host}).all()
    found = dict.fromkeys(host_flows.Flow, 0)
    for row in rows:
        flow = host_flows.Flow(row.flow)
        if row.begun_at > _oldest(connection, flow):
            found[flow] = row.number
    return found


def forget(connection: sa.Connection, limit: int) -> int:
    """Delete rows whose window is over; how many went.

    :param limit: no more rows than these
    """
    longest = max(host_flows.Flow, key=lambda flow: flow.window)
    hosts = (
        connection.execute(
            sa.select(host_flow.c.host)
            .where(host_flow.c.begun_at <= _oldest(connection, longest))
            .limit(limit)
        )
        .scalars()
        .all()
    )
    if not hosts:
        return 0
    return connection.execute(
        sa.delete(host_flow).where(
            host_flow.c.host.in_(hosts),
            host_flow.c.begun_at <= _oldest(connection, longest),
        )
    ).rowcount
