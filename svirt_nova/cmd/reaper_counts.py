# SPDX-License-Identifier: Apache-2.0
"""Counts what the processes that free levels of deleted instances do."""

from __future__ import annotations

import time

from svirt_nova.metrics import definitions
from svirt_nova.metrics import recorder

ALL = 'reaper'
PROMPT = 'prompt-reaper'

_REAPERS = (ALL, PROMPT)
_DONE = 'done'
_FAILED = 'failed'

LOOKS = definitions.Definition(
    'svirt_nova_reaper_looks_total',
    definitions.Kind.COUNTER,
    'Looks of the service for levels of deleted instances. "reaper" looks at '
    'all instances once in reap_interval, and "prompt-reaper" every few '
    'seconds at those whose last claim was dropped. The outcome is "failed" '
    'where Nova or the store gave no certain answer.',
    {'reaper': _REAPERS, 'outcome': (_DONE, _FAILED)},
)
LAST_SUCCESS = definitions.Definition(
    'svirt_nova_reaper_last_success_timestamp_seconds',
    definitions.Kind.GAUGE,
    'When a look for levels of deleted instances last came to its end, in '
    'seconds since 1970. There is no value before the first one.',
    {'reaper': _REAPERS},
)
RETIRED = definitions.Definition(
    'svirt_nova_retired_levels_total',
    definitions.Kind.COUNTER,
    'Levels of deleted instances that the service has retired, so that they '
    'come free when they have cooled.',
    {'reaper': _REAPERS},
)
INTERVAL = definitions.Definition(
    'svirt_nova_reap_interval_seconds',
    definitions.Kind.GAUGE,
    'Time between two looks of "reaper", as [svirt_nova_allocator] '
    'reap_interval has it. It is 0 if it never looks.',
)
DEFINITIONS = (LOOKS, LAST_SUCCESS, RETIRED, INTERVAL)


def done(reaper: str | None, retired: int) -> None:
    """Count a look that came to its end.

    :param reaper: which one looked
    :param retired: how many levels it retired
    """
    name = str(reaper)
    recorder.add(LOOKS, name, _DONE)
    recorder.add(RETIRED, name, amount=retired)
    recorder.set_value(LAST_SUCCESS, time.time(), name)


def failed(reaper: str | None) -> None:
    """Count a look that got no certain answer."""
    recorder.add(LOOKS, str(reaper), _FAILED)
