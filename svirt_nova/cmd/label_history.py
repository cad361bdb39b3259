# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova label history``: who had which level, when and where."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from cliff import columns
from cliff import lister

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator import types
from svirt_nova.cmd import command
from svirt_nova.cmd import label
from svirt_nova.mcs import levels

_MOST = 1000


class Periods(columns.FormattableColumn[tuple[types.ClaimPeriod, ...]]):
    """The hosts that claimed an instance, and when."""

    def human_readable(self) -> str:
        """A line for each, as in ``compute1 since 2026-11-22 10:30:05``."""
        return '\n'.join(map(self._describe, self._value)) or '-'

    def machine_readable(self) -> list[dict[str, str | None]]:  # type: ignore[override]
        """A map for each: host, since and until."""
        return [
            {
                'host': printing.printable(each.host),
                'since': command.Moment(each.since).machine_readable(),
                'until': command.Moment(each.until).machine_readable(),
            }
            for each in self._value
        ]

    @staticmethod
    def _describe(period: types.ClaimPeriod) -> str:
        words = [printing.printable(period.host)]
        for word, moment in (
            ('since', period.since),
            ('until', period.until),
        ):
            if moment is not None:
                words.append(f'{word} {moment:%Y-%m-%d %H:%M:%S}')
        return ' '.join(words)


class History(command.Command, lister.Lister):
    """List who had a level, or which levels an instance or a project had.

    The oldest comes first. The hosts are those that may have had something
    of the instance in this time, by when they claimed it. A host that claims
    an instance again within ten minutes is told once. Of the time before the
    store was upgraded to revision 0007, hosts are not known.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """The level, the instance or the project, and the moment."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            'target',
            nargs='?',
            metavar='<instance or level>',
            help='The UUID or the name of an instance, as in "label show"; '
            'or a level such as s0:c12,c900; '
            'or a whole context, as audit lines have it; or a line of ls -Z '
            'or ps -Z.',
        )
        parser.add_argument(
            '--project',
            metavar='ID',
            help='Only levels that instances of this project had.',
        )
        parser.add_argument(
            '--at',
            type=label.parse_moment,
            metavar='TIME',
            help='Only who had it then: such as "2026-11-22 10:30:05" (UTC), '
            'ISO 8601 with a time zone, or the time of an audit line, '
            'such as 1795404472.465:1234 or audit(1795404472.465:1234).',
        )
        parser.add_argument(
            '--after',
            type=label.parse_moment,
            metavar='TIME',
            help='Only what was given out after this time.',
        )
        parser.add_argument(
            '--limit',
            type=_positive,
            default=_MOST,
            metavar='NUMBER',
            help=f'List no more than about so many (default: {_MOST}). To '
            f'go on, give the time of the last one with --after.',
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Ask the allocator.

        :raises InvalidLevel: it is not told of what the history is wanted
        """
        found = self._ask(parsed_args)
        if len(found) >= parsed_args.limit:
            self.app.LOG.warning(
                'There may be more: go on with --after %s',
                found[-1].since.isoformat(),
            )
        if parsed_args.at is not None:
            found = self._at(found, parsed_args.at)
        names = ('Level', 'Instance', 'Project', 'Hosts', 'Since', 'Until')
        return names, [
            (
                command.Text(None if held.level is None else str(held.level)),
                held.instance_uuid,
                held.project_id,
                Periods(_claims_at(held, parsed_args.at)),
                command.Moment(held.since),
                command.Moment(held.until),
            )
            for held in found
        ]

    def _ask(self, parsed_args: argparse.Namespace) -> Sequence[types.Holding]:
        wanted: dict[str, Any] = {
            'begun_after': parsed_args.after,
            'limit': parsed_args.limit,
        }
        level = None
        if parsed_args.target is not None:
            target = label.read_target(self.app.conf, parsed_args.target)
            if isinstance(target, levels.Level):
                level = target
            else:
                wanted['instance_uuid'] = target
        elif parsed_args.project is None:
            raise exception.InvalidLevel(
                'name a level, an instance or, with --project, a project: '
                'see "svirt-nova label history --help"'
            )
        if parsed_args.project is not None:
            wanted['project_id'] = parsed_args.project
        if parsed_args.at is not None:
            # A level that cooled then is found, too.
            wanted['at'] = parsed_args.at
        return self.allocator().history(level, **wanted)

    def _at(
        self, holdings: Iterable[types.Holding], moment: datetime.datetime
    ) -> list[types.Holding]:
        """Who had a level at a moment or, if nobody, whose level cooled."""
        cooling = datetime.timedelta(seconds=self.app.conf.svirt.cooling_time)
        kept = [each for each in holdings if each.keeps_level(moment, cooling)]
        held = {
            each.level
            for each in kept
            if each.until is None or moment < each.until
        }
        return [
            each
            for each in kept
            if each.level not in held
            or each.until is None
            or moment < each.until
        ]


def _claims_at(
    held: types.Holding, moment: datetime.datetime | None
) -> tuple[types.ClaimPeriod, ...]:
    return tuple(
        each
        for each in held.claims
        if moment is None or each.overlaps(moment, moment)
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10**6:
        raise argparse.ArgumentTypeError(
            f'{printing.quote(text)} is no number from 1 to a million'
        )
    return int(text)
