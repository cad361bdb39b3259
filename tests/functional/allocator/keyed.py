# SPDX-License-Identifier: Apache-2.0
"""Hosts, operators and a service with keys, and an intruder on their bus."""

import json
import pathlib
import uuid

import fixtures
import jwt
import oslo_messaging

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.sql import sql_allocator
from tests.functional.allocator import rpc_service


class Keyring(credentials.Credentials):
    """Signs each call with the key of the host that it names.

    A program of the tests speaks for several hosts; a compute has one key.

    :param confs: the configuration of each host, by its name
    :param operator: the configuration of an operator
    """

    def __init__(self, confs, operator):
        self._of_hosts = {
            host: credentials.Credentials(conf) for host, conf in confs.items()
        }
        self._of_operator = credentials.Credentials(operator)

    def _add(self, host, conf):
        self._of_hosts[host] = credentials.Credentials(conf)

    def sign(self, topic, host, *rest):
        own = self._of_operator
        if topic is calls.Topic.COMPUTES and host is not None:
            own = self._of_hosts[host]
        return own.sign(topic, host, *rest)


class Keys(fixtures.Fixture):
    """Key pairs in files, by the names of their owners."""

    def _setUp(self):
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.names = {}

    def make(self, owner):
        """Make a pair, and give the name of the public key."""
        self.names[owner] = key_files.make(self.directory / owner)
        return self.names[owner]

    def private(self, owner):
        return str(self.directory / owner)

    def public(self, owner):
        return str(self.directory / f'{owner}.pub')


class KeyedTestCase(rpc_service.CallsTestCase):
    """Hosts a and b, an operator and a service, each with a key."""

    callers = 'signed'

    def setUp(self):
        super().setUp()
        self.keys = self.useFixture(Keys())
        for owner in ('service', 'a', 'b', 'operator'):
            self.keys.make(owner)
        self.enrolled = self.below.enrolled_keys()
        for host in ('a', 'b'):
            self.enrolled.enroll(Role.HOST, host, self.keys.names[host])
        self.enrolled.enroll(
            Role.OPERATOR, 'operator', self.keys.names['operator']
        )
        for name, value in (
            ('service_key_file', self.keys.private('service')),
            ('callers', self.callers),
        ):
            self.conf.set_override(name, value, 'svirt_nova_allocator')

    def conf_of(self, host, owner=None, **options):
        """A configuration of a host that has its key."""
        option = 'host_key_file'
        if host is None:
            option = 'operator_key_file'
        return rpc_service.make_conf(
            '',
            self.topic,
            host=host,
            **{
                option: self.keys.private(owner or host or 'operator'),
                'service_public_key_file': self.keys.public('service'),
                'call_timeout': 20,
            }
            | options,
        )

    def signing(self, host, owner=None, **options):
        """A client that signs its calls; an operator's without a host."""
        made = client.RpcAllocator(self.conf_of(host, owner, **options))
        self.addCleanup(rpc_service.in_background, made.close)
        return made

    def worker(self, endpoint=endpoints.ComputeEndpoint):
        """Start one more process of the service, and give its name."""
        own = sql_allocator.SqlAllocator(self.conf)
        return self.useFixture(
            rpc_service.Server(self.conf, endpoint(own), is_apart=False)
        ).name

    def sign(self, call, **arguments):
        """Give a signed call of host a, as an intruder may have seen it."""
        return (
            credentials.Credentials(self.conf_of('a'))
            .sign(call.topics[0], 'a', call.name, call.version, arguments, 40)
            .text
        )


class Intruder:
    """Who has the credentials of the bus, and nothing else.

    :param conf: names the bus and the topic
    """

    def __init__(self, case, conf):
        self._conf = conf
        self._bus = rpc_service.connect(conf)
        case.addCleanup(rpc_service.in_background, self._bus.cleanup)
        self._case = case

    def send(
        self,
        name,
        context,
        topic=None,
        server=None,
        version='1.0',
        **arguments,
    ):
        """Send a message, and give what comes back."""
        asking = oslo_messaging.get_rpc_client(
            self._bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=topic or self._conf.svirt_nova_allocator.topic,
                version=version,
            ),
        )
        prepared = (
            asking.prepare(timeout=30)
            if server is None
            else asking.prepare(timeout=30, server=server)
        )
        return prepared.call(context, name, **arguments)

    def send_signed(self, text, server=None, topic=None):
        """Send a signed text, and give what comes back."""
        return self.send(
            authentication.METHOD,
            {'host': 'a', 'timeout': 30},
            server=server,
            topic=topic,
            **{authentication.ARGUMENT: text},
        )

    def serve(self, reply):
        """Answer calls on the topic in place of the service.

        :param reply: gives the answer to a message, a map
        """
        case = self._case

        class Dispatcher:
            supported = True

            def dispatch(self, incoming):
                return reply(incoming.message)

        made = oslo_messaging.rpc.server.RPCServer(
            self._bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=self._conf.svirt_nova_allocator.topic,
                server=uuid.uuid4().hex,
            ),
            Dispatcher(),
            'threading',
        )
        made.start()
        case.addCleanup(rpc_service.in_background, made.stop, made.wait)


def payload_of(text):
    """What a signed text says."""
    return json.loads(
        jwt.api_jws.decode(text, options={'verify_signature': False})
    )


def read(answer):
    """What an answer is, also if it is signed."""
    if isinstance(answer, dict) and answer.keys() == {'signed'}:
        answer = payload_of(answer['signed'])['answer']
    return answer


class AttackTestCase(KeyedTestCase):
    """What an intruder on the bus tries."""

    def setUp(self):
        super().setUp()
        self.intruder = Intruder(self, self.conf)
        self.useFixture(fixtures.FakeLogger())

    def assert_refused(self, answer, word=''):
        answer = read(answer)
        self.assertEqual({'error'}, answer.keys(), answer)
        error = self.assertRaises(
            (exception.SvirtError, ValueError),
            envelope.read,
            answer,
            lambda message: message,
        )
        self.assertIn(word, str(error))

    def assert_done(self, answer):
        self.assertEqual({'result'}, read(answer).keys(), answer)

    def victim(self):
        """An instance of host a, with a level that a claims."""
        return self.below.acquire(self.uuid, 'p', 'a')
