# SPDX-License-Identifier: Apache-2.0
"""The program svirt-nova-allocator."""

import os
import signal
import time

from svirt_nova import exception
from svirt_nova.allocator import types
from tests.fakes import nova_api
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers


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
        nova = self.useFixture(nova_api.NovaApi('a'))
        nova.servers = {alive: 'p', claimed: 'p'}
        self.start(
            f'[svirt_nova_api]\nauth_type = none\n'
            f'endpoint = {nova.url}\nendpoint_override = {nova.url}\n',
            reap_interval=1,
        )
        deadline = time.monotonic() + 60
        while below.get(gone).state is types.State.HELD:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        asked = [each.instance for each in nova.asked]
        self.assertGreaterEqual(asked.count(gone), 3)
        self.assertIs(types.State.COOLING, below.get(gone).state)
        for each in (alive, claimed):
            self.assertIs(types.State.HELD, below.get(each).state)

    def test_level_of_a_deleted_instance_comes_free_within_seconds(self):
        """No call frees it, and no look of once an hour."""
        nova = self.useFixture(nova_api.NovaApi('a'))
        alive, gone = (fixture.new_uuid() for _ in range(2))
        nova.servers = {alive: 'p', gone: 'p'}
        service = self.start(
            f'[svirt_nova_api]\nauth_type = none\n'
            f'endpoint = {nova.url}\nendpoint_override = {nova.url}\n',
            reap_interval=0,
        )
        self.wait_until_workers_answer(service)
        asking = self.client()
        for each in (alive, gone):
            asking.acquire(each, 'p', 'a')
        self.assertRaises(
            exception.NotAllowed, asking.acquire, alive, 'q', 'a'
        )
        self.assertRaises(
            exception.NotAllowed, asking.acquire, fixture.new_uuid(), 'p', 'a'
        )
        # The process has looked once.
        time.sleep(5)
        asking.give_back(gone, 'a')
        self.assertIs(types.State.HELD, self.below.get(gone).state)
        begun = time.monotonic()
        del nova.servers[gone]
        while self.below.get(gone).state is types.State.HELD:
            self.assertLess(time.monotonic(), begun + 60)
            time.sleep(0.1)
        self.assertIs(types.State.HELD, self.below.get(alive).state)

    def test_credentials_that_are_not_complete_end_the_start(self):
        service = self.start('[svirt_nova_api]\nauth_type = nothing\n')
        self.assertEqual(1, service.wait(60))
        self.assertIn('[svirt_nova_api]', service.log.read_text())

    def test_operators_with_a_bus_of_their_own_are_answered_there_alone(self):
        url = servers.operators_bus()
        self.wait_until_workers_answer(self.start(operator_transport_url=url))
        compute = self.client()
        level = self.acquire(compute)
        # No one answers operators' calls on the bus of the computes.
        intruder = self.client(call_timeout=2, call_retries=0)
        self.assertRaises(exception.StoreUnreachable, intruder.stats)
        operators = self.client(host=None, operator_transport_url=url)
        self.assertEqual(1, operators.stats().held)
        self.assertEqual({'a'}, operators.find(level).hosts)

    def test_program_that_cannot_start_ends_with_a_line(self):
        service = self.start(transport_url='nothing://secret@x')
        self.assertEqual(1, service.wait(60))
        text = service.log.read_text()
        self.assertIn('transport_url', text)
        self.assertNotIn('Traceback', text)
        self.assertNotIn('secret', text)
