# SPDX-License-Identifier: Apache-2.0
"""The driver that asks the allocator service, over RabbitMQ."""

import threading
import time
import uuid

import fixtures
import oslo_messaging
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import sizes
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.mcs import levels
from tests import quick_store
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service


class RpcContractTest(contract.AllocatorContract, testtools.TestCase):
    """The contract, asked over the bus of a service on SQLite.

    The store of the service runs the contract on every database itself.
    """

    names_holders = False

    def setUp(self):
        self.url = self.useFixture(quick_store.QuickStore()).url
        super().setUp()

    def make(self, cooling_time, **options):
        conf = rpc_service.make_conf(
            self.url, uuid.uuid4().hex, cooling_time=cooling_time, **options
        )
        # Each change of the level space takes as long.
        conf.set_override('call_timeout', 3, 'svirt_database')
        self.useFixture(
            rpc_service.Service(conf, sql_allocator.SqlAllocator(conf))
        )
        allocator = client.RpcAllocator(conf)
        self.addCleanup(rpc_service.in_background, allocator.close)
        return allocator

    def test_give_back_with_another_claim(self):
        """The service leaves it to the reaper to retire the instance."""
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.give_back(self.uuid, 'a')
        held = self.allocator.get(self.uuid)
        self.assertIs(types.State.HELD, held.state)
        self.assertEqual({'b'}, held.hosts)

    def wait_a_tick(self):
        time.sleep(0.01)


class CallsTest(rpc_service.CallsTestCase):
    """Calls that go from a client to the service and back."""

    def test_compute_has_a_say_in_its_own_claims_alone(self):
        self.serve()
        asking = self.client()
        held = asking.acquire(self.uuid, 'p', 'a')
        self.assertEqual([held], asking.list(host='a'))
        self.assertEqual([], asking.list(host='a', project_id='q'))
        for call, *arguments in (
            (asking.acquire, self.uuid, 'p', 'b'),
            (asking.adopt, self.uuid, 'p', 'b', held.level),
            (asking.give_back, self.uuid, 'b'),
        ):
            self.assertRaises(exception.NotAllowed, call, *arguments)
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)
        asking.give_back(self.uuid, 'a')
        self.assertIs(types.State.COOLING, self.below.get(self.uuid).state)

    def test_operators_call_is_not_answered_where_computes_are(self):
        self.useFixture(
            rpc_service.Server(
                self.conf, endpoints.ComputeEndpoint(self.below)
            )
        )
        self.client().acquire(self.uuid, 'p', 'a')
        asking = self.client(call_timeout=1, call_retries=0)
        self.assertRaises(exception.StoreUnreachable, asking.retire, self.uuid)
        # Nor is it on the topic of computes, if somebody sends it there.
        bus = rpc_service.connect(self.conf)
        self.addCleanup(rpc_service.in_background, bus.cleanup)
        intruder = oslo_messaging.get_rpc_client(
            bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE, topic=self.topic, version='1.0'
            ),
        )
        self.assertRaises(
            oslo_messaging.RemoteError,
            intruder.prepare(timeout=30).call,
            {'host': 'a'},
            'retire',
            instance_uuid=self.uuid,
        )
        self.assertIs(types.State.HELD, self.below.get(self.uuid).state)

    def test_compute_with_novas_exchange_reaches_the_service(self):
        conf = rpc_service.make_conf('', self.topic, host='a')
        rpc_service.connect(conf).cleanup()
        # As nova.config.parse_args has it.
        conf.set_override('control_exchange', 'nova')
        asking = client.RpcAllocator(conf)
        self.addCleanup(rpc_service.in_background, asking.close)
        self.serve()
        self.assertEqual(
            self.uuid, asking.acquire(self.uuid, 'p', 'a').instance_uuid
        )

    def test_list_of_more_than_a_page_has_every_level_once(self):
        self.useFixture(fixtures.MonkeyPatch(f'{sizes.__name__}.PAGE', 3))
        self.serve()
        asking = self.client()
        for _ in range(7):
            asking.acquire(fixture.new_uuid(), 'p', 'a')
        everything = self.below.list()
        self.assertEqual(7, len(everything))
        for options in ({}, {'host': 'a'}, {'project_id': 'p'}):
            self.assertEqual(everything, asking.list(**options))
            self.assertEqual(everything[:4], asking.list(limit=4, **options))

    def test_threads_that_share_a_client_get_levels_of_their_own(self):
        self.serve()
        asking = self.client()
        got = []

        def ask():
            for _ in range(5):
                held = asking.acquire(fixture.new_uuid(), 'p', 'a')
                got.append(held.level)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(40, len(set(got)))

    def test_operator_without_a_host_reserves_a_level(self):
        self.serve()
        level = levels.Level.parse('s0:c3,c7')
        got = self.client(host=None).reserve(level, 'a container')
        self.assertEqual(got, self.below.find(level))
