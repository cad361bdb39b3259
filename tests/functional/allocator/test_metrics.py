# SPDX-License-Identifier: Apache-2.0
"""The metrics of the program svirt-nova-allocator, as Prometheus gets them."""

import os
import signal
import time
import urllib.request

from svirt_nova import exception
from tests import metrics_case
from tests import promtool
from tests.fakes import nova_api
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service
from tests.lab import processes

_PATIENCE = 60
"""Seconds in which the program notices something on a busy machine."""


class MetricsTest(rpc_service.ProcessTestCase):
    def start_shown(self, more='', **options):
        """Start the program with metrics; its process."""
        [self.port] = processes.free_ports(1)
        return self.start(
            f'[svirt_metrics]\nlisten = 127.0.0.1:{self.port}\ninterval = 1\n'
            + more,
            **options,
        )

    def scrape(self):
        """What Prometheus would read, as text."""
        begun = time.monotonic()
        with urllib.request.urlopen(
            f'http://127.0.0.1:{self.port}/metrics', timeout=10
        ) as answer:
            text = answer.read().decode()
        self.assertLess(time.monotonic() - begun, 5)
        return text

    def shown(self):
        """The value of each series."""
        return metrics_case.read(self.scrape())

    def wait_for(self, value, *series):
        """Wait until a series has a value."""
        deadline = time.monotonic() + _PATIENCE
        found = None
        while found != value:
            self.assertLess(time.monotonic(), deadline, f'{series}: {found}')
            time.sleep(0.1)
            try:
                found = self.shown().get(series)
            except OSError:
                found = None

    def done(self, call):
        return self.shown()['svirt_nova_calls_total', call, 'done']

    def test_counts_of_killed_workers_stay_and_go_on(self):
        service = self.start_shown(workers=2)
        asking = self.client()
        self.wait_until_workers_answer(service, 2)
        for _ in range(10):
            self.acquire(asking)
        self.wait_for(10, 'svirt_nova_levels', 'held')
        self.assertEqual(10, self.done('acquire'))
        # All of them die, also the one that answers Prometheus.
        for worker in self.workers(service):
            os.kill(worker, signal.SIGKILL)
        self.wait_until_workers_answer(service, 4)
        for _ in range(5):
            self.acquire(asking)
        self.wait_for(15, 'svirt_nova_levels', 'held')
        found = self.shown()
        self.assertEqual(15, self.done('acquire'))
        self.assertEqual(
            15, found['svirt_nova_call_duration_seconds_count', 'acquire']
        )
        self.assertEqual(6, found['svirt_nova_worker_starts_total',])
        self.assertEqual(4950, found['svirt_nova_space_levels',])
        self.assertAlmostEqual(15 / 4950, found['svirt_nova_fill_ratio',])
        self.assertEqual(
            15,
            found[
                'svirt_nova_allocation_tries_total',
                'given',
                'svirt-nova-allocator',
            ],
        )

    def test_calls_that_are_refused_or_fail_are_counted_as_such(self):
        self.wait_until_workers_answer(self.start_shown())
        asking = self.client()
        self.acquire(asking)
        self.wait_for(1, 'svirt_nova_levels', 'held')
        self.assertRaises(
            exception.UnknownInstance, asking.get, fixture.new_uuid()
        )
        # The store is gone.
        path = self.directory / 'levels.sqlite'
        for each in self.directory.glob('levels.sqlite*'):
            each.unlink()
        path.mkdir()
        self.assertRaises(
            exception.AllocatorError, asking.get, fixture.new_uuid()
        )
        program = 'svirt-nova-allocator'
        self.wait_for(0, 'svirt_nova_store_reachable', program)
        found = self.shown()
        self.assertEqual(1, found['svirt_nova_calls_total', 'get', 'refused'])
        self.assertLessEqual(
            1, found['svirt_nova_calls_total', 'get', 'failed']
        )
        self.assertEqual(
            1, found['svirt_nova_refusals_total', 'UnknownInstance']
        )
        # What is known stays, with the time at which it was.
        self.assertEqual(1, found['svirt_nova_levels', 'held'])
        self.assertLess(
            found['svirt_nova_store_answer_timestamp_seconds',], time.time()
        )

    def test_reapers_tell_when_they_last_succeeded_and_what_they_retired(self):
        gone = fixture.new_uuid()
        nova = self.useFixture(nova_api.NovaApi('a'))
        for each in ('b', gone):
            uuid = fixture.new_uuid() if each == 'b' else each
            nova.servers[uuid] = 'p'
            self.below.acquire(uuid, 'p', 'a')
        self.below.unclaim(gone, 'a')
        del nova.servers[gone]
        begun = time.time()
        self.start_shown(
            f'[svirt_nova_api]\nauth_type = none\n'
            f'endpoint = {nova.url}\nendpoint_override = {nova.url}\n',
            reap_interval=1,
        )
        deadline = time.monotonic() + _PATIENCE
        while True:
            time.sleep(0.2)
            try:
                found = self.shown()
            except OSError:
                found = {}
            retired = [
                found.get(('svirt_nova_retired_levels_total', each), 0)
                for each in ('reaper', 'prompt-reaper')
            ]
            if sum(retired) == 1:
                break
            self.assertLess(time.monotonic(), deadline, retired)
        name = 'svirt_nova_reaper_last_success_timestamp_seconds'
        self.assertTrue(
            any(
                found.get((name, each), 0) > begun
                for each in ('reaper', 'prompt-reaper')
            )
        )
        self.assertEqual(1, found['svirt_nova_reap_interval_seconds',])

    def test_port_that_is_taken_leaves_the_service_at_work(self):
        first = self.start_shown()
        self.wait_until_workers_answer(first)
        self.wait_for(0, 'svirt_nova_levels', 'held')
        second = self.start(
            f'[svirt_metrics]\nlisten = 127.0.0.1:{self.port}\n'
        )
        self.wait_until_workers_answer(second)
        self.acquire(self.client())
        deadline = time.monotonic() + _PATIENCE
        while '[svirt_metrics] listen' not in second.log.read_text():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertIsNone(second.poll())
        self.assertNotIn('Traceback', second.log.read_text())

    def test_promtool_accepts_what_the_service_shows(self):
        self.wait_until_workers_answer(self.start_shown())
        self.wait_for(0, 'svirt_nova_levels', 'held')
        promtool.check(self, 'check', 'metrics', text=self.scrape())
