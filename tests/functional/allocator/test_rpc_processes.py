# SPDX-License-Identifier: Apache-2.0
"""The program svirt-nova-allocator."""

import http.server
import json
import os
import signal
import threading
import time

from svirt_nova import exception
from svirt_nova.allocator import types
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service


class NovaApi(http.server.ThreadingHTTPServer):
    """Nova's API, as far as the reaper asks it.

    :param servers: the UUIDs of its servers
    :ivar asked: the servers that were asked for, one for each time
    """

    def __init__(self, servers):
        super().__init__(('127.0.0.1', 0), _NovaHandler)
        self.servers = servers
        self.asked = []


class _NovaHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rpartition('/')[2]
        status, body = 200, {'services': [{'id': 1}]}
        if self.path.startswith('/servers/'):
            self.server.asked.append(name)
            status, body = 404, {'itemNotFound': {'code': 404}}
            if name in self.server.servers:
                status, body = 200, {'server': {'id': name}}
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_arguments):
        """Say nothing."""


class ProgramTest(rpc_service.ProcessTestCase):
    def test_program_replaces_a_killed_worker_and_ends_in_order(self):
        service = self.start(workers=2)
        asking = self.client()
        self.wait_until_workers_answer(service, 2)
        got = {self.acquire(asking) for _ in range(10)}
        first, *_ = self.workers(service)
        os.kill(first, signal.SIGKILL)
        got |= {self.acquire(asking) for _ in range(10)}
        self.assertEqual(20, len(got))
        self.wait_until_workers_answer(service, 3)
        service.terminate()
        self.assertEqual(0, service.wait(60))
        self.assertNotIn('Traceback', service.log.read_text())

    def test_one_of_two_programs_ends_and_the_other_answers(self):
        services = [self.start(), self.start()]
        asking = self.client()
        for service in services:
            self.wait_until_workers_answer(service)
        got = {self.acquire(asking) for _ in range(5)}
        services[0].terminate()
        self.assertEqual(0, services[0].wait(60))
        got |= {self.acquire(asking) for _ in range(5)}
        self.assertEqual(10, len(got))

    def test_level_is_retired_when_nova_says_that_its_instance_is_gone(self):
        below = self.below
        alive, gone, claimed = (fixture.new_uuid() for _ in range(3))
        for each in (alive, gone, claimed):
            below.acquire(each, 'p', 'a')
        for each in (alive, gone):
            below.unclaim(each, 'a')
        nova = NovaApi({alive, claimed})
        self.addCleanup(nova.shutdown)
        threading.Thread(target=nova.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{nova.server_port}'
        self.start(
            f'[svirt_nova_api]\nauth_type = none\n'
            f'endpoint = {url}\nendpoint_override = {url}\n',
            reap_interval=1,
        )
        deadline = time.monotonic() + 60
        while below.get(gone).state is types.State.HELD:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        self.assertGreaterEqual(nova.asked.count(gone), 3)
        self.assertIs(types.State.COOLING, below.get(gone).state)
        for each in (alive, claimed):
            self.assertIs(types.State.HELD, below.get(each).state)

    def test_operators_with_a_bus_of_their_own_are_answered_there_alone(self):
        bus = rpc_service.other_bus()
        self.wait_until_workers_answer(
            self.start(operator_transport_url=bus.url)
        )
        compute = self.client()
        level = self.acquire(compute)
        # No one answers operators' calls on the bus of the computes.
        intruder = self.client(call_timeout=2, call_retries=0)
        self.assertRaises(exception.StoreUnreachable, intruder.stats)
        operators = self.client(host=None, operator_transport_url=bus.url)
        self.assertEqual(1, operators.stats().held)
        self.assertEqual({'a'}, operators.find(level).hosts)

    def test_program_that_cannot_start_ends_with_a_line(self):
        service = self.start(transport_url='nothing://secret@x')
        self.assertEqual(1, service.wait(60))
        text = service.log.read_text()
        self.assertIn('transport_url', text)
        self.assertNotIn('Traceback', text)
        self.assertNotIn('secret', text)
