# SPDX-License-Identifier: Apache-2.0
"""Asks the store how full it is, and keeps the answer as metrics.

It is asked at intervals and not by a scrape: so a scrape is answered at once,
with what is known, while the store is away, and whoever scrapes costs the
store nothing.
"""

from __future__ import annotations

import datetime
import math
import time

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator import types
from svirt_nova.metrics import definitions
from svirt_nova.metrics import tallies

LOG = logs.get_logger(__name__)

_SHARE = 20
"""The part of the time that the store spends on this: one of so many.

To count ten million levels takes a database seconds.
"""

_FORECAST_INTERVAL = 600
"""Seconds between two forecasts, which read more than the counts do."""

_FREE = 'free'
_GAUGE = definitions.Kind.GAUGE

LEVELS = definitions.Definition(
    'svirt_nova_levels',
    _GAUGE,
    'Levels of the level space by their state. "retired" are those of '
    'instances that are gone and that a host still claims, "cooling" those '
    'that come free when their time is over, and "reserved" those that are '
    'never given out.',
    {'state': (*(each.value for each in types.State), _FREE)},
)
SIZE = definitions.Definition(
    'svirt_nova_space_levels',
    _GAUGE,
    'Levels that the level space has.',
)
FILL = definitions.Definition(
    'svirt_nova_fill_ratio',
    _GAUGE,
    'Share of the level space that is not free, from 0 to 1. At 1, new '
    'instances are refused.',
)
PER_DAY = definitions.Definition(
    'svirt_nova_fill_levels_per_day',
    _GAUGE,
    'Levels by which the space fills in a day, as measured over the last '
    'week. It is negative while the space empties, and has no value in the '
    'first hour of a store.',
)
UNTIL_FULL = definitions.Definition(
    'svirt_nova_time_until_full_seconds',
    _GAUGE,
    'Time until the level space is full at the present rate. It is infinite '
    'if the space does not fill.',
)
KEYS = definitions.Definition(
    'svirt_nova_enrolled_keys',
    _GAUGE,
    'Keys that are enrolled and not revoked, by the role of their owners.',
    {'role': tuple(each.value for each in enrolled_keys.Role)},
)
ASKED = definitions.Definition(
    'svirt_nova_store_answer_timestamp_seconds',
    _GAUGE,
    'When the store last answered the service for these metrics, in seconds '
    'since 1970. Of this time are the numbers of levels and keys, the '
    'forecast, and whether the store is trusted.',
)
DEFINITIONS = (
    definitions.STORE_REACHABLE,
    definitions.STORE_TRUSTED,
    ASKED,
    LEVELS,
    SIZE,
    FILL,
    PER_DAY,
    UNTIL_FULL,
    KEYS,
)


class StoreFigures:
    """What the store says of itself.

    :param allocator: asks the store
    :param values: where it is kept
    """

    def __init__(
        self, allocator: base.Allocator, values: tallies.Tallies
    ) -> None:
        self._allocator = allocator
        self._values = values
        self._problem = ''
        # A monotonic time: when the next forecast is due.
        self._forecast_due = 0.0

    def look(self) -> float:
        """Ask the store.

        Where it does not answer, what it said before stays.

        :returns: the least seconds to wait before the next look
        """
        begun = time.monotonic()
        self._try_to_ask()
        return _SHARE * (time.monotonic() - begun)

    def _try_to_ask(self) -> None:
        try:
            self._ask()
        except exception.SvirtError as error:
            self._values.set(
                definitions.STORE_REACHABLE,
                not isinstance(
                    error, exception.StoreUnreachable | exception.StoreUnusable
                ),
            )
            if str(error) != self._problem:
                LOG.warning(
                    'The metrics of the store are not up to date: %s', error
                )
            self._problem = str(error)
            return
        self._problem = ''
        self._values.set(definitions.STORE_REACHABLE, True)
        self._values.set(ASKED, time.time())

    def _ask(self) -> None:
        """Ask for all figures.

        :raises SvirtError: the store does not answer
        """
        trust = self._allocator.show_trust()
        self._values.set(definitions.STORE_TRUSTED, trust.is_trusted)
        stats = self._allocator.stats()
        for state in types.State:
            self._values.set(LEVELS, getattr(stats, state), state)
        self._values.set(LEVELS, stats.free, _FREE)
        self._values.set(SIZE, stats.size)
        self._values.set(FILL, 1 - stats.free / stats.size)
        self._tell_keys()
        if time.monotonic() >= self._forecast_due:
            self._tell_forecast(self._allocator.usage(most=1))
            self._forecast_due = time.monotonic() + _FORECAST_INTERVAL

    def _tell_forecast(self, usage: types.Usage) -> None:
        per_day, full_at = usage.per_day, usage.full_at
        if per_day is None:
            # The store is too young: nothing is forecast.
            self._values.set(PER_DAY, math.nan)
            self._values.set(UNTIL_FULL, math.nan)
            return
        self._values.set(PER_DAY, per_day)
        left = math.inf
        if full_at is not None:
            now = datetime.datetime.now(datetime.UTC)
            left = max(0.0, (full_at - now).total_seconds())
        self._values.set(UNTIL_FULL, left)

    def _tell_keys(self) -> None:
        try:
            keys = self._allocator.enrolled_keys()
        except exception.InvalidOption:
            # This driver keeps none.
            return
        for role in enrolled_keys.Role:
            valid = [each for each in keys.list(role) if not each.revoked_at]
            self._values.set(KEYS, len(valid), role.value)
