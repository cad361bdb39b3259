# SPDX-License-Identifier: Apache-2.0
"""The values of the metrics of a program, which its processes share.

The values lie in memory that a program has before it starts its processes.
Each process writes to a part of its own, and whoever is asked adds the parts
up. A process that is started in the place of one that died gets the same part
and counts on, so that no counter goes back and nothing is left over.

prometheus_client has files for this, one for each process that there ever was.
They have to be found and removed, and a full file system ends the process that
writes to them.
"""

from __future__ import annotations

import bisect
import math
import mmap
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from svirt_nova.metrics import definitions

if TYPE_CHECKING:
    from prometheus_client import metrics_core

_SIZE = 8
"""Bytes of a value: a double."""


class Tallies:
    """The values of some metrics; prometheus_client can collect them.

    It is safe to use from several threads and, if it was made before they
    were forked, from several processes.

    :param program: the name of the program
    :param defined: the metrics
    :param parts: the names of the processes that count; a process counts in
        the first one until it calls :meth:`use`
    """

    def __init__(
        self,
        program: str,
        defined: Iterable[definitions.Definition],
        parts: Sequence[str] = ('',),
    ) -> None:
        self.program = program
        self._defined = tuple(defined)
        self._names = frozenset(each.name for each in self._defined)
        self._parts = tuple(parts)
        # The place of the first value of each series.
        self._places: dict[tuple[str, ...], int] = {}
        gauges: list[int] = []
        length = 0
        for each in self._defined:
            width = 1
            if each.kind is definitions.Kind.HISTOGRAM:
                # One for each bucket and for infinity, and the sum.
                width = len(each.buckets) + 2
            for labels in each.series():
                self._places[each.name, *labels] = length
                if each.kind is definitions.Kind.GAUGE:
                    gauges.append(length)
                length += width
        self._length = length
        # Memory without a file; children that are forked share it.
        memory = mmap.mmap(-1, max(1, length * len(self._parts)) * _SIZE)
        self._values = memoryview(memory).cast('d')
        for part in range(len(self._parts)):
            for place in gauges:
                # A gauge that nobody has set says nothing.
                self._values[part * length + place] = math.nan
        self._start = 0
        self._lock = threading.Lock()

    def __contains__(self, defined: definitions.Definition) -> bool:
        return defined.name in self._names

    def use(self, part: str) -> None:
        """Count in a part from now on, which no other process uses.

        :raises ValueError: there is no such part
        """
        self._start = self._parts.index(part) * self._length

    def _place(
        self, defined: definitions.Definition, labels: tuple[str, ...]
    ) -> int:
        """The place of the first value of a series.

        :raises KeyError: it was not defined
        """
        place = self._places.get((defined.name, *labels))
        if place is None:
            known = (
                label if label in values else definitions.OTHER
                for label, values in zip(
                    labels, defined.labels.values(), strict=True
                )
            )
            place = self._places[defined.name, *known]
        return self._start + place

    def add(
        self,
        defined: definitions.Definition,
        *labels: str,
        amount: float = 1.0,
    ) -> None:
        """Count.

        :param labels: their values; one that was not defined counts as
            :data:`definitions.OTHER`
        """
        place = self._place(defined, labels)
        with self._lock:
            self._values[place] += amount

    def set(
        self, defined: definitions.Definition, value: float, *labels: str
    ) -> None:
        """Set a gauge."""
        self._values[self._place(defined, labels)] = value

    def observe(
        self, defined: definitions.Definition, value: float, *labels: str
    ) -> None:
        """Count a value in its bucket of a histogram."""
        place = self._place(defined, labels)
        bucket = place + bisect.bisect_left(defined.buckets, value)
        total = place + len(defined.buckets) + 1
        with self._lock:
            self._values[bucket] += 1
            self._values[total] += value

    def collect(self) -> Iterator[metrics_core.Metric]:
        """Add up the values of all processes, for prometheus_client."""
        for each in self._defined:
            yield self._family(each)

    def describe(self) -> Iterator[metrics_core.Metric]:
        """Name the metrics, for a registry that refuses names twice."""
        return self.collect()

    def _family(self, each: definitions.Definition) -> metrics_core.Metric:
        # Commands that show no metrics do not wait for its import.
        from prometheus_client import core

        own = [self.program] if each.is_shared else []
        if each.kind is definitions.Kind.COUNTER:
            counter = core.CounterMetricFamily(
                each.name, each.help, labels=each.label_names
            )
            for labels in each.series():
                found = self._values_of(each, labels)
                counter.add_metric([*own, *labels], sum(found))
            return counter
        if each.kind is definitions.Kind.GAUGE:
            gauge = core.GaugeMetricFamily(
                each.name, each.help, labels=each.label_names
            )
            for labels in each.series():
                found = self._values_of(each, labels)
                found = [value for value in found if not math.isnan(value)]
                if found:
                    gauge.add_metric([*own, *labels], max(found))
            return gauge
        histogram = core.HistogramMetricFamily(
            each.name, each.help, labels=each.label_names
        )
        for labels in each.series():
            counts = [
                sum(self._values_of(each, labels, offset))
                for offset in range(len(each.buckets) + 2)
            ]
            total = counts.pop()
            bounds = [*map(str, each.buckets), '+Inf']
            histogram.add_metric(
                [*own, *labels],
                [
                    (bound, sum(counts[: number + 1]))
                    for number, bound in enumerate(bounds)
                ],
                total,
            )
        return histogram

    def _values_of(
        self,
        each: definitions.Definition,
        labels: tuple[str, ...],
        offset: int = 0,
    ) -> list[float]:
        """A value of a series, as each process has it."""
        place = self._places[each.name, *labels] + offset
        return [
            self._values[part * self._length + place]
            for part in range(len(self._parts))
        ]
