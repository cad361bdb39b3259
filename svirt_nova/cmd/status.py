# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-status``: whether nova-compute may start on this host."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck

import svirt_nova.conf
from svirt_nova import printing
from svirt_nova.cmd import config
from svirt_nova.cmd import installation
from svirt_nova.cmd import store_check
from svirt_nova.host import rows

_SUCCESS = upgradecheck.Result(upgradecheck.Code.SUCCESS)


def _failure(details: object) -> upgradecheck.Result:
    return upgradecheck.Result(
        upgradecheck.Code.FAILURE, printing.printable(details)
    )


def _result_of(
    found: Iterable[rows.Row], is_enforcing: bool
) -> upgradecheck.Result:
    """Make one result of the rows of ``svirt-nova host check``."""
    wrong = [each for each in found if each.problems]
    text = '; '.join(
        dict.fromkeys(
            printing.printable(each) for row in wrong for each in row.problems
        )
    )
    if not wrong:
        return upgradecheck.Result(upgradecheck.Code.SUCCESS)
    if any(row.result(is_enforcing) is rows.Result.ERROR for row in wrong):
        return upgradecheck.Result(upgradecheck.Code.FAILURE, text)
    return upgradecheck.Result(upgradecheck.Code.WARNING, text)


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
            return _failure(config.invalid(error))
        return _SUCCESS

    def _check_driver(self) -> upgradecheck.Result:
        return _result_of([installation.driver()], is_enforcing=True)

    def _check_hooks(self) -> upgradecheck.Result:
        return _result_of([installation.hooks()], is_enforcing=True)

    def _check_binding(self) -> upgradecheck.Result:
        return _result_of([installation.binding()], is_enforcing=True)

    def _check_host(self) -> upgradecheck.Result:
        return self._ask_host(lambda preflight: preflight.of_start())

    def _check_scope(self) -> upgradecheck.Result:
        return self._ask_host(lambda preflight: [preflight.scope()])

    def _ask_host(
        self, look: Callable[[Any], Iterable[rows.Row]]
    ) -> upgradecheck.Result:
        """Look at the host as nova-compute would.

        :param look: makes some checks of a ``preflight.Preflight``
        """
        try:
            mode = self._conf.svirt.mode
        except cfg.Error as error:
            return _failure(config.invalid(error))
        if mode == 'disabled':
            return upgradecheck.Result(
                upgradecheck.Code.SUCCESS, '[svirt] mode is disabled'
            )
        with warnings.catch_warnings(record=True):
            try:
                from svirt_nova.virt import preflight

                found = [*look(preflight.Preflight(self._files()))]
            except (ImportError, cfg.Error) as error:
                return _failure(f'the host cannot be looked at: {error}')
        return _result_of(found, mode == 'enforcing')

    def _files(self) -> list[str]:
        """The configuration files that were read, as arguments."""
        return config.arguments(self._conf.config_file, self._conf.config_dir)

    def _check_store(self) -> upgradecheck.Result:
        try:
            config.check(self._conf)
        except cfg.Error as error:
            return _failure(config.invalid(error))
        return _result_of([store_check.store(self._conf)], is_enforcing=True)

    _upgrade_checks = (
        ('Configuration', _check_configuration),
        ('Driver found by Nova', _check_driver),
        ('Hooks in Nova', _check_hooks),
        ('SELinux binding', _check_binding),
        ('Host', _check_host),
        ('Store', _check_store),
        ('One store', _check_scope),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``svirt-nova-status``.

    :returns: the exit status: 0 when all is well and 2 when a check
        failed or the program could not run
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if '--version' in arguments:
        # oslo.upgradecheck has no such option.
        print(config.version())  # noqa: T201
        return int(upgradecheck.Code.SUCCESS)
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
            argv=arguments,
            default_config_files=cfg.find_config_files(
                config.PROJECT, config.PROGRAM
            ),
        )
    except cfg.Error as error:
        print(config.invalid(error), file=sys.stderr)  # noqa: T201
        return int(upgradecheck.Code.FAILURE)
    return int(status)
