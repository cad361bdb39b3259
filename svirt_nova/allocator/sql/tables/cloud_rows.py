# SPDX-License-Identifier: Apache-2.0
"""The cloud that the store belongs to, in its rows.

Each function takes a connection inside a transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from svirt_nova.allocator import clouds
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import schema

_cloud = schema.cloud
_host = schema.cloud_host


def show(connection: sa.Connection) -> clouds.KnownCloud:
    """What is remembered."""
    name = connection.execute(sa.select(_cloud.c.name)).scalar_one_or_none()
    rows = connection.execute(sa.select(_host).order_by(_host.c.host))
    return clouds.KnownCloud(
        name or '',
        tuple(
            clouds.KnownHost(
                row.host,
                row.service_uuid,
                row.missing_since and schema.utc(row.missing_since),
            )
            for row in rows
        ),
        schema.utc(allocation_queries.now(connection)),
    )


def meet(
    connection: sa.Connection,
    cloud: clouds.Cloud,
    strangers: Iterable[str],
    replaces: bool,
) -> clouds.KnownCloud:
    """Remember a cloud.

    :param strangers: hosts that claim and that it does not list
    :param replaces: whether what was known before is forgotten
    :returns: what is remembered from then on
    :raises OtherCloud: the store belongs to another one
    """
    # Those who meet the store at the same time do so one after the other.
    connection.execute(
        sa.select(schema.store_trust.c.id).with_for_update()
    ).all()
    before = show(connection)
    now = schema.utc(allocation_queries.now(connection))
    after = before.meet(cloud, strangers, now, replaces=replaces)
    if not before.name:
        connection.execute(sa.insert(_cloud).values(id=1, name=after.name))
    elif after.name != before.name:
        connection.execute(sa.update(_cloud).values(name=after.name))
    _put(
        connection,
        {each.name: each for each in before.hosts},
        {each.name: each for each in after.hosts},
    )
    return show(connection)


def listed(
    connection: sa.Connection, hosts: Collection[str]
) -> frozenset[str]:
    """Which of some hosts Nova lists."""
    rows = connection.execute(
        sa.select(_host.c.host).where(
            _host.c.host.in_(hosts),
            _host.c.service_uuid.is_not(None),
            _host.c.missing_since.is_(None),
        )
    )
    return frozenset(rows.scalars())


def is_to_hear(connection: sa.Connection, host: str) -> bool:
    """Whether a host that calls is taken for missing, since some time."""
    since = connection.execute(
        sa.select(_host.c.missing_since).where(_host.c.host == host)
    ).scalar_one_or_none()
    if since is None:
        return False
    return bool(since <= allocation_queries.now(connection) - clouds.HEARD)


def hear(connection: sa.Connection, host: str) -> None:
    """Note that a host calls that is taken for missing."""
    connection.execute(
        sa.update(_host)
        .where(_host.c.host == host, _host.c.missing_since.is_not(None))
        .values(missing_since=schema.utcnow())
    )


def _put(
    connection: sa.Connection,
    before: Mapping[str, clouds.KnownHost],
    after: Mapping[str, clouds.KnownHost],
) -> None:
    """Change the rows of the hosts that have changed."""
    former = [name for name, host in before.items() if after.get(name) != host]
    if former:
        connection.execute(
            sa.delete(_host).where(_host.c.host == sa.bindparam('name')),
            [{'name': name} for name in former],
        )
    rows = [
        _row(host) for name, host in after.items() if before.get(name) != host
    ]
    if rows:
        connection.execute(sa.insert(_host), rows)


def _row(host: clouds.KnownHost) -> dict[str, Any]:
    return {
        'host': host.name,
        'service_uuid': host.service_uuid,
        'missing_since': host.missing_since
        and host.missing_since.replace(tzinfo=None),
    }
