# SPDX-License-Identifier: Apache-2.0
"""What calls of the allocator service become when something fails."""

import contextlib
import threading
import time

from svirt_nova import exception
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.sql import sql_allocator
from tests.functional.allocator import rpc_service
from tests.lab import processes


class FailuresTest(rpc_service.CallsTestCase):
    """A bus, a service or an answer that is not there."""

    def test_call_without_a_bus_ends_in_time(self):
        [port] = processes.free_ports(1)
        asking = self.client(
            transport_url=f'rabbit://a:b@127.0.0.1:{port}/', call_timeout=1
        )
        for _ in range(2):
            began = time.monotonic()
            error = self.assertRaises(
                exception.StoreUnreachable, asking.get, self.uuid
            )
            self.assertLess(time.monotonic() - began, 15)
            self.assertIn('message bus', str(error))

    def test_call_without_a_service_ends_in_time(self):
        asking = self.client(call_timeout=1, call_retries=1)
        began = time.monotonic()
        error = self.assertRaises(
            exception.StoreUnreachable, asking.get, self.uuid
        )
        self.assertLess(time.monotonic() - began, 15)
        self.assertIn('did not answer', str(error))

    def test_bus_with_an_impossible_url_is_refused_without_its_secrets(self):
        error = self.assertRaises(
            exception.InvalidOption,
            self.client(transport_url='nothing://secret@x').get,
            self.uuid,
        )
        self.assertNotIn('secret', str(error))

    def test_call_whose_answer_is_lost_is_made_again(self):
        given = []
        below = self.below

        class Slow(sql_allocator.SqlAllocator):
            def acquire(self, instance_uuid, project_id, host):
                found = below.acquire(instance_uuid, project_id, host)
                given.append(found)
                if len(given) == 1:
                    time.sleep(4)
                return found

        self.serve(Slow(self.conf))
        asking = self.client(call_timeout=3)
        got = asking.acquire(self.uuid, 'p', 'a')
        self.assertEqual([got, got], given)
        self.assertEqual([got], below.list())

    def test_unclaim_that_its_caller_gave_up_is_not_done_later(self):
        """The host may have claimed the instance again by then."""
        entered, leave = threading.Event(), threading.Event()
        self.addCleanup(leave.set)
        changes = []

        class Stuck(sql_allocator.SqlAllocator):
            def get(self, instance_uuid):
                entered.set()
                leave.wait(30)
                return super().get(instance_uuid)

            def unclaim(self, instance_uuid, host):
                changes.append(host)
                super().unclaim(instance_uuid, host)

        held = self.below.acquire(self.uuid, 'p', 'a')
        stuck = endpoints.ComputeEndpoint(Stuck(self.conf))
        self.useFixture(rpc_service.Server(self.conf, stuck, threads=1))
        asking = self.client(call_timeout=1, call_retries=0)
        self.assertRaises(exception.StoreUnreachable, asking.get, self.uuid)
        self.assertTrue(entered.is_set())
        for _ in range(3):
            self.assertRaises(
                exception.StoreUnreachable, asking.unclaim, self.uuid, 'a'
            )
        # Another worker gives the level to the host again.
        self.assertEqual(held, self.below.acquire(self.uuid, 'p', 'a'))
        leave.set()
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(exception.StoreUnreachable):
                asking.space()
                break
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual([], changes)
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)


class BusOutageTest(rpc_service.ProcessTestCase):
    """A bus that ends with all that it has, and starts again."""

    def test_calls_are_answered_again_after_the_bus_was_down(self):
        bus = rpc_service.other_bus()
        self.wait_until_workers_answer(self.start(transport_url=bus.url))
        asking = self.client(transport_url=bus.url)
        first = self.acquire(asking)
        bus.stop()
        began = time.monotonic()
        self.assertRaises(exception.StoreUnreachable, self.acquire, asking)
        self.assertLess(time.monotonic() - began, 45)
        bus.start()
        self.wait_until_it_answers(asking)
        self.assertNotEqual(first, self.acquire(asking))
