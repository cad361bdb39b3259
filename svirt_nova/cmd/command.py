# SPDX-License-Identifier: Apache-2.0
"""What the commands have in common."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cliff import columns
from cliff import command
from oslo_config import cfg

from svirt_nova.allocator import base
from svirt_nova.cmd import config

if TYPE_CHECKING:
    from svirt_nova.cmd import manage


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

    def allocator(self) -> base.Allocator:
        """The allocator that the configuration names."""
        return base.load(self.app.conf)


class Moment(columns.FormattableColumn[datetime.datetime | None]):
    """A time: UTC to the second; ISO 8601 for machines."""

    def human_readable(self) -> str:
        """As in ``2026-11-22 10:30:05``."""
        if self._value is None:
            return '-'
        return f'{_utc(self._value):%Y-%m-%d %H:%M:%S}'

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


def _utc(moment: datetime.datetime) -> datetime.datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)
