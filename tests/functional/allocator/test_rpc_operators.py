# SPDX-License-Identifier: Apache-2.0
"""Operators' calls on the bus of computes, and keys that nobody compared."""

import time

import fixtures

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import key_files
from svirt_nova.allocator.rpc import signatures
from svirt_nova.allocator.rpc import transport
from tests.functional.allocator import keyed


class OperatorTest(keyed.AttackTestCase):
    """Operators' calls on the bus of the computes."""

    def setUp(self):
        super().setUp()
        self.server = self.worker(endpoints.OperatorEndpoint)
        self.topic_name = f'{self.topic}-operator'
        self.held = self.victim()

    def attacks(self):
        return {
            calls.LIST: dict.fromkeys(
                ('host', 'project_id', 'states', 'after', 'limit')
            ),
            calls.UNCLAIM: {'instance_uuid': self.uuid, 'host': 'a'},
            calls.RETIRE: {'instance_uuid': self.uuid},
            calls.RESERVE: {'level': 's0:c1,c2', 'note': ''},
            calls.TIDY: {},
            calls.TRUST: {},
        }

    def test_whoever_has_no_key_is_told_to_use_the_database(self):
        for call, arguments in self.attacks().items():
            self.assert_refused(
                self.intruder.send(
                    call.name,
                    {},
                    topic=self.topic_name,
                    version=call.version,
                    **arguments,
                ),
                'database',
            )
        self.assertEqual(self.held, self.below.get(self.uuid))
        asking = self.client(None, call_timeout=20)
        error = self.assertRaises(exception.NotAllowed, asking.list)
        self.assertIn('[svirt_database]', str(error))

    def test_key_of_a_host_is_no_key_of_an_operator(self):
        key = key_files.read_private(self.keys.private('a'))
        for call, arguments in self.attacks().items():
            now = time.time()
            text = signatures.write_call(
                key,
                signatures.Call(
                    self.keys.names['a'],
                    signatures.new_nonce(),
                    'a',
                    [self.keys.names['service']],
                    self.topic_name,
                    now,
                    now + 20,
                    call.name,
                    call.version,
                    arguments,
                ),
            )
            self.assert_refused(
                self.intruder.send_signed(text, topic=self.topic_name),
                'key of the host a',
            )
        self.assertEqual(self.held, self.below.get(self.uuid))

    def test_operator_with_a_key_is_served(self):
        asking = self.signing(None)
        self.assertEqual([self.held], asking.list())
        asking.unclaim(self.uuid, 'a')
        self.assertEqual(frozenset(), self.below.get(self.uuid).hosts)

    def test_operators_call_is_not_repeated(self):
        asking = self.signing(None)
        seen = []
        real = transport.Client.call

        def watch(client, name, version, context, arguments, timeout):
            seen.append(arguments)
            return real(client, name, version, context, arguments, timeout)

        with fixtures.MonkeyPatch(
            'svirt_nova.allocator.rpc.transport.Client.call', watch
        ):
            asking.unclaim(self.uuid, 'a')
        self.below.acquire(self.uuid, 'p', 'a')
        [sent] = seen
        self.assert_refused(
            self.intruder.send_signed(sent['call'], topic=self.topic_name),
            'done before',
        )
        self.assertEqual({'a'}, self.below.get(self.uuid).hosts)

    def test_revoked_operator_is_refused(self):
        asking = self.signing(None)
        asking.list()
        self.enrolled.revoke(Role.OPERATOR, 'operator')
        error = self.assertRaises(exception.NotAllowed, asking.list)
        self.assertIn('revoked', str(error))


class FirstKeyTest(keyed.AttackTestCase):
    """The service takes first keys, because an operator has it so."""

    callers = 'enrolled'

    def setUp(self):
        super().setUp()
        self.conf.set_override(
            'enroll_first_keys', True, 'svirt_nova_allocator'
        )
        self.worker()
        self.keys.make('c')

    def test_first_key_of_a_host_is_taken_and_told(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.signing('c').space()
        [key] = self.enrolled.list(Role.HOST, 'c')
        self.assertTrue(key.is_first_call)
        self.assertIn('no operator has compared', log.output)

    def test_second_key_of_a_host_is_not_taken(self):
        self.keys.make('thief')
        for host in ('a', 'c'):
            self.signing(host).space()
            thief = self.signing(host, 'thief')
            error = self.assertRaises(exception.NotAllowed, thief.space)
            self.assertIn(host, str(error))
            self.assertEqual(1, len(self.enrolled.list(Role.HOST, host)))

    def test_host_whose_keys_are_revoked_gets_no_first_key_again(self):
        self.enrolled.revoke(Role.HOST, 'a')
        self.keys.make('thief')
        thief = self.signing('a', 'thief')
        self.assertRaises(exception.NotAllowed, thief.space)
