# SPDX-License-Identifier: Apache-2.0
"""The processes of the service that free levels of deleted instances."""

from __future__ import annotations

import threading

import cotyledon
from cotyledon import types
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.cmd import exporter
from svirt_nova.cmd import reaper_counts
from svirt_nova.cmd import reloading
from svirt_nova.cmd import reports
from svirt_nova.metrics import tallies

LOG = logs.get_logger(__name__)

_LONGEST_PAUSE = 60.0
"""The most seconds before the first look, and between passes of a look."""


class _Reaper(cotyledon.Service):
    """A process that works at intervals, and ends between two steps.

    :param values: where the process counts; None for nowhere
    :ivar allocator: does the work of the service
    """

    def __init__(
        self,
        worker_id: types.WorkerId,
        conf: cfg.ConfigOpts,
        reloader: reloading.Reloader,
        values: tallies.Tallies | None = None,
    ) -> None:
        super().__init__(worker_id)
        self._reloader = reloader.for_worker()
        reports.install(conf, f'svirt-nova-allocator-{self.name}')
        exporter.count_as(self.name, values)
        self.allocator = base.load(conf, conf.svirt_nova_allocator.driver)
        self._ended = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait; whether the service goes on."""
        return not self._ended.wait(seconds)

    def sleep(self, seconds: float) -> None:
        """Wait in the middle of the work.

        :raises ComputeApiError: the service ends
        """
        if not self.wait(seconds):
            raise exception.ComputeApiError('the service ends')

    def reload(self) -> None:
        """Take changed options."""
        self._reloader.reload()

    def terminate(self) -> None:
        """End before the next pass."""
        self._ended.set()


class ReaperService(_Reaper):
    """Retires levels of instances that Nova has deleted, of all instances."""

    name = reaper_counts.ALL

    def __init__(
        self,
        worker_id: types.WorkerId,
        conf: cfg.ConfigOpts,
        reloader: reloading.Reloader,
        values: tallies.Tallies | None = None,
    ) -> None:
        super().__init__(worker_id, conf, reloader, values)
        self._conf = conf
        self._interval: int = conf.svirt_nova_allocator.reap_interval
        self._pause = min(_LONGEST_PAUSE, self._interval)

    def run(self) -> None:
        """Look for such levels at intervals, until the service ends."""
        pause = self._pause
        while self.wait(pause):
            pause = self._interval
            try:
                self.allocator.tidy()
                reaper_counts.done(self.name, self._reap())
            except exception.SvirtError as error:
                reaper_counts.failed(self.name)
                LOG.warning(
                    'No level was retired; the next look is in %d s. %s',
                    pause,
                    error,
                )

    def _reap(self) -> int:
        """Retire levels; how many."""
        # keystoneauth takes long to import.
        from svirt_nova.lifecycle import compute_api
        from svirt_nova.lifecycle import gone_hosts
        from svirt_nova.lifecycle import reaper

        gone = gone_hosts.GoneHosts.of(self._conf)
        retired = reaper.retire(
            self.allocator,
            reaper.find(
                self.allocator,
                compute_api.load(self._conf),
                interval=self._pause,
                sleep=self.sleep,
                gone=gone,
            ),
            gone,
        )
        return len(retired)


class PromptReaperService(_Reaper):
    """Asks Nova about instances whose last claim was dropped a moment ago."""

    name = reaper_counts.PROMPT

    def __init__(
        self,
        worker_id: types.WorkerId,
        conf: cfg.ConfigOpts,
        reloader: reloading.Reloader,
        values: tallies.Tallies | None = None,
    ) -> None:
        super().__init__(worker_id, conf, reloader, values)
        # keystoneauth takes long to import.
        from svirt_nova.lifecycle import compute_api
        from svirt_nova.lifecycle import dropped_claims

        self._dropped = dropped_claims.DroppedClaims(
            self.allocator, compute_api.load(conf), sleep=self.sleep
        )
        self._problem = ''

    def run(self) -> None:
        """Look at the store every few seconds, until the service ends."""
        while self.wait(self._dropped.pause):
            problem = ''
            try:
                reaper_counts.done(self.name, self._dropped.look())
            except exception.SvirtError as error:
                reaper_counts.failed(self.name)
                problem = str(error)
                if problem != self._problem:
                    LOG.warning(
                        'Levels of deleted instances do not come free for '
                        'now; Nova is asked again. %s',
                        error,
                    )
            self._problem = problem
