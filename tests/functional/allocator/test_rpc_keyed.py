# SPDX-License-Identifier: Apache-2.0
"""Callers with keys: the contract, and changes of keys under load."""

import pathlib
import threading
import uuid

import fixtures

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.sql import sql_allocator
from tests.functional.allocator import fixture
from tests.functional.allocator import keyed
from tests.functional.allocator import rpc_service
from tests.functional.allocator import test_rpc


class KeyedContractTest(test_rpc.RpcContractTest):
    """The contract, with every call and every answer signed."""

    # What is no name of a host has no key.
    test_arguments_that_are_no_names_are_refused = None
    test_report_of_no_host_is_refused = None

    def make(self, cooling_time, **options):
        keys = self.useFixture(keyed.Keys())
        for owner in ('service', 'operator'):
            keys.make(owner)
        conf = rpc_service.make_conf(
            self.url,
            uuid.uuid4().hex,
            cooling_time=cooling_time,
            callers='signed',
            service_key_file=keys.private('service'),
            **options,
        )
        # Each change of the level space takes as long.
        conf.set_override('call_timeout', 3, 'svirt_database')
        below = sql_allocator.SqlAllocator(conf)
        enrolled = below.enrolled_keys()
        enrolled.enroll(
            Role.OPERATOR, f'operator-{uuid.uuid4()}', keys.names['operator']
        )
        self.useFixture(rpc_service.Service(conf, below, is_apart=False))
        allocator = client.RpcAllocator(conf)
        allocator._caller._credentials = Keyring(keys, enrolled, conf)
        self.addCleanup(rpc_service.in_background, allocator.close)
        return allocator


class Keyring(keyed.Keyring):
    """Signs the calls of each host with its key, made when it first calls.

    :param keys: where keys are made
    :param enrolled: where they are enrolled
    :param conf: the configuration of the service
    """

    def __init__(self, keys, enrolled, conf):
        self._keys = keys
        self._enrolled = enrolled
        self._topic = conf.svirt_nova_allocator.topic
        self._making = threading.Lock()
        super().__init__({}, self._conf('operator', 'operator_key_file'))

    def _conf(self, owner, option):
        return rpc_service.make_conf(
            '',
            self._topic,
            service_public_key_file=self._keys.public('service'),
            **{option: self._keys.private(owner)},
        )

    def sign(self, topic, host, *rest):
        if isinstance(host, str):
            with self._making:
                self._make(host)
        return super().sign(topic, host, *rest)

    def _make(self, host):
        if host in self._of_hosts:
            return
        owner = uuid.uuid4().hex
        # Another allocator of the test has had a key of the host.
        for each in self._enrolled.list(Role.HOST, host)[1:]:
            self._enrolled.revoke(Role.HOST, host, each.public_key)
        self._enrolled.enroll(Role.HOST, host, self._keys.make(owner))
        self._add(host, self._conf(owner, 'host_key_file'))


class LoadTestCase(keyed.KeyedTestCase):
    """Hosts that call all the time, while something is changed.

    :ivar clients: the client that a host uses at the moment
    """

    callers = 'enrolled'
    HOSTS = ('a', 'b')

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.clients = {}
        self.failures = []
        self.done = dict.fromkeys(self.HOSTS, 0)
        self.held = {}
        self._ended = threading.Event()

    def begin(self):
        """Let the hosts begin to call."""
        self._threads = [
            threading.Thread(target=self._call, args=(host,))
            for host in self.HOSTS
        ]
        for each in self._threads:
            each.start()
        self.addCleanup(self._ended.set)
        self.wait_for_calls()

    def _call(self, host):
        while not self._ended.is_set():
            instance = fixture.new_uuid()
            try:
                asking = self.clients[host]
                self.held[instance] = asking.acquire(instance, 'p', host).level
                asking.unclaim(instance, host)
                asking.acquire(instance, 'p', host)
            except exception.SvirtError as error:
                self.failures.append(f'{host}: {error}')
            self.done[host] += 1

    def wait_for_calls(self, number=5):
        """Wait until each host has called some times more."""
        goal = {host: done + number for host, done in self.done.items()}
        for _ in range(600):
            if all(self.done[host] >= goal[host] for host in goal):
                return
            self._ended.wait(0.05)
        self.fail('the hosts do not call any more')

    def end(self):
        """End the calls; all of them were done, and nothing is lost."""
        self._ended.set()
        for each in self._threads:
            each.join()
        self.assertEqual([], self.failures)
        self.assertEqual(
            self.held,
            {each.instance_uuid: each.level for each in self.below.list()},
        )
        self.assertEqual(len(self.held), len({*self.held.values()}))
        for each in self.below.list():
            self.assertEqual(1, len(each.hosts))


class RollingUpgradeTest(LoadTestCase):
    """From calls without keys to signed calls, with nothing lost."""

    def worker_with(self, **options):
        for name, value in options.items():
            self.conf.set_override(name, value, 'svirt_nova_allocator')
        made = rpc_service.Server(
            self.conf,
            rpc_service.endpoints.ComputeEndpoint(
                sql_allocator.SqlAllocator(self.conf)
            ),
            is_apart=False,
        )
        made.setUp()
        self.addCleanup(made.cleanUp)
        return made

    def test_hosts_get_their_keys_one_after_the_other(self):
        own = self.keys.private('service')
        old = [
            self.worker_with(callers='any', service_key_file=None)
            for _ in range(2)
        ]
        for host in self.HOSTS:
            # What the worker that ends has taken is asked for again.
            self.clients[host] = self.client(host, call_timeout=5)
        self.begin()
        # The service, a worker at a time.
        for each in old:
            self.worker_with(callers='enrolled', service_key_file=own)
            each.stop()
            self.wait_for_calls()
        # The hosts, one at a time.
        for host in self.HOSTS:
            self.clients[host] = self.signing(host, call_timeout=5)
            self.wait_for_calls()
        for host in self.HOSTS:
            [key] = self.enrolled.list(Role.HOST, host)
            self.assertIsNotNone(key.used_at)
        self.worker_with(callers='signed')
        self.wait_for_calls()
        self.end()


class RotationTest(LoadTestCase):
    """New keys while hosts call, with no restart."""

    callers = 'signed'

    def replace(self, new, old):
        """Put a pair of keys in place of another, as an operator does."""
        for suffix in ('', '.pub'):
            pathlib.Path(self.keys.directory / f'{new}{suffix}').replace(
                self.keys.directory / f'{old}{suffix}'
            )

    def test_host_and_service_change_their_keys(self):
        for _ in range(2):
            self.worker()
        for host in self.HOSTS:
            self.clients[host] = self.signing(host)
        self.begin()
        # The key of a host.
        new = self.keys.make('new')
        self.enrolled.enroll(Role.HOST, 'a', new)
        self.replace('new', 'a')
        self.wait_for_calls()
        self.enrolled.revoke(Role.HOST, 'a', self.keys.names['a'])
        self.wait_for_calls()
        # The key of the service.
        self.keys.make('next')
        public = pathlib.Path(self.keys.public('service'))
        both = self.keys.directory / 'both'
        both.write_bytes(
            public.read_bytes()
            + pathlib.Path(self.keys.public('next')).read_bytes()
        )
        both.replace(public)
        self.wait_for_calls()
        pathlib.Path(self.keys.private('next')).replace(
            self.keys.private('service')
        )
        self.wait_for_calls()
        pathlib.Path(self.keys.public('next')).replace(public)
        self.wait_for_calls()
        self.end()
        self.assertEqual(
            1, len(key_files.read_public(self.keys.public('service')))
        )
