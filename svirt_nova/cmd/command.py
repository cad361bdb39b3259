# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import TYPE_CHECKING

from cliff import columns
from cliff import command
from cliff import show
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.cmd import config

if TYPE_CHECKING:
    from svirt_nova.cmd import manage


_ESCAPING = ('json', 'yaml')
"""Formats that write every character so that it can be read back."""

_FORMULA = ('=', '+', '-', '@')
"""What begins a cell that a spreadsheet calculates."""


class Command(command.Command):
    """A command that ends in one clear line when it fails."""

    app: manage.SvirtNova

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run the command; cliff prints the error and exits with 1.

        :raises SvirtError: it failed
        """
        try:
            return super().run(parsed_args)
        except cfg.Error as error:
            raise config.invalid(error) from error

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Any,
    ) -> int:
        """Print a table, in which no text has lines or cells of its own."""
        if parsed_args.formatter not in _ESCAPING:
            show_cell = _shown
            if parsed_args.formatter == 'csv':
                show_cell = _no_formula
            elif parsed_args.formatter == 'shell':
                show_cell = _flat
            if isinstance(self, show.ShowOne):
                data = tuple(map(show_cell, data))
            else:
                data = (tuple(map(show_cell, row)) for row in data)
        status: int = super().produce_output(  # type: ignore[misc]
            parsed_args, column_names, data
        )
        return status

    def ask(self, unattended: str, question: str) -> str:
        """Ask the operator at the terminal.

        :param unattended: how to confirm without one, for the error
        :param question: its texts from outside must be printable
        :returns: the answer, without spaces at its ends
        :raises NotConfirmed: there is no terminal
        """
        if not self.app.stdin.isatty():
            raise exception.NotConfirmed(
                f'nothing was changed: without a terminal, confirm with '
                f'{unattended}'
            )
        # Standard output is for the answer of the command.
        self.app.stderr.write(question)
        self.app.stderr.flush()
        answer: str = self.app.stdin.readline()
        return answer.strip()

    def confirm(self, unattended: str, question: str) -> None:
        """Go on only if the operator types yes; see :meth:`ask`.

        :raises NotConfirmed: it was not confirmed
        """
        if self.ask(unattended, question) != 'yes':
            raise exception.NotConfirmed('nothing was changed')

    def allocator(self) -> base.Allocator:
        """The allocator that the configuration names."""
        return base.load(self.app.conf)


class Moment(columns.FormattableColumn[datetime.datetime | None]):
    """A time: UTC to the second; ISO 8601 for machines."""

    def human_readable(self) -> str:
        """As in ``2026-11-22 10:30:05 UTC``."""
        if self._value is None:
            return '-'
        return f'{_utc(self._value):%Y-%m-%d %H:%M:%S} UTC'

    def machine_readable(self) -> str | None:  # type: ignore[override]
        """As in ``2026-11-22T10:30:05+00:00``."""
        if self._value is None:
            return None
        return _utc(self._value).isoformat(timespec='seconds')


class Names(columns.FormattableColumn[list[str]]):
    """A list of names: separated by commas; a list for machines."""

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(sorted(names))

    def human_readable(self) -> str:
        """As in ``compute1, compute2``."""
        return ', '.join(self._value) or '-'


class Text(columns.FormattableColumn[str | None]):
    """A text that may be missing."""

    def human_readable(self) -> str:
        """The text, or a dash."""
        return self._value or '-'


def _shown(cell: Any) -> Any:
    """A cell of which all characters can be seen."""
    if cell is None:
        return Text(None)
    if isinstance(cell, str):
        return printing.printable(cell)
    if isinstance(cell, columns.FormattableColumn):
        value = cell._value
        if isinstance(value, str):
            return type(cell)(printing.printable(value))
        if isinstance(value, list):
            return type(cell)([*map(printing.printable, value)])
    return cell


def _flat(cell: Any) -> Any:
    """A cell as one text, which is empty if there is nothing to tell."""
    value = _shown(cell)
    if isinstance(value, columns.FormattableColumn):
        value = value.machine_readable()
    if isinstance(value, list):
        value = ', '.join(map(_flat_entry, value))
    return '' if value is None else value


def _flat_entry(entry: Any) -> str:
    """An entry of a list; of a map, its values."""
    if isinstance(entry, dict):
        return ' '.join(str(each) for each in entry.values() if each)
    return str(entry)


def _no_formula(cell: Any) -> Any:
    """A cell that no spreadsheet calculates.

    Names may come from a tenant, and a spreadsheet runs what looks like a
    formula. An apostrophe makes it a text.
    """
    value = _flat(cell)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _utc(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)
