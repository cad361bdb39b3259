# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova reap``: retire levels of instances Nova no longer knows."""

from __future__ import annotations

import argparse
import time
from typing import Any

from cliff import lister

from svirt_nova import exception
from svirt_nova.cmd import command

PASSES = 3
"""How many times Nova must deny an instance before its level goes."""


class Reap(command.Command, lister.Lister):
    """Retire levels that no host claims, of instances that are gone.

    Nova's API is asked several times, and nothing is retired unless every
    question was answered, by the cloud that the store belongs to, and Nova
    has shown instances that hosts claim. Claims of hosts that are gone, too,
    are dropped with their instances: see forget_hosts_after in
    [svirt_nova_allocator]. The command also frees levels that have cooled,
    and forgets old history. Run it from a timer, such as once an hour.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """How often to ask."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='Only list what would be retired.',
        )
        parser.add_argument(
            '--passes',
            type=_positive,
            default=PASSES,
            metavar='NUMBER',
            help='How many times to ask Nova about each instance (default: '
            f'{PASSES}; fewer are allowed only with --dry-run).',
        )
        parser.add_argument(
            '--interval',
            type=_positive,
            default=60,
            metavar='SECONDS',
            help='The time between two passes (default: 60).',
        )
        parser.add_argument(
            '--without-controls',
            action='store_true',
            help='Believe Nova though no host that is up claims an instance '
            'that it could show, as when the last one was deleted or '
            'shelved. Levels of live instances come free if Nova denies what '
            'it has. The store must know its cloud.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask Nova, then tell the allocator.

        :raises InvalidOption: Nova would be asked too few times
        :raises ComputeApiError: Nova gave no certain answer
        :raises OtherCloud: another cloud than the store's has answered
        """
        if parsed_args.passes < PASSES and not parsed_args.dry_run:
            raise exception.InvalidOption(
                f'--passes {parsed_args.passes}: fewer than {PASSES} are '
                f'no evidence, and only for --dry-run'
            )
        # keystoneauth is slow to import, and only this command asks Nova.
        from svirt_nova.lifecycle import compute_api
        from svirt_nova.lifecycle import gone_hosts
        from svirt_nova.lifecycle import reaper

        allocator = self.allocator()
        gone = gone_hosts.GoneHosts.of(self.app.conf)
        found = reaper.find(
            allocator,
            compute_api.load(self.app.conf),
            passes=parsed_args.passes,
            interval=parsed_args.interval,
            sleep=time.sleep,
            needs_controls=not parsed_args.without_controls,
            gone=gone,
        )
        if not parsed_args.dry_run:
            found = reaper.retire(allocator, found, gone)
            # Where computes use the database themselves, nobody else
            # tidies it.
            allocator.tidy()
        outcome = 'would be retired' if parsed_args.dry_run else 'retired'
        names = ('Level', 'Instance', 'Project', 'Since', 'Outcome')
        return names, [
            (
                str(allocation.level),
                command.Text(allocation.instance_uuid),
                command.Text(allocation.project_id),
                command.Moment(allocation.created_at),
                outcome,
            )
            for allocation in found
        ]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


# argparse names the type in its message.
_positive.__name__ = 'positive number'
