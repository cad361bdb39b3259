# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova space``: which levels may be given out."""

from __future__ import annotations

import argparse
from typing import Any

from cliff import show

from svirt_nova import exception
from svirt_nova.cmd import command
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

DEFAULT_CATEGORIES = 'c0.c1023'
DEFAULT_PER_LEVEL = 2


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a space."""
    parser.add_argument(
        '--categories',
        metavar='LIST',
        help="The categories that levels, or their instance's part, are "
        f'made of (default: {DEFAULT_CATEGORIES}).',
    )
    parser.add_argument(
        '--per-level',
        type=int,
        metavar='NUMBER',
        help='How many of them each level has '
        f'(default: {DEFAULT_PER_LEVEL}).',
    )
    parser.add_argument(
        '--project-categories',
        metavar='LIST',
        help="The categories that the project's part of levels is made of, "
        'such as c0.c255: with them, all instances of a project can open a '
        'multiattach volume, and no others (default: none).',
    )
    parser.add_argument(
        '--per-project',
        type=int,
        metavar='NUMBER',
        help="How many of them a project's part has "
        f'(default: {spaces.DEFAULT_PER_PROJECT}).',
    )
    parser.add_argument(
        '--exclude',
        metavar='LIST',
        help='Categories that are used for something else and that no '
        'level may contain, such as c0,c5.c9 (default: none).',
    )


def parse(options: argparse.Namespace) -> spaces.LevelSpace | None:
    """The space that options describe; None when there are none.

    :raises InvalidSpace: it is impossible
    """
    asked = (
        options.categories,
        options.per_level,
        options.project_categories,
        options.per_project,
        options.exclude,
    )
    if all(option is None for option in asked):
        return None
    return spaces.LevelSpace.parse(
        DEFAULT_CATEGORIES
        if options.categories is None
        else options.categories,
        DEFAULT_PER_LEVEL if options.per_level is None else options.per_level,
        options.exclude or '',
        options.project_categories or '',
        options.per_project,
    )


def describe(space: spaces.LevelSpace) -> tuple[tuple[str, ...], Any]:
    """A space as names and values."""
    return (
        'Scheme',
        'Categories',
        'Per Level',
        'Project Categories',
        'Per Project',
        'Levels',
    ), (
        space.scheme.value,
        levels.format_categories(space.categories),
        space.per_level,
        command.Text(
            levels.format_categories(space.project_categories) or None
        ),
        space.per_project,
        space.size,
    )


class Show(command.Command, show.ShowOne):
    """Show the level space, as the store has it."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Ask the allocator."""
        return describe(self.allocator().space())


class Set(command.Command, show.ShowOne):
    """Change the level space; instances keep the levels they have.

    The options describe the new space as a whole, and --categories is
    needed: what is not said does not stay as it is.

    The change is refused if it would let an instance open the files of
    another; the levels that stand against it are named. No level is given
    out meanwhile. On a database server the change waits until all
    transactions that are under way have ended, which takes
    [svirt_database] call_timeout.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The space."""
        parser = super().get_parser(prog_name)
        add_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Any]:
        """Ask the allocator to change it."""
        space = parse(parsed_args)
        allocator = self.allocator()
        present = allocator.space()
        unsaid = _unsaid(parsed_args, present)
        if space is None or unsaid:
            raise exception.InvalidSpace(
                f'say all of the new space, also {" and ".join(unsaid)}: what '
                f'is not said would not stay as it is. The space is now '
                f'"{present}"; see "svirt-nova space show" and --help'
            )
        allocator.set_space(space)
        return describe(allocator.space())


def _unsaid(
    options: argparse.Namespace, present: spaces.LevelSpace
) -> list[str]:
    """The options whose default is not what the space has now."""
    return [
        option
        for option, given, is_default in (
            ('--categories', options.categories, False),
            (
                '--per-level',
                options.per_level,
                present.per_level == DEFAULT_PER_LEVEL,
            ),
            (
                '--project-categories ("" for none)',
                options.project_categories,
                not present.project_categories,
            ),
            (
                '--per-project',
                options.per_project,
                present.per_project in (0, spaces.DEFAULT_PER_PROJECT)
                or options.project_categories == '',
            ),
        )
        if given is None and not is_default
    ]
