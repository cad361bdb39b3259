# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova label``: who has which level."""

from __future__ import annotations

import argparse
import uuid
from collections.abc import Iterator
from typing import Any

from cliff import lister
from cliff import show

from svirt_nova import context as contexts
from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova.allocator import base as allocators
from svirt_nova.cmd import base

FREE = 'free'
"""The state of a level that nobody has."""


def parse_target(text: str) -> str | levels.Level:
    """Read what ``label show`` is asked for.

    :param text: an instance's UUID, a level, a range or a whole context
    :returns: the UUID in its canonical form, or the (high) level
    :raises InvalidLevel: it is none of these
    :raises InvalidContext: it looks like a context but is none
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        pass
    if ':' not in text:
        raise exception.InvalidLevel(
            f'{text!r} is neither the UUID of an instance nor a level such '
            f'as s0:c12,c900 nor a context'
        )
    if text.startswith('s0'):
        return levels.LevelRange.parse(text).high
    return contexts.Context.parse(text).level


class List(base.Command, lister.Lister):
    """List the levels that are not free."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The filters."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--host', help='Only instances that this host claims.'
        )
        parser.add_argument(
            '--project', metavar='ID', help='Only instances of this project.'
        )
        parser.add_argument(
            '--state',
            action='append',
            choices=[state.value for state in allocators.State],
            help='Only levels in this state; may be repeated.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """Ask the allocator."""
        states = parsed_args.state and frozenset(
            map(allocators.State, parsed_args.state)
        )
        found = self.allocator().list(
            host=parsed_args.host,
            project_id=parsed_args.project,
            states=states,
        )
        names = ('Level', 'State', 'Instance', 'Project', 'Hosts', 'Since')
        return names, (
            (
                str(allocation.level),
                allocation.state.value,
                base.Text(allocation.instance_uuid),
                base.Text(allocation.project_id),
                base.Names(allocation.hosts),
                base.Moment(allocation.created_at),
            )
            for allocation in found
        )


class Show(base.Command, show.ShowOne):
    """Show the level of an instance, or who has a level."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The one argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'target',
            metavar='<instance or level>',
            help='The UUID of an instance; or a level such as s0:c12,c900, '
            'in any order; or a whole context, as ls -Z prints it.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Ask the allocator."""
        target = parse_target(parsed_args.target)
        allocator = self.allocator()
        found: allocators.Allocation | None
        if isinstance(target, levels.Level):
            found = allocator.find(target)
            level = target
        else:
            found = allocator.get(target)
            level = found.level
        names = (
            'Level',
            'State',
            'Instance',
            'Project',
            'Hosts',
            'Since',
            'Retired',
            'Note',
        )
        return names, (str(level), *_details(found))


def _details(found: allocators.Allocation | None) -> tuple[Any, ...]:
    if found is None:
        return (
            FREE,
            base.Text(None),
            base.Text(None),
            base.Names(()),
            base.Moment(None),
            base.Moment(None),
            base.Text(None),
        )
    return (
        found.state.value,
        base.Text(found.instance_uuid),
        base.Text(found.project_id),
        base.Names(found.hosts),
        base.Moment(found.created_at),
        base.Moment(found.retired_at),
        base.Text(found.note or None),
    )


class Stats(base.Command, show.ShowOne):
    """Show how full the level space is."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Ask the allocator."""
        stats = self.allocator().stats()
        used = stats.size - stats.free
        return (
            'Levels',
            'Free',
            'Held',
            'Retired',
            'Cooling',
            'Reserved',
            'Used %',
        ), (
            stats.size,
            stats.free,
            stats.held,
            stats.retired,
            stats.cooling,
            stats.reserved,
            round(100 * used / stats.size, 3),
        )
