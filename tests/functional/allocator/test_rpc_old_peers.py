# SPDX-License-Identifier: Apache-2.0
"""A client and a service of different releases, as in a rolling upgrade.

``tests.unit.allocator.rpc.golden`` has the messages of the releases in the
field; here such messages go over a bus.
"""

import uuid

import oslo_messaging

from svirt_nova import exception
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import codec
from svirt_nova.virt import own_claims
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service


class OldServiceTestCase(rpc_service.CallsTestCase):
    """A service of a former release, asked by a client of this one."""

    def serve_old(self, endpoint):
        made = oslo_messaging.get_rpc_server(
            rpc_service.connect(self.conf),
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=self.topic,
                server=uuid.uuid4().hex,
            ),
            [endpoint],
            executor='threading',
        )
        made.start()
        self.addCleanup(rpc_service.in_background, made.stop, made.wait)


class OldServiceTest(OldServiceTestCase):
    def test_service_without_a_call_is_named_as_what_to_upgrade(self):
        class Old:
            target = oslo_messaging.Target(version='1.0')

        self.serve_old(Old())
        error = self.assertRaises(
            exception.StoreUnusable, self.client().get, self.uuid
        )
        self.assertIn('upgrade', str(error))

    def test_service_of_version_1_0_lists_nothing_and_gives_levels(self):
        below = self.below

        class Old:
            target = oslo_messaging.Target(version='1.0')

            def acquire(self, context, instance_uuid, project_id, host):
                found = below.acquire(instance_uuid, project_id, host)
                return {'result': codec.ALLOCATION.write(found)}

            def claims(self, context, host):
                raise AssertionError('it knows no parts of lists')

        self.serve_old(Old())
        asking = self.client()
        self.assertEqual(
            self.uuid, asking.acquire(self.uuid, 'p', 'a').instance_uuid
        )
        error = self.assertRaises(
            exception.StoreUnusable, asking.list, host='a'
        )
        self.assertIn('upgrade', str(error))


class ServiceWithoutNumbersTest(OldServiceTestCase):
    """A service of version 1.3, which does not number claims."""

    def setUp(self):
        super().setUp()
        below = self.below
        self.asked = asked = []

        class Old:
            target = oslo_messaging.Target(version='1.3')

            def acquire(self, context, instance_uuid, project_id, host):
                asked.append('acquire')
                found = below.acquire(instance_uuid, project_id, host)
                return {'result': without_numbers(found)}

            def adopt(self, context, instance_uuid, project_id, host, level):
                asked.append('adopt')
                found = below.adopt(
                    instance_uuid, project_id, host, codec.LEVEL.read(level)
                )
                return {'result': without_numbers(found)}

            def get(self, context, instance_uuid):
                return {'result': without_numbers(below.get(instance_uuid))}

            def claims(self, context, host, after, limit):
                found = below.list(host=host)
                return {'result': [*map(without_numbers, found)]}

            def give_back(self, context, instance_uuid, host):
                asked.append('give_back')
                below.give_back(instance_uuid, host)
                return {'result': None}

        self.serve_old(Old())

    def test_host_of_this_release_claims_and_drops_without_numbers(self):
        asking = self.client()
        own = own_claims.OwnClaims()
        for call, more in (
            (asking.acquire, ()),
            (asking.adopt, (self.below.acquire(self.uuid, 'p', 'a').level,)),
        ):
            number = own.to_claim(self.uuid)
            found = call(self.uuid, 'p', 'a', *more, number=number)
            self.assertEqual({'a'}, found.hosts)
            own.claimed(self.uuid, number, found.claims.get('a'))
        own.listing()
        listed = asking.list(host='a')
        own.listed({each.instance_uuid: None for each in listed})
        self.assertEqual({}, listed[0].claims)
        self.assertIsNone(listed[0].last_claim)
        asking.give_back(self.uuid, 'a', own.take(self.uuid))
        self.assertEqual(['acquire', 'adopt', 'give_back'], self.asked)
        self.assertEqual(frozenset(), self.below.get(self.uuid).hosts)

    def test_drop_with_a_number_is_refused_and_drops_nothing(self):
        """Another worker of the service, of this release, told the number."""
        self.below.acquire(self.uuid, 'p', 'a')
        error = self.assertRaises(
            exception.StoreUnusable,
            self.client().give_back,
            self.uuid,
            'a',
            7,
        )
        self.assertIn('upgrade', str(error))
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)


def without_numbers(found):
    """How a service writes an allocation that does not number claims."""
    message = codec.ALLOCATION.write(found)
    del message['claims'], message['last_claim']
    return message


class OldClientTest(rpc_service.CallsTestCase):
    """A client of a former release, which asks a service of this one."""

    def ask(self, topic, name, version, **arguments):
        bus = rpc_service.connect(self.conf)
        self.addCleanup(rpc_service.in_background, bus.cleanup)
        asking = oslo_messaging.get_rpc_client(
            bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE, topic=topic, version=version
            ),
        )
        return asking.prepare(timeout=30).call(
            {'host': 'a', 'timeout': 30}, name, **arguments
        )

    def test_client_of_version_1_0_gets_lists_in_one_part(self):
        self.serve()
        for _ in range(3):
            self.below.acquire(fixture.new_uuid(), 'p', 'a')
        everything = [
            codec.ALLOCATION.write(each) for each in self.below.list()
        ]
        self.assertEqual(
            {'result': everything},
            self.ask(self.topic, 'claims', '1.0', host='a'),
        )
        self.assertEqual(
            {'result': everything},
            self.ask(
                f'{self.topic}-operator',
                'list',
                '1.0',
                host=None,
                project_id=None,
                states=None,
            ),
        )

    def test_client_of_version_1_3_claims_and_drops_without_numbers(self):
        self.serve()
        names = {'instance_uuid': self.uuid, 'host': 'a'}
        for _ in range(2):
            answer = self.ask(
                self.topic, 'acquire', '1.3', project_id='p', **names
            )
            found = codec.ALLOCATION.read(answer['result'])
            self.assertEqual({'a'}, found.hosts)
        self.ask(self.topic, 'unclaim', '1.0', **names)
        self.assertEqual(frozenset(), self.below.get(self.uuid).hosts)
        self.below.acquire(self.uuid, 'p', 'a')
        self.ask(self.topic, 'give_back', '1.0', **names)
        self.assertEqual('cooling', self.below.get(self.uuid).state)

    def test_client_of_a_newer_version_is_told_so_by_the_bus(self):
        self.serve()
        major, minor = calls.VERSION.split('.')
        error = self.assertRaises(
            oslo_messaging.RemoteError,
            self.ask,
            self.topic,
            'get',
            f'{major}.{int(minor) + 1}',
            instance_uuid=self.uuid,
        )
        self.assertEqual('UnsupportedVersion', error.exc_type)
