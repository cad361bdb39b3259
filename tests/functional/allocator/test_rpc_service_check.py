# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova service check``, of services that are well and that are not."""

import contextlib
import io
import json
import os
import pathlib
import signal
import time

import fixtures

from svirt_nova import exception
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.cmd import manage
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers
from tests.lab import processes

COMPUTES = 'computes are answered'
OPERATORS = 'operators are answered'
STORE = 'store can be used'


class CheckCase:
    """A mixin: runs the command against the topic of a test."""

    def check(self, *args, url=None, timeout=20):
        """The exit status, and the result of each row, by its name."""
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'conf')
        url = url or servers.message_bus().url
        path.write_text(
            '[svirt_nova_allocator]\n'
            f'transport_url = {url}\ntopic = {self.topic}\n'
        )
        # What connections of other tests log is not the command's.
        self.useFixture(fixtures.FakeLogger())
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            status = manage.main(
                [
                    *('--config-file', str(path), 'service', 'check'),
                    *('-f', 'json', '--timeout', str(timeout), *args),
                ]
            )
        self.assertEqual('', err.getvalue())
        self.rows = {row['Check']: row for row in json.loads(out.getvalue())}
        return status, {n: row['Result'] for n, row in self.rows.items()}


class ServiceCheckTest(CheckCase, rpc_service.CallsTestCase):
    def test_a_service_that_is_well(self):
        self.serve()
        status, results = self.check()
        self.assertEqual(
            {COMPUTES: 'ok', OPERATORS: 'ok', STORE: 'ok'}, results
        )
        self.assertEqual(0, status)
        self.assertLess(self.rows[COMPUTES]['Seconds'], 20)

    def test_a_store_that_cannot_be_used(self):
        class Broken(sql_allocator.SqlAllocator):
            def space(self):
                raise exception.StoreUnreachable('the disk is gone')

        self.serve(Broken(self.conf))
        status, results = self.check('--topic', 'computes')
        self.assertEqual({COMPUTES: 'ok', STORE: 'error'}, results)
        self.assertIn('the disk is gone', self.rows[STORE]['Details'])
        self.assertEqual(1, status)

    def test_a_service_that_does_not_run(self):
        status, results = self.check('--topic', 'operators', timeout=1.5)
        self.assertEqual((1, {OPERATORS: 'error'}), (status, results))
        self.assertIn('did not answer', self.rows[OPERATORS]['Details'])

    def test_a_bus_that_does_not_run(self):
        [port] = processes.free_ports(1)
        began = time.monotonic()
        status, results = self.check(
            *('--topic', 'computes'),
            url=f'rabbit://a:b@127.0.0.1:{port}/',
            timeout=1.5,
        )
        self.assertEqual((1, {COMPUTES: 'error'}), (status, results))
        self.assertIn('message bus', self.rows[COMPUTES]['Details'])
        self.assertLess(time.monotonic() - began, 15)


class HangingTest(CheckCase, rpc_service.ProcessTestCase):
    def test_a_service_that_hangs(self):
        service = self.start()
        self.wait_until_workers_answer(service)
        self.assertEqual(0, self.check()[0])
        [worker] = self.workers(service)
        os.kill(worker, signal.SIGSTOP)
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        status, results = self.check(timeout=1.5)
        self.assertEqual(1, status)
        self.assertEqual({COMPUTES: 'error', OPERATORS: 'error'}, results)
