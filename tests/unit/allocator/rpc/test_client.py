# SPDX-License-Identifier: Apache-2.0

import fixtures
import oslo_messaging
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import sizes
from svirt_nova.allocator.rpc import transport
from tests.unit.allocator.rpc import golden
from tests.unit.allocator.rpc import wire

SENSELESS = 'the allocator service sent an answer without sense'


class ClientTest(testtools.TestCase):
    def ask(self, answer, call, host='host1', **options):
        """Make a call whose answer is given, or an error to raise.

        :param call: makes the call with the client
        :returns: what the bus kept
        """

        def reply(_request):
            if isinstance(answer, Exception):
                raise answer
            return answer

        self.bus = self.useFixture(wire.Bus(reply))
        conf = wire.make_conf(host)
        for name, value in options.items():
            conf.set_override(name, value, 'svirt_nova_allocator')
        return call(client.RpcAllocator(conf))

    def refusal(self, kind, answer, call=lambda a: a.get(golden.UUID), **more):
        error = self.assertRaises(kind, self.ask, answer, call, **more)
        self.assertIs(kind, type(error))
        return str(error)

    def sent(self):
        return [
            each['message']
            for each in self.bus.requests
            if each['message']['method'] != 'ping'
        ]

    def test_call_without_an_answer_is_made_again_and_given_up(self):
        text = self.refusal(
            exception.StoreUnreachable,
            oslo_messaging.MessagingTimeout(),
            call_timeout=20,
            call_retries=2,
        )
        self.assertEqual(
            'the allocator service did not answer the call get in 60 s; '
            'check that svirt-nova-allocator runs and has the same message '
            'bus',
            text,
        )
        self.assertEqual(3, len(self.sent()))
        self.assertEqual([20, 20, 20], self.bus.waits[1:])

    def test_long_call_is_made_once_and_waits_for_ten_minutes(self):
        for call in (
            lambda a: a.tidy(),
            lambda a: a.set_space(golden.INSTANCE_SPACE),
        ):
            text = self.refusal(
                exception.StoreUnreachable,
                oslo_messaging.MessagingTimeout(),
                call,
                call_retries=2,
            )
            self.assertIn('in 600 s', text)
            self.assertEqual(1, len(self.sent()))
            self.assertEqual(600, self.bus.waits[-1])

    def test_service_that_does_not_know_a_call_is_to_be_upgraded(self):
        self.assertEqual(
            'the allocator service does not understand the call get '
            '(UnsupportedVersion): upgrade it before computes',
            self.refusal(
                exception.StoreUnusable,
                oslo_messaging.RemoteError('UnsupportedVersion', 'text'),
            ),
        )

    def test_builtin_exception_that_a_service_sent_is_its_failure(self):
        for error in (TypeError('hunter2'), StopIteration(), MemoryError()):
            self.assertEqual(
                f'the allocator service failed at the call get '
                f'({type(error).__name__}); its log says why',
                self.refusal(exception.StoreUnusable, error),
            )

    def test_bus_that_cannot_be_reached_is_named_without_its_url(self):
        for error in (
            oslo_messaging.MessageDeliveryFailure('hunter2'),
            oslo_messaging.MessagingException('hunter2'),
            OSError('hunter2'),
        ):
            self.assertEqual(
                f'the message bus cannot be reached: {type(error).__name__}; '
                f'check that it runs, and [svirt_nova_allocator] '
                f'transport_url',
                self.refusal(exception.StoreUnreachable, error),
            )

    def test_answer_of_another_shape_is_refused(self):
        for answer in (None, [], 'done', {}, {'a': 1}, {'result': 1, 'b': 2}):
            self.assertEqual(
                SENSELESS, self.refusal(exception.StoreUnusable, answer)
            )

    def test_result_of_another_kind_is_refused(self):
        for answer, call, why in (
            (None, lambda a: a.get(golden.UUID), 'not a map'),
            ({}, lambda a: a.get(golden.UUID), 'level is no str'),
            ({}, lambda a: a.list(), 'not a list'),
            ([1], lambda a: a.history(golden.LEVEL), 'not a map'),
            ({'size': True}, lambda a: a.stats(), 'size is no int'),
            (
                {'by_project': {'p': 'x'}},
                lambda a: a.usage(),
                'by_project has what is no count',
            ),
            (1, lambda a: a.tidy(), 'an answer where none was asked'),
        ):
            self.assertEqual(
                f'{SENSELESS}: {why}',
                self.refusal(
                    exception.StoreUnusable, {'result': answer}, call
                ),
            )

    def test_refusal_of_another_shape_is_refused(self):
        for answer, why in (
            (None, 'not a map'),
            ({}, 'name is no str'),
            ({'name': 'SpaceFull'}, 'text is no str'),
        ):
            self.assertEqual(
                f'the allocator service sent a refusal without sense: {why}',
                self.refusal(exception.StoreUnusable, {'error': answer}),
            )

    def test_argument_of_another_kind_is_left_to_the_service_to_refuse(self):
        for value in (None, 7, True, ['u']):
            self.ask({'result': None}, lambda a, v=value: a.retire(v))
            self.assertEqual({'instance_uuid': value}, self.sent()[-1]['args'])

    def test_list_asks_for_pages_until_one_is_not_full(self):
        self.useFixture(fixtures.MonkeyPatch(f'{sizes.__name__}.PAGE', 2))
        found = [golden.RESERVED, golden.COOLING, golden.CLAIMED]

        def reply(request):
            after = request['message']['args']['after']
            names = [None, *(str(each.level) for each in found)]
            page = found[names.index(after) :][:2]
            return {'result': calls.LIST.result.write(page)}

        with wire.Bus(reply) as bus:
            asking = client.RpcAllocator(wire.make_conf(None))
            self.assertEqual(found, asking.list())
            self.assertEqual(found[:2], asking.list(limit=2))
            self.assertEqual([], asking.list(limit=0))
        self.assertEqual(
            [None, 's0:c3,c4', None],
            [
                each['message']['args']['after']
                for each in bus.requests
                if each['message']['method'] == 'list'
            ],
        )

    def test_claims_of_the_own_host_are_filtered_by_the_client(self):
        result = {'result': calls.CLAIMS.result.write([golden.CLAIMED])}
        for filters, found in (
            ({'project_id': 'p1'}, [golden.CLAIMED]),
            ({'project_id': 'p2'}, []),
            ({'states': frozenset({types.State.HELD})}, [golden.CLAIMED]),
            ({'states': frozenset({types.State.COOLING})}, []),
        ):
            got = self.ask(
                result, lambda a, f=filters: a.list(host='host1', **f)
            )
            self.assertEqual(found, got)
            self.assertEqual('claims', self.sent()[-1]['method'])


class ConnectionTest(testtools.TestCase):
    """The ping that makes the first connection to the bus."""

    def pings_until_a_call_is_answered(self, *errors):
        self.useFixture(
            fixtures.MonkeyPatch(f'{transport.__name__}.Client._PAUSE', 0)
        )
        answer = {'result': calls.SPACE.result.write(golden.INSTANCE_SPACE)}
        bus = self.useFixture(wire.Bus(lambda _: answer, errors))
        asking = client.RpcAllocator(wire.make_conf('host1'))
        self.assertEqual(golden.INSTANCE_SPACE, asking.space())
        return [each['message']['method'] for each in bus.requests].count(
            'ping'
        )

    def test_ping_without_a_connection_is_made_again(self):
        self.assertEqual(
            3,
            self.pings_until_a_call_is_answered(
                oslo_messaging.MessageDeliveryFailure('refused'),
                OSError('refused'),
            ),
        )

    def test_ping_that_is_not_answered_makes_the_connection(self):
        for error in (
            oslo_messaging.MessagingTimeout(),
            oslo_messaging.RemoteError('NoSuchMethod'),
            # What oslo.messaging makes of a failure that names it.
            TypeError('ping() takes no arguments'),
        ):
            self.assertEqual(1, self.pings_until_a_call_is_answered(error))
