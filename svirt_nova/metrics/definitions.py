# SPDX-License-Identifier: Apache-2.0
"""What a metric is: its name, what it says, and all values of its labels.

A module that counts something defines its metrics, because only it knows the
values of their labels. All values are given beforehand: so a metric has a
known number of series, whatever callers and guests do, and each of them is
there from the start, which PromQL's ``increase`` needs to see the first event.
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

OTHER = 'other'
"""The value of a label for whatever has no value of its own."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 45.0)
"""Upper bounds for the times of calls, in seconds.

The highest are the default time limits of a call of the database and of a call
of the service.
"""


class Kind(enum.StrEnum):
    """What the value of a metric does, in Prometheus' words."""

    COUNTER = 'counter'
    GAUGE = 'gauge'
    HISTOGRAM = 'histogram'


@dataclasses.dataclass(frozen=True)
class Definition:
    """A metric.

    :param name: as Prometheus shows it
    :param help: what it says, in full sentences
    :param labels: for each label all values that it can have
    :param buckets: upper bounds of a histogram, ascending, without infinity
    :param is_shared: whether several programs of a host have the metric; it
        then gets the label ``program``, because node_exporter refuses all
        text files of a host if two of them have the same series
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=dict
    )
    buckets: Sequence[float] = ()
    is_shared: bool = False

    def series(self) -> Iterator[tuple[str, ...]]:
        """All combinations of the values of the labels."""
        return itertools.product(*self.labels.values())

    @property
    def label_names(self) -> list[str]:
        """The labels, as Prometheus shows them."""
        return [*(['program'] if self.is_shared else []), *self.labels]

    @property
    def samples(self) -> list[str]:
        """The names of its series, as an expression has them."""
        if self.kind is Kind.HISTOGRAM:
            return [f'{self.name}_{part}' for part in _PARTS]
        return [self.name]


_PARTS = ('bucket', 'count', 'sum')
"""The series of a histogram."""

STORE_REACHABLE = Definition(
    'svirt_nova_store_reachable',
    Kind.GAUGE,
    'Whether the store of levels, or the service in front of it, answered '
    'when it was last asked, and could be used: 1 if so, 0 if not.',
    is_shared=True,
)
STORE_TRUSTED = Definition(
    'svirt_nova_store_trusted',
    Kind.GAUGE,
    'Whether the store is trusted: 1 if so; 0 if it may be older than what '
    'hosts have seen of it, so that no new instance gets a level.',
    is_shared=True,
)
