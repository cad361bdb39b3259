# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova db``: the store's schema."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from svirt_nova.cmd import command
from svirt_nova.cmd import space


class Sync(command.Command, show.ShowOne):
    """Create the store or bring its schema up to date; show its space.

    The level space is settled when the store is created. Asking for
    another one later is refused, and changes nothing.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The level space of a new store."""
        parser = super().get_parser(prog_name)
        space.add_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Synchronise the store."""
        # SQLAlchemy and alembic are slow to import, and every command of the
        # program imports this module.
        from svirt_nova.allocator.sql.engine import stores

        return space.describe(
            stores.sync(self.app.conf, space.parse(parsed_args))
        )


class Version(command.Command, show.ShowOne):
    """Show the revision of the store's schema, and that of this release."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Look; nothing is made or changed."""
        from svirt_nova.allocator.sql.engine import stores
        from svirt_nova.allocator.sql.tables import schema

        return ('Store', 'Release'), (
            command.Text(stores.revision(self.app.conf)),
            schema.REVISION,
        )
