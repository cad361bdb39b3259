# SPDX-License-Identifier: Apache-2.0
"""Whether the store, or the service in front of it, can be used from here."""

from __future__ import annotations

import pathlib

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.host import rows

STORE = 'store'


def store(conf: cfg.ConfigOpts) -> rows.Row:
    """Look at the store without making, upgrading or locking it.

    :param conf: the configuration, whose options are valid
    """
    try:
        if conf.svirt.allocator != 'sql':
            return _ask_allocator(conf)
        return _look_at_schema(conf.svirt_database.connection)
    except exception.SvirtError as error:
        return rows.wrong(STORE, error)


def exists(conf: cfg.ConfigOpts, driver: str | None = None) -> bool:
    """Whether asking for levels does not make a store.

    :param conf: the configuration, whose options are valid
    :param driver: of the allocator, if not that of ``[svirt] allocator``
    """
    import sqlalchemy as sa

    if (driver or conf.svirt.allocator) != 'sql':
        return True
    url = sa.make_url(conf.svirt_database.connection)
    return url.get_backend_name() != 'sqlite' or (
        pathlib.Path(url.database or '').exists()
    )


def _ask_allocator(conf: cfg.ConfigOpts) -> rows.Row:
    """Ask an allocator that has no database here for its level space.

    :raises SvirtError: there is no such allocator, or it refuses
    """
    from svirt_nova.allocator import base

    try:
        space = base.load(conf).space()
    except exception.StoreUnreachable as error:
        # nova-compute starts, and refuses new instances meanwhile.
        return rows.wrong(STORE, error, is_fatal=False)
    return rows.right(STORE, f'levels are given out of {space}')


def _check_directory(path: pathlib.Path) -> None:
    """Check that an SQLite file can be where it should be.

    :raises SvirtError: it cannot
    """
    if not path.parent.is_dir():
        raise exception.StoreUnreachable(
            f'cannot make the store {path}: there is no directory '
            f'{path.parent}; make it, owned by the user nova'
        )


def _look_at_schema(connection: str) -> rows.Row:
    """Look at a database.

    :param connection: an SQLAlchemy URL
    :raises SvirtError: the store cannot be used
    """
    import sqlalchemy as sa

    from svirt_nova.allocator.sql.engine import errors
    from svirt_nova.allocator.sql.migrations import upgrade

    try:
        url = sa.make_url(connection)
        name = url.render_as_string(hide_password=True)
        if url.get_backend_name() == 'sqlite':
            path = pathlib.Path(url.database or '')
            _check_directory(path)
            if not path.exists():
                return rows.right(STORE, f'{path} is made at its first use')
            name = str(path)
            url = url.set(database=f'file:{path}').update_query_dict(
                {'mode': 'ro', 'uri': 'true'}
            )
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise exception.InvalidOption(
            f'[svirt_database] connection cannot be used: {error}'
        ) from error
    try:
        with engine.connect() as opened:
            if upgrade.is_current(opened, name):
                return rows.right(STORE, f'{name} has the present schema')
    except errors.DATABASE_ERRORS as error:
        raise exception.StoreUnusable(
            str(errors.understand(error, name))
        ) from error
    finally:
        engine.dispose()
    return rows.wrong(
        STORE,
        f'the store {name} lacks the schema of this release: run '
        f'"svirt-nova db sync"',
    )
