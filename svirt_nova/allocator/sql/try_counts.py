# SPDX-License-Identifier: Apache-2.0
"""Counts how often optimistic allocation has to try."""

from __future__ import annotations

from svirt_nova.metrics import definitions
from svirt_nova.metrics import recorder

_GIVEN = 'given'
_TAKEN = 'taken'

TRIES = definitions.Definition(
    'svirt_nova_allocation_tries_total',
    definitions.Kind.COUNTER,
    'Levels that were tried for new instances. The outcome is "given" where '
    'the level was free, and "taken" where another instance had it already, '
    'so that another level was tried.',
    {'outcome': (_GIVEN, _TAKEN)},
    is_shared=True,
)


def given() -> None:
    """Count a candidate that was free."""
    recorder.add(TRIES, _GIVEN)


def taken() -> None:
    """Count a candidate that was not."""
    recorder.add(TRIES, _TAKEN)
