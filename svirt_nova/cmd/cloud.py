# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova cloud``: which cloud the store belongs to."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import lister

from svirt_nova import printing
from svirt_nova.allocator import clouds
from svirt_nova.cmd import command


def _describe(
    known: clouds.KnownCloud,
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The hosts of a cloud as names and rows."""
    return ('Host', 'Compute Service', 'Missing Since', 'Cloud'), [
        (
            each.name,
            command.Text(each.service_uuid),
            command.Moment(each.missing_since),
            known.name,
        )
        for each in known.hosts
    ]


class Show(command.Command, lister.Lister):
    """Show the cloud that the store belongs to, by its hosts.

    Only the Nova that lists one of these compute services as up is believed
    that an instance is gone. The store learns them when levels of instances
    that are gone are looked for ("svirt-nova reap"). A host without a compute
    service has claimed instances, and this Nova has never listed it: as long
    as there is one, no level is retired.
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask the allocator."""
        return _describe(self.allocator().show_cloud())


class Accept(command.Command, lister.Lister):
    """Let the store belong to the cloud whose Nova answers now.

    Do this when all hosts of a cloud were set up anew, or when hosts are
    gone for good that Nova has never listed; drop their claims first, with
    "svirt-nova claim purge". What the store knew of its cloud before is
    forgotten. If it is the wrong cloud, levels of instances come free that
    run in the right one.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The confirmation."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--yes',
            action='store_true',
            help='Do not ask at the terminal whether it is the right cloud.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask Nova, then tell the allocator.

        :raises NotConfirmed: it is not confirmed; nothing was changed
        :raises ComputeApiError: Nova gave no certain answer
        """
        # keystoneauth is slow to import.
        from svirt_nova.lifecycle import compute_api

        allocator = self.allocator()
        cloud = compute_api.load(self.app.conf).check()
        known = allocator.show_cloud()
        if not parsed_args.yes:
            self._ask(known, cloud)
        return _describe(allocator.meet_cloud(cloud, replaces=True))

    def _ask(self, known: clouds.KnownCloud, cloud: clouds.Cloud) -> None:
        name = printing.printable(cloud.name)
        now = f'belongs to the cloud at {printing.printable(known.name)}'
        if not known.is_known:
            now = 'does not know its cloud yet'
        hosts = [*map(printing.name, sorted(cloud.hosts))]
        self.confirm(
            f'--yes that the store belongs to the cloud at {name}',
            f'The store {now}. The cloud at {name} has {len(hosts)} '
            f'hosts, such as {", ".join(hosts[:5])}.\nIf the store is that of '
            f'these hosts, and of no others, type yes: ',
        )
