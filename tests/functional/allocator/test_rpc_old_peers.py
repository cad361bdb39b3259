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
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service


class OldServiceTest(rpc_service.CallsTestCase):
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
