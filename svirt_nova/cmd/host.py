# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova host check``: whether this host keeps its guests apart."""

from __future__ import annotations

import argparse
import logging
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any
from typing import TYPE_CHECKING

from cliff import columns
from cliff import lister
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.cmd import command
from svirt_nova.cmd import config
from svirt_nova.cmd import installation
from svirt_nova.cmd import store_check
from svirt_nova.host import rows

if TYPE_CHECKING:
    from svirt_nova.virt import preflight

WARNINGS = 3
"""The exit status if nothing is wrong, and something deserves a look."""

ERRORS = 4
"""The exit status if something is wrong."""

MODE = 'mode'
HOST = 'host'
GUESTS = 'guests'

_WIDTH = 72
"""Characters in a line of the details, for people."""

_STATUS = {
    rows.Result.OK: 0,
    rows.Result.UNKNOWN: WARNINGS,
    rows.Result.WARNING: WARNINGS,
    rows.Result.ERROR: ERRORS,
}
_TALKATIVE = ('nova', 'oslo.messaging', 'oslo_messaging', 'oslo_privsep')
"""Libraries that log what a row says."""


class Details(columns.FormattableColumn[list[str]]):
    """What a check found: one line for each; a list for machines."""

    def human_readable(self) -> str:
        """Each statement on lines that a terminal can show."""
        return '\n'.join(
            textwrap.fill(each, _WIDTH, break_on_hyphens=False)
            for each in self._value
        )


class Check(command.Command, lister.Lister):
    """Check that this host keeps its guests apart, and that they are.

    There is a row for each thing that nova-compute and its guests rely on,
    and one for each guest: whether its process, libvirt's XML, its files, the
    store, its claim and what Nova remembers agree on its level. Run it on a
    compute node, as the user of nova-compute. Nothing is changed.

    The exit status is 0 if all is well, 3 if something deserves a look or
    could not be looked at, and 4 if something is wrong.
    """

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; the worst row decides on the exit status."""
        self._worst = 0
        return super().run(parsed_args) or self._worst

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Make all checks."""
        conf = self.app.conf
        is_enforcing = conf.svirt.mode == 'enforcing'
        if self.app.options.verbose_level == self.app.DEFAULT_VERBOSE_LEVEL:
            for name in _TALKATIVE:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings(record=True):
            found = [*self._rows(conf)]
        results = [row.result(is_enforcing) for row in found]
        self._worst = max(_STATUS[each] for each in results)
        return ('Check', 'Result', 'Instance', 'Details'), [
            (
                row.check,
                result.value,
                command.Text(row.instance),
                Details(row.details),
            )
            for row, result in zip(found, results, strict=True)
        ]

    def _rows(self, conf: cfg.ConfigOpts) -> Iterator[rows.Row]:
        yield _mode(conf)
        yield installation.driver()
        yield installation.binding()
        try:
            yield installation.hooks()
            from svirt_nova.virt import preflight

            host = preflight.Preflight(
                config.arguments(
                    self.app.options.config_file, self.app.options.config_dir
                )
            )
        except (ImportError, cfg.Error) as error:
            yield rows.unknown(HOST, f'it cannot be looked at: {error}')
            return
        yield from host.of_start()
        yield from host.of_host()
        store = store_check.store(conf)
        yield store
        yield from self._guests(conf, host, can_ask=not store.problems)

    def _guests(
        self, conf: cfg.ConfigOpts, host: preflight.Preflight, can_ask: bool
    ) -> Iterator[rows.Row]:
        """The rows of guests, and of what they are compared with.

        :param can_ask: whether the store can be asked
        """
        from svirt_nova.virt import guest_rows

        remembered, row = host.remembered()
        yield row
        is_empty = can_ask and not store_check.exists(conf)
        try:
            yield from guest_rows.of_guests(
                host.domains(),
                host.confined(),
                guest_rows.Levels(
                    self.allocator() if can_ask and not is_empty else None,
                    remembered,
                    is_empty,
                ),
            )
        except exception.SvirtError as error:
            yield rows.unknown(GUESTS, f'they cannot be looked at: {error}')


def _mode(conf: cfg.ConfigOpts) -> rows.Row:
    mode = conf.svirt.mode
    if mode == 'enforcing':
        return rows.right(MODE, '[svirt] mode is enforcing')
    return rows.wrong(
        MODE,
        f'[svirt] mode is {mode}: guests may run without a level of their '
        f'own. Set it to enforcing',
        is_fatal=False,
    )
