# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova label``: who has which level."""

from __future__ import annotations

import argparse
import datetime
import uuid
from collections.abc import Iterator
from typing import Any

from cliff import lister
from cliff import show
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.cmd import command
from svirt_nova.cmd import host_usage
from svirt_nova.cmd import instance_search
from svirt_nova.denials import holders
from svirt_nova.denials import level_lookup
from svirt_nova.denials import line_times
from svirt_nova.denials import shown_labels
from svirt_nova.mcs import levels

FREE = 'free'
"""The state of a level that nobody has."""

_MOST_RESERVED = 5_000


def parse_target(text: str) -> str | levels.Level:
    """Read what ``label show`` is asked for.

    :param text: an instance's UUID, a level, a range, a whole context, or a
        line of ``ls -Z`` or ``ps -Z``
    :returns: the UUID in its canonical form, or the (high) level
    :raises InvalidLevel: it is none of these, or has more than one level
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        pass
    level = shown_labels.read_label(text).level
    if not level.categories:
        raise exception.InvalidLevel(
            f'{text!r} has no categories: no instance has it'
        )
    return level


def read_target(conf: cfg.ConfigOpts, text: str) -> str | levels.Level:
    """Read what ``label show`` is asked for, which may also be a name.

    :raises SvirtError: see :func:`parse_target` and
        :func:`instance_search.uuid_of`
    """
    try:
        return parse_target(text)
    except (exception.InvalidLevel, exception.InvalidContext) as error:
        return instance_search.uuid_of(conf, text, error)


def parse_moment(text: str) -> datetime.datetime:
    """Read a time that is given as an option.

    :raises ArgumentTypeError: it is none; see :func:`line_times.parse_moment`
    """
    try:
        return line_times.parse_moment(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class List(command.Command, lister.Lister):
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
            choices=[state.value for state in types.State],
            help='Only levels in this state; may be repeated.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """Ask the allocator."""
        states = parsed_args.state and frozenset(
            map(types.State, parsed_args.state)
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
                command.Text(allocation.instance_uuid),
                command.Text(allocation.project_id),
                command.Names(allocation.hosts),
                command.Moment(allocation.created_at),
            )
            for allocation in found
        )


class Show(command.Command, show.ShowOne):
    """Show the level of an instance, or who has a level."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The one argument."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'target',
            metavar='<instance or level>',
            help='The UUID of an instance, its name or that of its domain on '
            'this host; or a level such as s0:c12,c900 or c12,c900, in any '
            'order; or a whole context; or a line of ls -Z or ps -Z.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Ask the allocator."""
        target = read_target(self.app.conf, parsed_args.target)
        allocator = self.allocator()
        if isinstance(target, levels.Level):
            record = level_lookup.look_up(allocator, target)
        else:
            # Hosts may ask for instances, and not for the history.
            found = allocator.get(target)
            record = holders.LevelRecord(found.level, found)
        names = (
            'Level',
            'State',
            'Instance',
            'Project',
            'Hosts',
            'Since',
            'Retired',
            'Note',
            'Before',
        )
        return names, (
            str(record.level),
            *_details(record.present),
            command.Text(_former(record)),
        )


def _former(record: holders.LevelRecord) -> str | None:
    """Say that another instance had the level, if one had."""
    last = record.former
    if last is None:
        return None
    return (
        f'{last.instance_uuid} until {last.until:%Y-%m-%d %H:%M:%S}: for '
        f'older lines use "svirt-nova avc" or "label history --at"'
    )


def _details(found: types.Allocation | None) -> tuple[Any, ...]:
    if found is None:
        return (
            FREE,
            command.Text(None),
            command.Text(None),
            command.Names(()),
            command.Moment(None),
            command.Moment(None),
            command.Text(None),
        )
    return (
        found.state.value,
        command.Text(found.instance_uuid),
        command.Text(found.project_id),
        command.Names(found.hosts),
        command.Moment(found.created_at),
        command.Moment(found.retired_at),
        command.Text(found.note or None),
    )


class Stats(command.Command, show.ShowOne):
    """Show how full the level space is, and when it will be."""

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """Ask the allocator."""
        allocator = self.allocator()
        stats = allocator.stats()
        usage = allocator.usage()
        used = stats.size - stats.free
        return (
            'Levels',
            'Free',
            'Held',
            'Retired',
            'Cooling',
            'Reserved',
            'Used %',
            'Per Day',
            'Full At',
        ), (
            stats.size,
            stats.free,
            stats.held,
            stats.retired,
            stats.cooling,
            stats.reserved,
            round(100 * used / stats.size, 3),
            None if usage.per_day is None else round(usage.per_day, 1),
            command.Moment(usage.full_at),
        )


class Usage(command.Command, lister.Lister):
    """List who uses the level space: projects or hosts, most first.

    Of a host, the answer says which part it claims of the instances that
    [svirt_nova_allocator] host_claim_limit lets it, as far as the option is
    set here, and whether Nova lists the host: it was listed when levels were
    last looked for whose instances are gone, is missing since, or was never.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """By what."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            '--by',
            choices=('project', 'host'),
            default='project',
            help='Levels by project, or claims by host (default: project).',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask the allocator."""
        allocator = self.allocator()
        usage = allocator.usage()
        if parsed_args.by == 'host':
            limit = self.app.conf.svirt_nova_allocator.host_claim_limit
            return host_usage.NAMES, host_usage.describe(
                usage.by_host, limit, allocator.show_cloud()
            )
        return ('Project', 'Levels'), sorted(
            usage.by_project.items(), key=lambda item: (-item[1], item[0])
        )


class Reserve(command.Command, lister.Lister):
    """Keep a level that is used elsewhere from being given out.

    If the level is not one of the space, all levels of the space are
    reserved whose instances could open its files, or whose files it could
    open. Reserve it again when the space has been changed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The level, and what for."""
        parser = super().get_parser(prog_name)
        parser.add_argument('level', metavar='<level>')
        parser.add_argument('--note', default='', help='What it is used for.')
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask the allocator for each."""
        level = levels.Level.parse(parsed_args.level)
        allocator = self.allocator()
        chosen = allocator.space().meeting(level, _MOST_RESERVED)
        if not chosen:
            raise exception.NotInSpace(
                f'no level of the space "{allocator.space()}" can meet '
                f'{level}: there is nothing to reserve'
            )
        return ('Level', 'State', 'Note'), [
            (str(found.level), found.state.value, command.Text(found.note))
            for found in (
                allocator.reserve(each, parsed_args.note) for each in chosen
            )
        ]


class Release(command.Command):
    """Let a reserved level be given out again.

    It must be a level that "label list --state reserved" shows. A level that
    was reserved for one outside of the space may be needed for another one,
    too.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The level."""
        parser = super().get_parser(prog_name)
        parser.add_argument('level', metavar='<level>')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Ask the allocator."""
        self.allocator().release(levels.Level.parse(parsed_args.level))
