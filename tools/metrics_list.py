# SPDX-License-Identifier: Apache-2.0
"""All metrics, and the list of them in the guide."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

from svirt_nova.alarm import counters
from svirt_nova.cmd import exporter
from svirt_nova.metrics import definitions
from svirt_nova.virt import compute_metrics

PROGRAMS: dict[str, Sequence[definitions.Definition]] = {
    exporter.PROGRAM: exporter.DEFINITIONS,
    compute_metrics.PROGRAM: compute_metrics.DEFINITIONS,
    'svirt-nova-alarm': counters.DEFINITIONS,
}
"""The metrics of each program."""

_MOST_VALUES = 8
"""Values of a label that the list names."""

_HEAD = """..
    SPDX-License-Identifier: Apache-2.0

..
    This file is generated: change the definitions, and run "tox -e genconfig".
"""


def _values(values: Sequence[str]) -> str:
    if len(values) > _MOST_VALUES:
        return f'{len(values)} values'
    return ', '.join(f'``{each}``' for each in values)


def _entry(defined: definitions.Definition) -> Iterator[str]:
    """The lines about a metric."""
    yield f'``{defined.name}``: {defined.kind}'
    yield f'    {defined.help}'
    labels = [
        f'``{label}`` ({_values(values)})'
        for label, values in defined.labels.items()
    ]
    if defined.is_shared:
        labels.insert(0, '``program``')
    if labels:
        yield ''
        yield f'    By {" and ".join(labels)}.'
    yield ''


def render() -> str:
    """The metrics in the guide, a list for each program."""
    lines = [_HEAD]
    for program, defined in PROGRAMS.items():
        lines += [program, '-' * len(program), '']
        for each in defined:
            lines += _entry(each)
    return '\n'.join(lines)
