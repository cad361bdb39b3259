# SPDX-License-Identifier: Apache-2.0
"""The allocator service on a message bus of the tests, and its clients."""

import contextlib
import functools
import os
import pathlib
import subprocess
import sys
import threading
import time
import uuid

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.functional.allocator import servers

_PATIENCE = 120
"""Seconds in which a process of the service answers on a busy machine."""


def make_conf(url, topic, host=None, **options):
    """A configuration of the service or of a client.

    :param url: the URL of the store
    :param host: Nova's name for the client's host
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('connection', url, 'svirt_database')
    if host is not None:
        conf.register_opt(cfg.StrOpt('host', default=host))
    if 'transport_url' not in options:
        options['transport_url'] = servers.message_bus().url
    for name, value in {'topic': topic, **options}.items():
        known = name in conf.svirt_nova_allocator
        conf.set_override(
            name, value, 'svirt_nova_allocator' if known else 'svirt'
        )
    return conf


@functools.cache
def other_bus():
    """A second message bus, which only the tests that break it share."""
    return servers.RabbitMQ()


def connect(conf):
    """A connection to the bus of a configuration."""
    return transport.connect(conf, conf.svirt_nova_allocator.transport_url)


def in_background(*actions):
    """Do what ends a connection; a test does not wait until it is done.

    It takes up to a second, and without end when the bus is gone.
    """

    def act():
        for action in actions:
            action()

    threading.Thread(target=act, daemon=True).start()


class Server(fixtures.Fixture):
    """A server of the calls of an endpoint, in this process.

    :param threads: how many calls it answers at a time; None for as many
        as oslo.messaging has it
    :ivar name: of the server, to which a call can be directed
    :param is_apart: whether operators have a bus of their own, as far as the
        server knows
    """

    def __init__(self, conf, endpoint, threads=None, is_apart=True):
        super().__init__()
        self.name = uuid.uuid4().hex
        self._callers = authentication.Authentication(
            conf,
            authentication.keys_of(conf, endpoint._allocator),
            endpoint.topic,
        )
        self._callers._is_apart = is_apart
        self._conf = conf
        self._endpoint = endpoint
        self._threads = threads

    def _setUp(self):
        made = server.create(
            self._conf,
            connect(self._conf),
            self.name,
            self._endpoint,
            self._callers,
        )
        if self._threads is not None:
            self._conf.set_override('executor_thread_pool_size', self._threads)
        made.start()
        self._made = made
        self.addCleanup(in_background, made.stop, made.wait)

    def stop(self):
        """Answer the calls that have arrived, and end."""
        self._made.stop()
        self._made.wait()


class Service(fixtures.Fixture):
    """The two servers of the service, in this process."""

    def __init__(self, conf, allocator, is_apart=True):
        super().__init__()
        self._is_apart = is_apart
        self._conf = conf
        self._allocator = allocator

    def _setUp(self):
        for endpoint in (
            endpoints.ComputeEndpoint,
            endpoints.OperatorEndpoint,
        ):
            self.useFixture(
                Server(
                    self._conf,
                    endpoint(self._allocator),
                    is_apart=self._is_apart,
                )
            )


class CallsTestCase(testtools.TestCase):
    """A store, and a topic for the service that gives access to it.

    :cvar space: the level space of the store; None for the default
    :ivar below: the allocator that the service uses
    """

    space = None

    def setUp(self):
        super().setUp()
        self.topic = uuid.uuid4().hex
        self.uuid = fixture.new_uuid()
        self.conf = make_conf(self.make_store(), self.topic)
        stores.sync(self.conf, self.space)
        self.below = sql_allocator.SqlAllocator(self.conf)

    def make_store(self):
        """The URL of a new store."""
        path = self.useFixture(fixtures.TempDir()).join('levels.sqlite')
        return f'sqlite:///{path}'

    def client(self, host='a', **options):
        """A client of the service."""
        made = client.RpcAllocator(
            make_conf('', self.topic, host=host, **options)
        )
        self.addCleanup(in_background, made.close)
        return made

    def serve(self, allocator=None):
        """Start the service, on another allocator than ``below`` if given."""
        self.useFixture(Service(self.conf, allocator or self.below))


class ProcessTestCase(testtools.TestCase):
    """A store, and the program svirt-nova-allocator.

    :ivar below: the allocator that the program uses
    """

    def setUp(self):
        super().setUp()
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.topic = uuid.uuid4().hex
        self.url = f'sqlite:///{self.directory}/levels.sqlite'
        conf = make_conf(self.url, self.topic, transport_url='fake:/')
        stores.sync(conf, spaces.LevelSpace.parse('c0.c99'))
        self.below = sql_allocator.SqlAllocator(conf)

    def start(self, more='', environment=None, **options):
        """Start the program.

        :param more: lines of its configuration
        :param environment: what it has beside that of this process
        :returns: its process, which has the paths of its ``log`` and of its
            configuration, ``conf``
        """
        options = {
            'topic': self.topic,
            'workers': 1,
            'reap_interval': 0,
        } | options
        if 'transport_url' not in options:
            options['transport_url'] = servers.message_bus().url
        path = self.directory / f'{uuid.uuid4().hex}.conf'
        path.write_text(
            f'[svirt_database]\nconnection = {self.url}\n'
            '[svirt_nova_allocator]\n'
            + ''.join(f'{key} = {value}\n' for key, value in options.items())
            + more
        )
        with path.with_suffix('.log').open('wb') as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    '-m',
                    'svirt_nova.cmd.allocator_program',
                    '--config-file',
                    path,
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | (environment or {}),
            )
        self.addCleanup(self._end, process)
        process.conf = path
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
        """The processes that the program has started."""
        found = []
        for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
            with contextlib.suppress(OSError):
                words = stat.read_text().rpartition(')')[2].split()
                if words[1] == str(process.pid):
                    found.append(int(stat.parent.name))
        return found

    def client(self, host='a', **options):
        """A client of the program."""
        made = client.RpcAllocator(
            make_conf('', self.topic, host, **{'call_timeout': 10} | options)
        )
        self.addCleanup(in_background, made.close)
        return made

    def acquire(self, asking):
        """A new instance's level, given by the program."""
        return asking.acquire(fixture.new_uuid(), 'p', 'a').level

    def wait_until_workers_answer(self, process, number=1):
        """Wait until so many workers answer, and obey signals."""
        self.wait_for_log(process, 'Calls are answered', number)

    def wait_for_log(self, process, text, number=1):
        """Wait until a text is so often in the program's log."""
        deadline = time.monotonic() + _PATIENCE
        while (log := process.log.read_text()).count(text) < number:
            self.assertLess(time.monotonic(), deadline, log)
            time.sleep(0.05)

    def wait_until_it_answers(self, asking):
        """Wait until a call of a client is answered."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return asking.space()
            except exception.StoreUnreachable:
                if time.monotonic() > deadline:
                    raise
