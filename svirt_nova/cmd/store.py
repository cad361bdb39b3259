# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova store``: whether the store knows all levels that are in use."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from svirt_nova import printing
from svirt_nova.allocator import types
from svirt_nova.cmd import command

_REASON = 'an operator says so'


def _describe(trust: types.Trust) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The state of a store as names and values.

    Of the hosts that it waits for, the first are named.
    """
    return ('Trusted', 'Since', 'Reason', 'Awaited Hosts', 'Generation'), (
        trust.is_trusted,
        command.Moment(trust.distrusted_at),
        command.Text(trust.reason or None),
        command.Names(trust.awaited),
        trust.generation,
    )


class Show(command.Command, show.ShowOne):
    """Show whether the store is trusted, and who must tell it what it runs.

    A store that was restored from a backup does not know the levels that
    were given out since. While it is not trusted, new instances get no
    level. That ends when each of the hosts named has told which levels its
    instances have, or with "svirt-nova store trust".
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Ask the allocator."""
        return _describe(self.allocator().show_trust())


class Distrust(command.Command, show.ShowOne):
    """Give no level to new instances before all hosts have told theirs.

    Do this when the store was restored from a backup, before computes and
    services are started. Instances that run are not touched.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The reason."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--reason',
            default=_REASON,
            metavar='TEXT',
            help='What users are told whose instances are refused '
            f'(default: "{_REASON}").',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Tell the allocator."""
        allocator = self.allocator()
        allocator.distrust(parsed_args.reason)
        return _describe(allocator.show_trust())


class Trust(command.Command, show.ShowOne):
    """Give levels to new instances again.

    A host that has not told which levels its instances have may run one
    that the store does not know, and that a new instance gets, too. Trust
    the store only when these hosts are fenced or run no instance with a
    level of svirt-nova, or when their instances are to be hard-rebooted.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The confirmation."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--yes',
            action='store_true',
            help='Do not ask at the terminal whether to go on without the '
            'hosts that have not told.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Tell the allocator.

        :raises NotConfirmed: it is not confirmed; nothing was changed
        """
        allocator = self.allocator()
        trust = allocator.show_trust()
        if not (trust.is_trusted or parsed_args.yes):
            self._ask(trust)
        allocator.trust()
        return _describe(allocator.show_trust())

    def _ask(self, trust: types.Trust) -> None:
        awaited = printing.printable(
            ', '.join(trust.awaited) or 'no host that is known'
        )
        reason = printing.printable(trust.reason)
        self.confirm(
            f'--yes that levels are given out although the store waits for '
            f'{awaited}',
            f'The store is not trusted: {reason}. It waits for '
            f'{awaited}: a new instance may get a level that an instance '
            f'there has.\nTo give levels out nevertheless, type yes: ',
        )
