# SPDX-License-Identifier: Apache-2.0
"""What a program counts, for tests."""

import fixtures
import prometheus_client
from prometheus_client import parser

from svirt_nova.metrics import recorder
from svirt_nova.metrics import tallies


class Counted(fixtures.Fixture):
    """A program that counts.

    :param defined: its metrics
    """

    def __init__(self, defined):
        super().__init__()
        self.values = tallies.Tallies('test', defined)

    def _setUp(self):
        recorder.start(self.values)
        self.addCleanup(recorder.start, None)

    def shown(self):
        """What Prometheus reads: the value of each series.

        A key has the name and the values of the labels, by their names.
        """
        return shown(self.values)

    def get(self, *series):
        """The value of a series; None where it has none."""
        return self.shown().get(series)

    def not_zero(self, name):
        """The values of the labels of a metric's series that are not 0."""
        return {
            key[1:]: value
            for key, value in self.shown().items()
            if key[0] == name and value
        }


def shown(values):
    """What Prometheus reads of some values; see :meth:`Counted.shown`."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(values)
    return read(prometheus_client.generate_latest(registry).decode())


def read(text):
    """The value of each series of an exposition."""
    return {
        (
            sample.name,
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }
