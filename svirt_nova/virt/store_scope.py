# SPDX-License-Identifier: Apache-2.0
"""Whether the store that this host uses can be the store of the whole cloud.

Levels are unique within one store. An SQLite file serves one host: two hosts
with a file each would both enforce, and give out the same levels.
"""

from __future__ import annotations

import pathlib
from typing import Any

import sqlalchemy as sa
from nova import objects

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import mounts
from svirt_nova.virt import whereabouts

LOG = logs.get_logger(__name__)

_BINARY = 'nova-compute'
_REMEDY = (
    'Have all hosts of the cloud use one store: name a MariaDB or PostgreSQL '
    'database in [svirt_database] connection, or set [svirt] allocator = rpc '
    'and run svirt-nova-allocator'
)


def sqlite_file(conf: Any) -> pathlib.Path | None:
    """The SQLite file that this host keeps its levels in.

    :param conf: the configuration
    :returns: None where its store is another one
    :raises InvalidOption: the URL of the database makes no sense
    """
    if conf.svirt.allocator != 'sql':
        return None
    try:
        url = sa.make_url(conf.svirt_database.connection)
    except sa.exc.ArgumentError as error:
        raise exception.InvalidOption(
            f'[svirt_database] connection cannot be used: {error}'
        ) from error
    if url.get_backend_name() != 'sqlite' or not url.database:
        return None
    return pathlib.Path(url.database).absolute()


def check_storage(path: pathlib.Path) -> None:
    """Check that only one host can open an SQLite file.

    A write-ahead log needs memory that all its processes share
    (https://www.sqlite.org/wal.html), which hosts do not have.

    :raises InvalidOption: it lies on storage that hosts share
    """
    found = mounts.file_system(str(path.parent))
    if found.is_shared:
        raise exception.InvalidOption(
            f'the store {path} is an SQLite file on {found}, which other '
            f'hosts may have mounted: they would damage it and give out the '
            f'same levels. {_REMEDY}'
        )


def other_hosts(host_name: str) -> list[str]:
    """The other hosts that Nova has a nova-compute on.

    :param host_name: the name of this host, as Nova has it
    :raises nova.exception.NovaException: Nova's conductor refuses
    :raises oslo_messaging.MessagingException: it does not answer
    """
    services = objects.ServiceList.get_by_binary(
        whereabouts.admin(), _BINARY, include_disabled=True
    )
    return sorted({each.host for each in services} - {host_name})


def tell(conf: Any, host_name: str) -> None:
    """Log it if the store of this host can be the cloud's no more.

    Another host may have come since nova-compute started here. It refuses to
    start with a store of its own, but not in another mode than enforcing, or
    with Nova's own driver.

    :raises nova.exception.NovaException: Nova's conductor refuses
    :raises oslo_messaging.MessagingException: it does not answer
    """
    try:
        check(conf, host_name)
    except exception.SvirtError as error:
        LOG.critical('nova-compute will not start here again: %s', error)


def check(conf: Any, host_name: str) -> None:
    """Check that the store of this host can be that of the cloud.

    :param conf: the configuration
    :param host_name: the name of this host, as Nova has it
    :raises InvalidOption: it cannot
    :raises nova.exception.NovaException: Nova's conductor refuses
    :raises oslo_messaging.MessagingException: it does not answer
    """
    path = sqlite_file(conf)
    if path is None:
        return
    check_storage(path)
    others = other_hosts(host_name)
    if others:
        named = ', '.join(others[:5]) + ', ...' * (len(others) > 5)
        raise exception.InvalidOption(
            f'the store {path} is an SQLite file, which serves this host '
            f'alone, and Nova has more hosts with nova-compute: {named}. '
            f'Each would give out the levels that another one gives out, '
            f'too. {_REMEDY}. If such a host is gone for good, delete its '
            f'service ("openstack compute service delete")'
        )
