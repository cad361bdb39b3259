# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova db``: the store's schema."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from svirt_nova import space as spaces
from svirt_nova.cmd import base
from svirt_nova.cmd import space as space_command

DEFAULT_CATEGORIES = 'c0.c1023'
DEFAULT_PER_LEVEL = 2


class Sync(base.Command, show.ShowOne):
    """Create the store or bring its schema up to date; show its space.

    The level space is settled when the store is created. Asking for
    another one later is refused, and changes nothing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The level space of a new store."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--categories',
            metavar='LIST',
            help='The categories that levels are made of '
            f'(default: {DEFAULT_CATEGORIES}).',
        )
        parser.add_argument(
            '--per-level',
            type=int,
            metavar='NUMBER',
            help='How many categories each level has '
            f'(default: {DEFAULT_PER_LEVEL}).',
        )
        parser.add_argument(
            '--exclude',
            metavar='LIST',
            help='Categories that are used for something else and that no '
            'level may contain, such as c0,c5.c9 (default: none).',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Synchronise the store."""
        # SQLAlchemy and alembic take most of a second to import, and every
        # command of the program imports this module.
        from svirt_nova.allocator.sql import store

        return space_command.describe(
            store.sync(self.app.conf, _space(parsed_args))
        )


def _space(parsed_args: argparse.Namespace) -> spaces.LevelSpace | None:
    """The space asked for; None when the store's own will do.

    :raises InvalidSpace: it is impossible
    """
    if (
        parsed_args.categories is None
        and parsed_args.per_level is None
        and parsed_args.exclude is None
    ):
        return None
    return spaces.LevelSpace.parse(
        DEFAULT_CATEGORIES
        if parsed_args.categories is None
        else parsed_args.categories,
        DEFAULT_PER_LEVEL
        if parsed_args.per_level is None
        else parsed_args.per_level,
        parsed_args.exclude or '',
    )
