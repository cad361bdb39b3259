# SPDX-License-Identifier: Apache-2.0
"""A service that all attacks of a class share, and a host for each attack."""

import base64
import contextlib
import json
import types
import uuid

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.sql import sql_allocator
from tests.functional.allocator import fixture
from tests.functional.allocator import keyed
from tests.functional.allocator import rpc_service


def octets(content):
    """Bytes in base64url, as a JSON Web Signature has them."""
    return base64.urlsafe_b64encode(content).rstrip(b'=').decode()


class AttackedTestCase(testtools.TestCase):
    """Two workers for computes, one for operators, and an intruder.

    :ivar host: the victim, of which there is a new one for each attack
    :ivar held: the allocation of an instance that the victim claims
    """

    callers = 'enrolled'
    options: dict = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._ending = contextlib.ExitStack()
        cls.keys = cls._use(keyed.Keys())
        for owner in ('service', 'operator', 'stranger'):
            cls.keys.make(owner)
        path = cls._use(fixtures.TempDir()).join('levels.sqlite')
        cls.topic = uuid.uuid4().hex
        cls.conf = rpc_service.make_conf(
            f'sqlite:///{path}',
            cls.topic,
            service_key_file=cls.keys.private('service'),
            callers=cls.callers,
            **cls.options,
        )
        cls.below = sql_allocator.SqlAllocator(cls.conf)
        cls.enrolled = cls.below.enrolled_keys()
        cls.enrolled.enroll(
            Role.OPERATOR, 'operator', cls.keys.names['operator']
        )
        cls.workers = [cls.start(), cls.start()]
        cls.operators = cls.start(endpoints.OperatorEndpoint)
        # What the intruder makes ends with the class.
        case = types.SimpleNamespace(addCleanup=cls._ending.callback)
        cls.intruder = keyed.Intruder(case, cls.conf)

    @classmethod
    def _use(cls, made):
        made.setUp()
        cls._ending.callback(made.cleanUp)
        return made

    @classmethod
    def start(cls, endpoint=endpoints.ComputeEndpoint):
        """Start one more process of the service, and give its name."""
        own = sql_allocator.SqlAllocator(cls.conf)
        return cls._use(
            rpc_service.Server(cls.conf, endpoint(own), is_apart=False)
        ).name

    @classmethod
    def tearDownClass(cls):
        cls._ending.close()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.host = f'host-{uuid.uuid4().hex}'
        self.uuid = fixture.new_uuid()
        self.keys.make(self.host)
        self.enrolled.enroll(
            Role.HOST, self.host, self.keys.names[self.host], is_binding=True
        )
        self.held = self.below.acquire(self.uuid, 'p', self.host)
        self.own = {'instance_uuid': self.uuid, 'host': self.host}
        self.useFixture(fixtures.FakeLogger())

    def conf_of(self, owner=None, host=None, **options):
        """A configuration of the victim, or of another host with a key."""
        return rpc_service.make_conf(
            '',
            self.topic,
            host=host or self.host,
            host_key_file=self.keys.private(owner or self.host),
            service_public_key_file=self.keys.public('service'),
            **{'call_timeout': 60} | options,
        )

    def asking(self, owner=None, host=None, **options):
        """A client that signs its calls."""
        made = client.RpcAllocator(self.conf_of(owner, host, **options))
        self.addCleanup(rpc_service.in_background, made.close)
        return made

    def sign(self, call=calls.UNCLAIM, **arguments):
        """A signed call of the victim, as an intruder may have seen it."""
        if call is calls.UNCLAIM and not arguments:
            arguments = self.own
        return (
            credentials.Credentials(self.conf_of())
            .sign(
                call.topics[0],
                self.host,
                call.name,
                call.version_of(arguments),
                arguments,
                40,
            )
            .text
        )

    def payload(self, **changes):
        """What such a call says, with other entries."""
        return keyed.payload_of(self.sign()) | changes

    def text_of(self, payload, owner=None, header=None):
        """Sign any payload, with any header."""
        owner = owner or self.host
        if not isinstance(payload, bytes):
            payload = json.dumps(payload).encode()
        header = {
            'alg': 'EdDSA',
            'kid': self.keys.names[owner],
            'typ': 'svirt-nova-call',
        } | (header or {})
        key = key_files.read_private(self.keys.private(owner))
        signed = f'{octets(json.dumps(header).encode())}.{octets(payload)}'
        return f'{signed}.{octets(key.sign(signed.encode()))}'

    def assert_refused(self, answer, word=''):
        answer = keyed.read(answer)
        self.assertEqual({'error'}, answer.keys(), answer)
        error = self.assertRaises(
            (exception.SvirtError, ValueError), envelope.read, answer, None
        )
        self.assertIn(word, str(error))

    def assert_done(self, answer):
        self.assertEqual({'result'}, keyed.read(answer).keys(), answer)

    def assert_nothing_happened(self):
        self.assertEqual(self.held, self.below.get(self.uuid))

    def assert_attack_fails(self, text, word='', topic=None):
        """Whoever gets a text refuses it.

        :param word: of the first refusal; the second one may say that the
            call was refused before
        """
        for server in self.workers if topic is None else [self.operators]:
            answer = self.intruder.send_signed(text, server, topic)
            self.assert_refused(answer, word)
            self.assert_nothing_happened()
            word = ''
