# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova space``: which levels may be given out."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from svirt_nova import level as levels
from svirt_nova import space as spaces
from svirt_nova.cmd import base


def describe(space: spaces.LevelSpace) -> tuple[tuple[str, ...], Any]:
    """A space as names and values."""
    return ('Categories', 'Per Level', 'Levels'), (
        levels.format_categories(space.categories),
        space.per_level,
        space.size,
    )


class Show(base.Command, show.ShowOne):
    """Show the level space, as the store has it."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Ask the allocator."""
        return describe(self.allocator().space())
