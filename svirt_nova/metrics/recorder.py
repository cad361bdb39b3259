# SPDX-License-Identifier: Apache-2.0
"""Counts for the metrics of this program, if it has any.

What counts something need not know which program it is part of: in a program
that shows no metrics, or not this one, nothing is counted.
"""

from __future__ import annotations

from svirt_nova.metrics import definitions
from svirt_nova.metrics import tallies

_started: list[tallies.Tallies] = []
"""The values of this program: none, or one."""


def start(values: tallies.Tallies | None) -> None:
    """Count from now on.

    :param values: where; None to count no more
    """
    _started[:] = [] if values is None else [values]


def add(
    defined: definitions.Definition, *labels: str, amount: float = 1.0
) -> None:
    """Count; see :meth:`tallies.Tallies.add`."""
    for values in _started:
        if defined in values:
            values.add(defined, *labels, amount=amount)


def set_value(
    defined: definitions.Definition, value: float, *labels: str
) -> None:
    """Set a gauge; see :meth:`tallies.Tallies.set`."""
    for values in _started:
        if defined in values:
            values.set(defined, value, *labels)


def observe(
    defined: definitions.Definition, value: float, *labels: str
) -> None:
    """Count a value; see :meth:`tallies.Tallies.observe`."""
    for values in _started:
        if defined in values:
            values.observe(defined, value, *labels)
