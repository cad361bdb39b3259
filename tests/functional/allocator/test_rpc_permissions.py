# SPDX-License-Identifier: Apache-2.0
"""The users and permissions of RabbitMQ that the guide recommends.

They are a wall of their own: no call here is signed.
"""

import contextlib
import pathlib
import re
import uuid

import kombu
from amqp import exceptions as amqp_exceptions

from svirt_nova import exception
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers

GUIDE = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'operations.rst'
VHOSTS = ('svirt-nova', 'svirt-nova-operators')


def commands():
    """The commands of rabbitmqctl that the guide has, as words."""
    text = GUIDE.read_text().replace('\\\n', ' ')
    for line in re.findall(r'^    rabbitmqctl (.*)$', text, re.MULTILINE):
        yield [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line)]


def definitions():
    """What the guide's commands make of a node.

    rabbitmqctl itself takes seconds for each.
    """
    vhosts, users, permissions = [], [], []
    for name, *words in commands():
        if name == 'add_vhost':
            vhosts.append(words[0])
        elif name == 'add_user':
            users.append(servers.bus_user(*words))
        else:
            assert (name, words.pop(0)) == ('set_permissions', '-p')
            permissions.append(servers.bus_permissions(*words))
    return servers.bus_definitions(vhosts, users, permissions)


class PermissionsTest(rpc_service.CallsTestCase):
    """Users of a virtual host, a service, and the credentials of a compute."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.bus = servers.RabbitMQ(definitions())

    @classmethod
    def tearDownClass(cls):
        cls.bus.remove()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.topic = 'svirt-nova-allocator'
        for vhost, endpoint in zip(
            VHOSTS,
            (endpoints.ComputeEndpoint, endpoints.OperatorEndpoint),
            strict=True,
        ):
            conf = rpc_service.make_conf(
                self.conf.svirt_database.connection,
                self.topic,
                transport_url=self.url('svirt-allocator', vhost),
            )
            self.useFixture(rpc_service.Server(conf, endpoint(self.below)))

    def url(self, user, vhost=VHOSTS[0]):
        place = self.bus.url.partition('@')[2]
        return f'rabbit://{user}:secret@{place}{vhost}'

    def asking(self, user, host, vhost=VHOSTS[0], **options):
        made = client.RpcAllocator(
            rpc_service.make_conf(
                '',
                self.topic,
                host,
                transport_url=self.url(user, vhost),
                **options,
            )
        )
        self.addCleanup(rpc_service.in_background, made.close)
        return made

    @contextlib.contextmanager
    def channel(self, user):
        """A channel on the bus, without oslo.messaging."""
        url = self.url(user).replace('rabbit:', 'amqp:')
        with kombu.Connection(
            url, transport_options={'confirm_publish': True}
        ) as connection:
            yield connection.channel()

    def test_each_role_is_served_with_its_user(self):
        held = self.asking('svirt-compute', 'a').acquire(self.uuid, 'p', 'a')
        operator = self.asking('svirt-operator', None, VHOSTS[1])
        self.assertEqual([held], operator.list())
        operator.unclaim(self.uuid, 'a')

    def test_compute_does_not_reach_the_operators_bus(self):
        for vhost in VHOSTS:
            asking = self.asking(
                'svirt-compute', None, vhost, call_timeout=2, call_retries=0
            )
            self.below.acquire(self.uuid, 'p', 'a')
            self.assertRaises(
                (exception.StoreUnreachable, exception.StoreUnusable),
                asking.retire,
                self.uuid,
            )
            self.assertEqual({'a'}, self.below.get(self.uuid).hosts)

    def test_compute_takes_no_call_of_another(self):
        """Neither as a second server nor as a listener."""
        queue = f'reply_{uuid.uuid4().hex}'
        for attack in (
            lambda c: c.basic_consume(self.topic),
            lambda c: c.basic_get(self.topic),
            lambda c: c.queue_declare(self.topic, durable=False),
            lambda c: c.queue_declare(f'{self.topic}.evil'),
            lambda c: c.queue_purge(self.topic),
            lambda c: c.queue_delete(self.topic),
            lambda c: (
                c.queue_declare(queue),
                c.queue_bind(queue, calls.EXCHANGE, self.topic),
            ),
        ):
            with self.channel('svirt-compute') as channel:
                self.assertRaises(
                    amqp_exceptions.AccessRefused, attack, channel
                )
        asking = self.asking('svirt-compute', 'a')
        got = {
            asking.acquire(fixture.new_uuid(), 'p', 'a').level
            for _ in range(20)
        }
        self.assertEqual(20, len(got))
