# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova avc``: which instances a line of an audit log is about."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import zoneinfo
from collections.abc import Iterator
from typing import Any

from cliff import lister

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.cmd import avc_columns
from svirt_nova.cmd import command
from svirt_nova.cmd import instance_names
from svirt_nova.cmd import known_levels
from svirt_nova.cmd import label
from svirt_nova.cmd import text_lines
from svirt_nova.denials import holders
from svirt_nova.denials import line_reader
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts


class Avc(command.Command, lister.Lister):
    """Tell which instances lines of an audit log are about.

    A line is a denial as audit.log, ausearch, journalctl, dmesg or
    setroubleshoot show it, a line of "ls -Z" or "ps -Z", a context, or a
    level. Of each, the answer says who had the levels at the time of the
    line, who has them now, and what that means. Nobody is named where the
    line, its time or the history of a level leave a doubt.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The lines, and what to take of them."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'lines',
            nargs='*',
            metavar='<file or line>',
            help='A line, in quotes; or a file with lines. Without any, or '
            'with -, standard input is read.',
        )
        parser.add_argument(
            '--only',
            action='append',
            choices=[each.value for each in verdicts.Verdict],
            help='Only lines with this verdict; may be repeated.',
        )
        parser.add_argument(
            '--at',
            type=label.parse_moment,
            metavar='TIME',
            help='When lines were written that have no time, or none that '
            'can be read; as in "label history".',
        )
        parser.add_argument(
            '--timezone',
            type=_zone,
            metavar='NAME',
            help='The time zone of times that "ausearch -i" and '
            'setroubleshoot have written, such as Europe/Berlin (default: '
            "this machine's).",
        )
        parser.add_argument(
            '--clock-error',
            type=_seconds,
            default=holders.CLOCK_ERROR,
            metavar='SECONDS',
            help='How far clocks of hosts may be apart from that of the '
            'store (default: 1). Nobody is named for a line that is so near '
            'to the moment at which a level changed hands.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        """Read the lines, and ask the allocator."""
        known = known_levels.KnownLevels(
            self.allocator(), self.app.conf, parsed_args.clock_error
        )
        names = instance_names.InstanceNames(self.app.conf, self.app.LOG.info)
        only = parsed_args.only and set(parsed_args.only)
        return avc_columns.NAMES, (
            avc_columns.row(number, sighting, judgement, names)
            for number, sighting in self._sightings(parsed_args)
            for judgement in [
                _judge(_with_time(sighting, parsed_args.at), known)
            ]
            if not only or judgement.verdict in only
        )

    def _sightings(
        self, parsed_args: argparse.Namespace
    ) -> Iterator[line_reader.Found]:
        zone = parsed_args.timezone
        for number, text in enumerate(parsed_args.lines or ['-'], 1):
            reader = line_reader.LineReader(zone)
            if text == '-':
                yield from _read_all(
                    reader, text_lines.of_stream(self.app.stdin)
                )
                continue
            found = [
                (number, each)
                for line in text.strip().split('\n')
                for _, each in reader.read(line)
            ]
            found += [(number, each) for _, each in reader.finish()]
            if found:
                yield from found
            elif _is_file(text):
                yield from _read_all(
                    line_reader.LineReader(zone), text_lines.of_file(text)
                )
            else:
                raise exception.InvalidLevel(
                    f'{printing.quote(text)} is no file, and no line that '
                    f'has a level: see "svirt-nova avc --help"'
                )


def _read_all(
    reader: line_reader.LineReader, lines: Iterator[str]
) -> Iterator[line_reader.Found]:
    for line in lines:
        yield from reader.read(line)
    yield from reader.finish()


def _with_time(
    sighting: sightings.Sighting, moment: datetime.datetime | None
) -> sightings.Sighting:
    """The line, with the time that the operator gives for those without."""
    if sighting.written is not None or moment is None:
        return sighting
    return dataclasses.replace(sighting, written=line_times.Written((moment,)))


def _judge(
    sighting: sightings.Sighting, known: known_levels.KnownLevels
) -> verdicts.Judgement:
    written = sighting.written
    if written is None and None in (sighting.source, sighting.target):
        # A label that is shown is one of now.
        written = line_times.Written((known.began_at,))
        sighting = dataclasses.replace(sighting, written=written)
    source = known.of(sighting.source, written)
    target = known.of(sighting.target, written)
    return verdicts.judge(sighting, source, target, known.terms())


def _is_file(text: str) -> bool:
    try:
        return os.path.exists(text)
    except (ValueError, OSError):
        return False


def _zone(text: str) -> datetime.tzinfo:
    try:
        return zoneinfo.ZoneInfo(text)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise argparse.ArgumentTypeError(
            f'{printing.quote(text)} is no time zone that this machine knows'
        ) from error


def _seconds(text: str) -> datetime.timedelta:
    try:
        found = datetime.timedelta(seconds=float(text))
    except (ValueError, OverflowError):
        found = -holders.CLOCK_ERROR
    if not datetime.timedelta(0) <= found <= datetime.timedelta(days=1):
        raise argparse.ArgumentTypeError(
            f'{printing.quote(text)}: give seconds, no more than those of a '
            f'day'
        )
    return found
