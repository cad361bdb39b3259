# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-status``: whether nova-compute may start on this host."""

from __future__ import annotations

import importlib.util
import logging
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


def _warning(details: str) -> upgradecheck.Result:
    return upgradecheck.Result(upgradecheck.Code.WARNING, details)


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
            return _warning(untested)
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

    def _check_host(self) -> upgradecheck.Result:
        try:
            mode = self._conf.svirt.mode
        except cfg.Error as error:
            return _failure(str(config.invalid(error)))
        if mode == 'disabled':
            return _success('[svirt] mode is disabled')
        with warnings.catch_warnings(record=True):
            try:
                from svirt_nova.virt import preflight

                found = preflight.host_problems(self._files())
            except (ImportError, cfg.Error) as error:
                return _failure(f'the host cannot be looked at: {error}')
        if not found:
            return _success()
        text = '; '.join(map(str, found))
        if mode == 'enforcing' and any(each.is_fatal for each in found):
            return _failure(text)
        return _warning(text)

    def _files(self) -> list[str]:
        """The configuration files that were read, as arguments."""
        return [
            argument
            for option, paths in (
                ('--config-file', self._conf.config_file),
                ('--config-dir', self._conf.config_dir),
            )
            for path in paths
            for argument in (option, str(path))
        ]

    def _check_store(self) -> upgradecheck.Result:
        try:
            name = self._conf.svirt.allocator
            url = self._conf.svirt_database.connection
        except cfg.Error as error:
            return _failure(str(config.invalid(error)))
        try:
            if name != 'sql':
                return _check_allocator(self._conf)
            return _check_schema(url)
        except exception.SvirtError as error:
            return _failure(str(error))

    _upgrade_checks = (
        ('Configuration', _check_configuration),
        ('Driver found by Nova', _check_driver),
        ('Hooks in Nova', _check_hooks),
        ('SELinux binding', _check_binding),
        ('Host', _check_host),
        ('Store', _check_store),
    )


def _check_allocator(conf: cfg.ConfigOpts) -> upgradecheck.Result:
    """Ask an allocator that has no database here for its level space.

    :raises SvirtError: there is no such allocator, or it refuses
    """
    from svirt_nova.allocator import base

    try:
        space = base.load(conf).space()
    except exception.StoreUnreachable as error:
        # nova-compute starts, and refuses new instances meanwhile.
        return _warning(str(error))
    return _success(f'levels are given out of {space}')


def _check_directory(path: pathlib.Path) -> None:
    """Check that an SQLite file can be where it should be.

    :raises SvirtError: it cannot
    """
    from svirt_nova.host import mounts

    if not path.parent.is_dir():
        raise exception.StoreUnreachable(
            f'cannot make the store {path}: there is no directory '
            f'{path.parent}; make it, owned by the user nova'
        )
    found = mounts.file_system(str(path.parent))
    if found.is_shared:
        raise exception.InvalidOption(
            f'the store {path} is an SQLite file on {found}, which other '
            f'hosts may have mounted: use a database server, or the service '
            f'svirt-nova-allocator'
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
            _check_directory(path)
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
    # Without any handler, Python prints what libraries warn of: the results
    # say it in the words of this program.
    logging.getLogger().addHandler(logging.NullHandler())
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
