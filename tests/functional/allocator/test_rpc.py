# SPDX-License-Identifier: Apache-2.0
"""The allocator service over RabbitMQ, and the driver that asks it."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import uuid

import fixtures
import oslo_messaging
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport as buses
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.functional.allocator import contract
from tests.functional.allocator import fixture
from tests.functional.allocator import servers
from tests.lab import processes


def make_conf(url, topic, host=None, **options):
    """A configuration of the service or of a client.

    :param host: Nova's name for the client's host
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('connection', url, 'svirt_database')
    if host is not None:
        conf.register_opt(cfg.StrOpt('host', default=host))
    calls = {
        'transport_url': servers.message_bus().url,
        'topic': topic,
    }
    for name, value in options.items():
        if name in conf.svirt_nova_allocator:
            calls[name] = value
        else:
            conf.set_override(name, value, 'svirt')
    for name, value in calls.items():
        conf.set_override(name, value, 'svirt_nova_allocator')
    return conf


def connect(conf):
    return buses.connect(conf, conf.svirt_nova_allocator.transport_url)


class Service(fixtures.Fixture):
    """The service's two servers, in this process."""

    def __init__(self, conf, allocator):
        self._conf = conf
        self._allocator = allocator

    def _setUp(self):
        transport = connect(self._conf)
        for endpoint in (
            endpoints.ComputeEndpoint,
            endpoints.OperatorEndpoint,
        ):
            each = server.create(
                self._conf,
                transport,
                uuid.uuid4().hex,
                endpoint(self._allocator),
            )
            each.start()
            self.addCleanup(_end, each)


def _end(each):
    # The bus takes seconds to let go; nothing waits for that but the end
    # of this process.
    def end():
        each.stop()
        each.wait()

    threading.Thread(target=end).start()


class RpcTest(contract.AllocatorContract):
    """A mixin: the contract, asked over the bus of a service on a store."""

    def setUp(self):
        self.url = self.make_url()
        stores.sync(make_conf(self.url, ''), spaces.LevelSpace.parse('c0.c9'))
        super().setUp()

    def make(self, cooling_time, **options):
        conf = make_conf(
            self.url, uuid.uuid4().hex, cooling_time=cooling_time, **options
        )
        # As long takes each change of the level space.
        conf.set_override('call_timeout', 3, 'svirt_database')
        self.useFixture(Service(conf, sql_allocator.SqlAllocator(conf)))
        allocator = client.RpcAllocator(conf)
        self.addCleanup(allocator.close)
        return allocator

    def test_give_back_with_another_claim(self):
        """The service leaves it to the reaper."""
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.give_back(self.uuid, 'a')
        held = self.allocator.get(self.uuid)
        self.assertIs(types.State.HELD, held.state)
        self.assertEqual({'b'}, held.hosts)

    def wait_a_tick(self):
        time.sleep(0.01)


class RpcOverSqliteTest(RpcTest, testtools.TestCase):
    def make_url(self):
        path = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        return f'sqlite:///{path}'


class RpcOverMariaDBTest(RpcTest, testtools.TestCase):
    def make_url(self):
        return servers.running('mariadb').create_database()


class RpcOverPostgreSQLTest(RpcTest, testtools.TestCase):
    def make_url(self):
        return servers.running('postgresql').create_database()


class CallsTest(testtools.TestCase):
    """What lies between a client and the service."""

    def setUp(self):
        super().setUp()
        path = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        self.url = f'sqlite:///{path}'
        self.topic = uuid.uuid4().hex
        self.uuid = fixture.new_uuid()
        self.conf = make_conf(self.url, self.topic)
        self.below = sql_allocator.SqlAllocator(self.conf)

    def client(self, host='a', **options):
        return client.RpcAllocator(
            make_conf('', self.topic, host=host, **options)
        )

    def serve(self, allocator=None):
        return self.useFixture(Service(self.conf, allocator or self.below))

    def test_a_compute_has_to_do_with_its_own_claims(self):
        self.serve()
        client = self.client()
        held = client.acquire(self.uuid, 'p', 'a')
        self.assertEqual([held], client.list(host='a'))
        self.assertEqual([], client.list(host='a', project_id='q'))
        for call in (client.acquire, client.adopt):
            arguments = [self.uuid, 'p', 'b']
            if call == client.adopt:
                arguments.append(held.level)
            self.assertRaises(exception.NotAllowed, call, *arguments)
        self.assertRaises(
            exception.NotAllowed, client.give_back, self.uuid, 'b'
        )
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)
        client.give_back(self.uuid, 'a')
        self.assertIs(types.State.COOLING, self.below.get(self.uuid).state)

    def test_operators_calls_are_elsewhere(self):
        """A compute's bus has nothing that answers operators' calls."""
        transport = connect(self.conf)
        self.addCleanup(transport.cleanup)
        only = server.create(
            self.conf, transport, 'only', endpoints.ComputeEndpoint(self.below)
        )
        only.start()
        self.addCleanup(only.wait)
        self.addCleanup(only.stop)
        self.client().acquire(self.uuid, 'p', 'a')
        client = self.client(call_timeout=1, call_retries=0)
        self.assertRaises(exception.StoreUnreachable, client.retire, self.uuid)
        target = oslo_messaging.get_rpc_client(
            transport,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE, topic=self.topic, version='1.0'
            ),
        )
        self.assertRaises(
            oslo_messaging.RemoteError,
            target.prepare(timeout=30).call,
            {'host': 'a'},
            'retire',
            instance_uuid=self.uuid,
        )
        self.assertIs(types.State.HELD, self.below.get(self.uuid).state)

    def test_nova_s_own_exchange_does_not_lead_away_from_the_service(self):
        conf = make_conf('', self.topic, host='a')
        connect(conf).cleanup()
        # As nova.config.parse_args has it.
        conf.set_override('control_exchange', 'nova')
        allocator = client.RpcAllocator(conf)
        self.addCleanup(allocator.close)
        self.useFixture(Service(self.conf, self.below))
        self.assertEqual(
            self.uuid, allocator.acquire(self.uuid, 'p', 'a').instance_uuid
        )

    def test_without_a_bus_a_call_ends_in_time(self):
        [port] = processes.free_ports(1)
        client = self.client(
            transport_url=f'rabbit://a:b@127.0.0.1:{port}/', call_timeout=2
        )
        for _ in range(2):
            began = time.monotonic()
            error = self.assertRaises(
                exception.StoreUnreachable, client.get, self.uuid
            )
            self.assertLess(time.monotonic() - began, 15)
            self.assertIn('message bus', str(error))

    def test_without_a_service_a_call_ends_in_time(self):
        client = self.client(call_timeout=1, call_retries=1)
        began = time.monotonic()
        error = self.assertRaises(
            exception.StoreUnreachable, client.get, self.uuid
        )
        self.assertLess(time.monotonic() - began, 15)
        self.assertIn('did not answer', str(error))

    def test_a_lost_answer_is_asked_for_again(self):
        given = []
        below = self.below

        class Slow(sql_allocator.SqlAllocator):
            def acquire(self, instance_uuid, project_id, host):
                found = below.acquire(instance_uuid, project_id, host)
                given.append(found)
                if len(given) == 1:
                    time.sleep(6)
                return found

        self.serve(Slow(self.conf))
        client = self.client(call_timeout=5)
        got = client.acquire(self.uuid, 'p', 'a')
        self.assertEqual([got, got], given)
        self.assertEqual([got], below.list())

    def test_long_lists_come_in_parts(self):
        self.useFixture(fixtures.MonkeyPatch(f'{calls.__name__}.PAGE', 3))
        self.serve()
        client = self.client()
        for _ in range(7):
            client.acquire(fixture.new_uuid(), 'p', 'a')
        everything = self.below.list()
        self.assertEqual(7, len(everything))
        for options in ({}, {'host': 'a'}, {'project_id': 'p'}):
            self.assertEqual(everything, client.list(**options))
            self.assertEqual(everything[:4], client.list(limit=4, **options))

    def test_what_its_caller_gave_up_is_not_done_later(self):
        """An unclaim that waited, when the host has claimed again."""
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
        transport = connect(self.conf)
        self.addCleanup(transport.cleanup)
        only = server.create(
            self.conf,
            transport,
            'stuck',
            endpoints.ComputeEndpoint(Stuck(self.conf)),
        )
        self.conf.set_override('executor_thread_pool_size', 1)
        only.start()
        self.addCleanup(only.wait)
        self.addCleanup(only.stop)
        self.addCleanup(leave.set)
        client = self.client(call_timeout=1, call_retries=0)
        self.addCleanup(client.close)
        self.assertRaises(exception.StoreUnreachable, client.get, self.uuid)
        self.assertTrue(entered.is_set())
        for _ in range(3):
            self.assertRaises(
                exception.StoreUnreachable, client.unclaim, self.uuid, 'a'
            )
        # Another worker has given it to the host again.
        self.assertEqual(held, self.below.acquire(self.uuid, 'p', 'a'))
        leave.set()
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(exception.StoreUnreachable):
                client.space()
                break
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual([], changes)
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)

    def test_a_service_of_a_former_release_is_named(self):
        class Former:
            target = oslo_messaging.Target(version='1.0')

        transport = connect(self.conf)
        self.addCleanup(transport.cleanup)
        former = oslo_messaging.get_rpc_server(
            transport,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE, topic=self.topic, server='former'
            ),
            [Former()],
            executor='threading',
        )
        former.start()
        self.addCleanup(former.wait)
        self.addCleanup(former.stop)
        error = self.assertRaises(
            exception.StoreUnusable, self.client().get, self.uuid
        )
        self.assertIn('upgrade', str(error))

    def test_a_bus_that_is_none(self):
        error = self.assertRaises(
            exception.InvalidOption,
            self.client(transport_url='nothing://secret@x').get,
            self.uuid,
        )
        self.assertNotIn('secret', str(error))

    def test_many_threads_of_one_compute(self):
        self.serve()
        client = self.client()
        got = []

        def ask():
            for _ in range(5):
                held = client.acquire(fixture.new_uuid(), 'p', 'a')
                got.append(held.level)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(40, len(set(got)))

    def test_operators_reserve(self):
        self.serve()
        level = levels.Level.parse('s0:c3,c7')
        got = self.client(host=None).reserve(level, 'a container')
        self.assertEqual(got, self.below.find(level))


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


class ProcessTest(testtools.TestCase):
    """The program svirt-nova-allocator."""

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.topic = uuid.uuid4().hex
        self.url = f'sqlite:///{self.directory}/levels.sqlite'
        stores.sync(make_conf(self.url, ''), spaces.LevelSpace.parse('c0.c99'))
        self.conf = make_conf('', self.topic, host='a', call_timeout=10)

    def start(self, more='', **options):
        options = {
            'transport_url': servers.message_bus().url,
            'topic': self.topic,
            'workers': 2,
            'reap_interval': 0,
        } | options
        path = self.directory / f'{uuid.uuid4().hex}.conf'
        path.write_text(
            f'[svirt_database]\nconnection = {self.url}\n'
            '[svirt_nova_allocator]\n'
            + ''.join(f'{key} = {value}\n' for key, value in options.items())
            + more
        )
        log = path.with_suffix('.log').open('wb')
        self.addCleanup(log.close)
        process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'svirt_nova.cmd.service',
                '--config-file',
                path,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(self._end, process)
        process.log = path.with_suffix('.log')
        return process

    @staticmethod
    def _end(process):
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    @staticmethod
    def workers(process):
        found = []
        for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
            with contextlib.suppress(OSError):
                words = stat.read_text().rpartition(')')[2].split()
                if words[1] == str(process.pid):
                    found.append(int(stat.parent.name))
        return found

    def acquire(self, client):
        return client.acquire(fixture.new_uuid(), 'p', 'a').level

    def wait_until_workers_answer(self, service, number=2):
        """So many have begun to; a signal before that is another matter."""
        deadline = time.monotonic() + 120
        while service.log.read_text().count('Calls are answered') < number:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)

    def wait_until_it_answers(self, client):
        deadline = time.monotonic() + 120
        while True:
            try:
                return client.space()
            except exception.StoreUnreachable:
                if time.monotonic() > deadline:
                    raise

    def test_it_outlives_its_workers_and_ends_in_order(self):
        service = self.start()
        asking = client.RpcAllocator(self.conf)
        self.addCleanup(asking.close)
        self.wait_until_workers_answer(service)
        got = {self.acquire(asking) for _ in range(10)}
        first, *_ = self.workers(service)
        os.kill(first, signal.SIGKILL)
        got |= {self.acquire(asking) for _ in range(10)}
        self.assertEqual(20, len(got))
        self.wait_until_workers_answer(service, 3)
        service.terminate()
        self.assertEqual(0, service.wait(60))
        self.assertNotIn('Traceback', service.log.read_text())

    def test_two_instances_answer_as_one(self):
        services = [self.start(), self.start()]
        asking = client.RpcAllocator(self.conf)
        self.addCleanup(asking.close)
        for service in services:
            self.wait_until_workers_answer(service)
        got = {self.acquire(asking) for _ in range(5)}
        services[0].terminate()
        self.assertEqual(0, services[0].wait(60))
        got |= {self.acquire(asking) for _ in range(5)}
        self.assertEqual(10, len(got))

    def test_calls_go_on_after_the_bus_was_down(self):
        bus = servers.RabbitMQ()
        self.addCleanup(bus.remove)
        self.start(transport_url=bus.url)
        self.conf.set_override(
            'transport_url', bus.url, 'svirt_nova_allocator'
        )
        asking = client.RpcAllocator(self.conf)
        self.addCleanup(asking.close)
        self.wait_until_it_answers(asking)
        first = self.acquire(asking)
        bus.stop()
        began = time.monotonic()
        self.assertRaises(exception.StoreUnreachable, self.acquire, asking)
        self.assertLess(time.monotonic() - began, 45)
        bus.start()
        self.wait_until_it_answers(asking)
        self.assertNotEqual(first, self.acquire(asking))

    def test_it_retires_what_nova_says_is_gone(self):
        below = sql_allocator.SqlAllocator(make_conf(self.url, ''))
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

    def test_operators_have_a_bus_of_their_own(self):
        bus = servers.RabbitMQ()
        self.addCleanup(bus.remove)
        self.start(operator_transport_url=bus.url)
        compute = client.RpcAllocator(self.conf)
        self.addCleanup(compute.close)
        self.wait_until_it_answers(compute)
        level = self.acquire(compute)
        # Over the computes' bus, nobody answers operators.
        quick = make_conf(
            '', self.topic, host='a', call_timeout=2, call_retries=0
        )
        intruder = client.RpcAllocator(quick)
        self.addCleanup(intruder.close)
        self.assertRaises(exception.StoreUnreachable, intruder.stats)
        operators = client.RpcAllocator(
            make_conf('', self.topic, operator_transport_url=bus.url)
        )
        self.addCleanup(operators.close)
        self.assertEqual(1, operators.stats().held)
        self.assertEqual({'a'}, operators.find(level).hosts)

    def test_what_cannot_work_is_said_in_a_line(self):
        for options, word in (
            ({'driver': 'rpc'}, 'driver'),
            ({'driver': 'nothing'}, 'nothing'),
            ({'transport_url': 'nothing://secret@x'}, 'transport_url'),
            ({'workers': 'many'}, 'workers'),
        ):
            service = self.start(**options)
            self.assertEqual(1, service.wait(60))
            text = service.log.read_text()
            self.assertIn(word, text)
            self.assertNotIn('Traceback', text)
            self.assertNotIn('secret', text)
