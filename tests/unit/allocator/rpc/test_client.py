# SPDX-License-Identifier: Apache-2.0

import oslo_messaging
import testtools

from svirt_nova import exception
from svirt_nova.allocator.rpc import client
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

    def calls(self):
        return [
            each
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
        self.assertEqual(3, len(self.calls()))
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
            self.assertEqual(1, len(self.calls()))
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
