# SPDX-License-Identifier: Apache-2.0
"""What the store says of levels, each of which is asked for once."""

from __future__ import annotations

import datetime

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.denials import holders
from svirt_nova.denials import level_lookup
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

_MOST_KEPT = 10_000
"""How many levels are kept in memory; more are asked for anew."""


def now() -> datetime.datetime:
    """The clock of this machine, in UTC."""
    return datetime.datetime.now(datetime.UTC)


class KnownLevels:
    """Asks the store, and remembers its answers.

    :attr:`began_at` is the moment of labels that are shown without a time.

    :param clock_error: see :data:`holders.CLOCK_ERROR`
    """

    def __init__(
        self,
        allocator: base.Allocator,
        conf: cfg.ConfigOpts,
        clock_error: datetime.timedelta,
    ) -> None:
        self._allocator = allocator
        self._conf = conf
        self._clock_error = clock_error
        self._space = allocator.space()
        self._is_trusted = allocator.show_trust().is_trusted
        self._records: dict[
            levels.Level, tuple[holders.LevelRecord, datetime.datetime]
        ] = {}
        self.began_at = now()

    def terms(self) -> holders.Terms:
        """What answers of now rest on."""
        options = self._conf.svirt
        return holders.Terms(
            now=now(),
            cooling=datetime.timedelta(seconds=options.cooling_time),
            kept=datetime.timedelta(seconds=options.history_time),
            clock_error=self._clock_error,
            is_trusted=self._is_trusted,
        )

    def of(
        self,
        label: sightings.Label | None,
        written: line_times.Written | None,
    ) -> holders.LevelRecord | None:
        """What the store says of a level in a line.

        :param written: when the line was written: an answer from before that
            may be out of date
        :returns: None for a level that no instance can have
        """
        if label is None:
            return None
        level = label.level
        if not 0 < len(level.categories) <= ranking.MOST_CATEGORIES:
            return None
        found = self._records.get(level)
        if found is not None and _is_as_new(found[1], written):
            return found[0]
        if len(self._records) >= _MOST_KEPT:
            self._records.clear()
        asked_at = now()
        try:
            record = level_lookup.look_up(self._allocator, level, self._space)
        except exception.NotInSpace:
            record = holders.LevelRecord(level)
        self._records[level] = record, asked_at
        return record


def _is_as_new(
    asked_at: datetime.datetime, written: line_times.Written | None
) -> bool:
    return written is None or max(written.moments) <= asked_at
