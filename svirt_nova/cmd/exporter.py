# SPDX-License-Identifier: Apache-2.0
"""The process of the service that shows the metrics of all of them."""

from __future__ import annotations

import threading

import cotyledon
import prometheus_client
from cotyledon import types
from oslo_config import cfg

from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import call_counts
from svirt_nova.allocator.sql import try_counts
from svirt_nova.cmd import reaper_counts
from svirt_nova.cmd import reloading
from svirt_nova.cmd import reports
from svirt_nova.cmd import store_figures
from svirt_nova.conf import scraping
from svirt_nova.metrics import definitions
from svirt_nova.metrics import exposition
from svirt_nova.metrics import recorder
from svirt_nova.metrics import tallies

PROGRAM = 'svirt-nova-allocator'
CALLS = 'calls'
"""The name of the processes that answer calls."""

_OWN = 'exporter'

STARTS = definitions.Definition(
    'svirt_nova_worker_starts_total',
    definitions.Kind.COUNTER,
    'Processes of the service that were started. It grows when one died and '
    'another was started in its place.',
)
DEFINITIONS = (
    *store_figures.DEFINITIONS,
    *call_counts.DEFINITIONS,
    try_counts.TRIES,
    *reaper_counts.DEFINITIONS,
    STARTS,
)
"""All metrics of the service."""


def make_values(conf: cfg.ConfigOpts) -> tallies.Tallies | None:
    """Make the memory that the processes count in.

    :returns: None where no metrics are to be shown
    """
    if not scraping.is_wanted(conf):
        return None
    workers = range(conf.svirt_nova_allocator.workers)
    return tallies.Tallies(
        PROGRAM,
        DEFINITIONS,
        [
            *(f'{CALLS}-{number}' for number in workers),
            reaper_counts.ALL,
            reaper_counts.PROMPT,
            _OWN,
        ],
    )


def count_as(part: str | None, values: tallies.Tallies | None) -> None:
    """Let this process count.

    :param part: what of the memory is its own, also when it is started in
        the place of one that died
    :param values: None to count nothing
    """
    if values is None:
        return
    values.use(str(part))
    recorder.start(values)
    values.add(STARTS)


class ExporterService(cotyledon.Service):
    """A process that asks the store, and shows the metrics.

    :param values: where all processes count
    """

    name = _OWN

    def __init__(
        self,
        worker_id: types.WorkerId,
        conf: cfg.ConfigOpts,
        reloader: reloading.Reloader,
        values: tallies.Tallies,
    ) -> None:
        super().__init__(worker_id)
        self._reloader = reloader.for_worker()
        reports.install(conf, f'{PROGRAM}-{self.name}')
        count_as(self.name, values)
        self._conf = conf
        self._ended = threading.Event()
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(values)
        values.set(
            reaper_counts.INTERVAL, conf.svirt_nova_allocator.reap_interval
        )
        self._store = store_figures.StoreFigures(
            base.load(conf, conf.svirt_nova_allocator.driver), values
        )

    def run(self) -> None:
        """Show the metrics until the service ends."""
        exposition.expose(self._conf, self._registry, PROGRAM)
        while True:
            pause = self._store.look()
            interval = self._conf.svirt_metrics.interval
            if self._ended.wait(max(interval, pause)):
                return

    def reload(self) -> None:
        """Take options that have changed."""
        self._reloader.reload()

    def terminate(self) -> None:
        """End before the next look at the store."""
        self._ended.set()
