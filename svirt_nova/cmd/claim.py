# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova claim``: which hosts claim which instances."""

from __future__ import annotations

import argparse
import collections
import dataclasses
from typing import Any

from cliff import lister
from cliff import show

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.cmd import command


class List(command.Command, lister.Lister):
    """List which host may still have something of which instance."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The filter."""
        parser = super().get_parser(prog_name)
        parser.add_argument('--host', help='Only the claims of this host.')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask the allocator."""
        names = ('Host', 'Instance', 'Level', 'State')
        return names, sorted(
            (
                host,
                str(allocation.instance_uuid),
                str(allocation.level),
                allocation.state.value,
            )
            for allocation in self.allocator().list(host=parsed_args.host)
            for host in allocation.hosts
            if parsed_args.host in (None, host)
        )


class Purge(command.Command, show.ShowOne):
    """Drop all claims of a host that never returns.

    Do this only when the host is fenced: switched off for good, and cut off
    from every storage that it shared. Levels of instances that live on stay
    held. Levels of deleted instances that no other host claims begin to cool.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The host, and the word that it is fenced."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--host',
            required=True,
            help='The name of the host, as Nova has it.',
        )
        parser.add_argument(
            '--fenced',
            metavar='HOST',
            help='Confirms that the host is fenced: its name once more. '
            'Without it, the name is asked for at the terminal.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Drop the claims, once it is confirmed that the host is fenced.

        :raises NotConfirmed: it is not confirmed; nothing was changed
        :raises UnknownHost: the store knows no such host
        """
        host = parsed_args.host
        allocator = self.allocator()
        claimed = allocator.list(host=host)
        if not claimed and not _is_known(allocator, host):
            raise exception.UnknownHost(
                f'{printing.quote(host)} claims nothing, and Nova has listed '
                f'no host of this name: nothing was changed. "svirt-nova '
                f'label usage --by host" lists the hosts that claim'
            )
        confirmed = parsed_args.fenced
        if confirmed is None and claimed:
            confirmed = self._ask(host, len(claimed))
        if confirmed not in (host, None):
            raise exception.NotConfirmed(
                f'{printing.quote(confirmed)} is not the host '
                f'{printing.quote(host)}: nothing was changed'
            )
        states = collections.Counter(
            allocation.state for allocation in _drop(allocator, host, claimed)
        )
        return (
            'Host',
            'Claims dropped',
            'Levels still held',
            'Levels still retired',
            'Levels cooling',
        ), (
            host,
            len(claimed),
            states[types.State.HELD],
            states[types.State.RETIRED],
            states[types.State.COOLING],
        )

    def _ask(self, host: str, count: int) -> str:
        return self.ask(
            f'--fenced {host} that the host is fenced',
            f'{printing.name(host)} claims {count} instances. While it can '
            f'still run one of them or write to its storage, dropping its '
            f'claims lets two instances have one level.\n'
            f'If it is fenced, type its name: ',
        )


def _is_known(allocator: base.Allocator, host: str) -> bool:
    return any(each.name == host for each in allocator.show_cloud().hosts)


def _drop(
    allocator: base.Allocator,
    host: str,
    claimed: list[types.Allocation],
) -> list[types.Allocation]:
    """Drop a host's claims.

    :returns: the allocations, without the claims of the host
    :raises StoreUnreachable: only some of the claims were dropped
    """
    left: list[types.Allocation] = []
    for allocation in claimed:
        assert allocation.instance_uuid is not None
        try:
            allocator.unclaim(
                allocation.instance_uuid, host, allocation.claims.get(host)
            )
        except exception.StoreUnreachable as error:
            raise exception.StoreUnreachable(
                f'{error}; {len(left)} of {len(claimed)} claims were '
                f'dropped before: run it again'
            ) from error
        left.append(
            dataclasses.replace(allocation, hosts=allocation.hosts - {host})
        )
    return left
