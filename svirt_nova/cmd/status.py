# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-status``: whether nova-compute may start on this host."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
import warnings
from collections.abc import Sequence

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.cmd import config

DRIVER_MODULE = 'nova.virt.svirt_nova'


def _success(details: str | None = None) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.SUCCESS, details)


def _failure(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.FAILURE, details)


class Checks(upgradecheck.UpgradeCommands):
    """What must be right before nova-compute starts with this release.

    :param conf: the configuration, parsed by the time a check runs
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__()
        self._conf = conf

    def _check_configuration(self) -> upgradecheck.Result:
        try:
            config.check(self._conf)
        except cfg.Error as error:
            return _failure(str(config.invalid(error)))
        return _success()

    def _check_driver(self) -> upgradecheck.Result:
        try:
            found = importlib.util.find_spec(DRIVER_MODULE)
        except ModuleNotFoundError as error:
            return _failure(
                f'Nova is not installed for this Python ({sys.executable}): '
                f'{error}'
            )
        if found is None:
            return _failure(
                f'Nova cannot find {DRIVER_MODULE}: install svirt-nova into '
                f'the site-packages directory that Nova itself lies in, and '
                f'Nova from a package or wheel'
            )
        return _success()

    def _check_hooks(self) -> upgradecheck.Result:
        from svirt_nova.virt import hooks

        # Libraries of Nova warn of their own deprecations.
        with warnings.catch_warnings(record=True):
            found = hooks.problems()
        if found:
            return _failure(hooks.refusal(found))
        untested = hooks.untested()
        if untested is not None:
            return upgradecheck.Result(upgradecheck.Code.WARNING, untested)
        return _success()

    def _check_binding(self) -> upgradecheck.Result:
        try:
            import selinux

            selinux.is_selinux_enabled()
        except (ImportError, AttributeError) as error:
            return _failure(
                f'the SELinux binding for this Python ({sys.executable}) is '
                f'missing: {error}; install python3-selinux (Debian) or '
                f'python3-libselinux (RPM), and in a virtual environment '
                f'link the package selinux into it'
            )
        return _success()

    def _check_store(self) -> upgradecheck.Result:
        try:
            name = self._conf.svirt.allocator
            url = self._conf.svirt_database.connection
        except cfg.Error as error:
            return _failure(str(config.invalid(error)))
        if name != 'sql':
            return _success(f'the allocator {name!r} has no database here')
        try:
            return _check_schema(url)
        except exception.SvirtError as error:
            return _failure(str(error))

    _upgrade_checks = (
        ('Configuration', _check_configuration),
        ('Driver found by Nova', _check_driver),
        ('Hooks in Nova', _check_hooks),
        ('SELinux binding', _check_binding),
        ('Store', _check_store),
    )


def _check_schema(connection: str) -> upgradecheck.Result:
    """Look at the store without making, upgrading or locking it.

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
            if not path.exists():
                return _success(f'{path} is made at its first use')
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
                return _success()
    except errors.DATABASE_ERRORS as error:
        raise exception.StoreUnusable(
            str(errors.understand(error, name))
        ) from error
    finally:
        engine.dispose()
    return _failure(
        f'the store {name} lacks the schema of this release: run '
        f'"svirt-nova db sync"'
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``svirt-nova-status``.

    :returns: the exit status: 0 when all is well and 2 when a check
        failed or the program could not run
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    try:
        status = upgradecheck.main(
            conf,
            project=config.PROJECT,
            upgrade_command=Checks(conf),
            argv=list(sys.argv[1:] if argv is None else argv),
            default_config_files=cfg.find_config_files(
                config.PROJECT, config.PROGRAM
            ),
        )
    except cfg.Error as error:
        print(config.invalid(error), file=sys.stderr)  # noqa: T201
        return int(upgradecheck.Code.FAILURE)
    return int(status)
