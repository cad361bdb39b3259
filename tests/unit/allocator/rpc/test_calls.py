# SPDX-License-Identifier: Apache-2.0
"""The table of calls, and that client and service have all of it."""

import inspect
import json
import logging
from unittest import mock

import testtools
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from oslo_utils import versionutils

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from tests.unit.allocator.rpc import golden
from tests.unit.allocator.rpc import values

# Each example has every call.
few = settings(max_examples=10)

ENDPOINTS = {
    calls.Topic.COMPUTES: endpoints.ComputeEndpoint,
    calls.Topic.OPERATORS: endpoints.OperatorEndpoint,
}
HUGE = (
    'x' * 10**5,
    10**400,
    # Python writes no integer of so many digits.
    10**5000,
    ['held'] * 10**4,
    {str(number): number for number in range(10**4)},
)


def over_the_bus(message):
    return json.loads(json.dumps(message))


class Served:
    """A call, and the endpoint that answers it on a topic."""

    def __init__(self, call, topic):
        self.call = call
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.get.return_value = golden.ALONE
        endpoint = ENDPOINTS[topic](self.allocator)
        self.method = getattr(endpoint, call.name)

    def draw(self, data):
        """The arguments of a message, and the result that is to come."""
        arguments = data.draw(values.arguments(self.call))
        result = data.draw(values.results(self.call))
        name = 'list' if self.call is calls.CLAIMS else self.call.name
        if self.call is not calls.PING:
            getattr(self.allocator, name).return_value = result
        return self.call.write_arguments(arguments), result

    def answer(self, arguments):
        """What the service answers to the host that the call is about."""
        self.allocator.reset_mock()
        return self.method({'host': arguments.get('host')}, **arguments)


class CallsTest(testtools.TestCase):
    """Every call of the table, on each of its topics."""

    def setUp(self):
        super().setUp()
        # What is refused is logged, and some of it is huge.
        logging.disable()
        self.addCleanup(logging.disable, logging.NOTSET)
        self.served = [
            Served(call, topic)
            for call in calls.CALLS
            for topic in call.topics
        ]

    def assert_refused(self, served, answer):
        self.assertRaises(
            (ValueError, exception.NotAllowed),
            envelope.read,
            answer,
            served.call.result.read,
        )
        self.assertEqual([], served.allocator.mock_calls)

    @few
    @given(st.data())
    def test_arguments_that_are_sent_arrive(self, data):
        for call in calls.CALLS:
            sent = data.draw(values.arguments(call))
            message = over_the_bus(call.write_arguments(sent))
            self.assertEqual(sent, call.read_arguments(message))

    @few
    @given(st.data())
    def test_result_that_is_answered_arrives(self, data):
        for each in self.served:
            arguments, result = each.draw(data)
            answer = over_the_bus(each.answer(over_the_bus(arguments)))
            self.assertEqual(
                result, envelope.read(answer, each.call.result.read)
            )

    @few
    @given(st.data())
    def test_argument_that_is_missing_is_refused_or_none(self, data):
        for each in self.served:
            arguments, _ = each.draw(data)
            for argument in each.call.arguments:
                rest = dict(arguments)
                del rest[argument.name]
                if argument.since is None:
                    self.assert_refused(each, each.answer(rest))
                else:
                    read = each.call.read_arguments(rest)
                    self.assertIsNone(read[argument.name])

    @few
    @given(st.data(), values.JUNK)
    def test_unknown_argument_is_refused(self, data, junk):
        for each in self.served:
            arguments, _ = each.draw(data)
            for name in ('self', 'context', 'call', '', '_', 'a b'):
                answer = each.answer(arguments | {name: junk})
                self.assert_refused(each, answer)

    def check_kinds(self, each, arguments, wrong):
        for argument in each.call.arguments:
            answer = each.answer(arguments | {argument.name: wrong})
            try:
                argument.kind.read(wrong)
            except (TypeError, ValueError):
                self.assert_refused(each, answer)
            else:
                self.assertEqual({'result'}, answer.keys())

    @few
    @given(st.data(), values.JUNK)
    def test_argument_of_another_kind_is_refused(self, data, junk):
        for each in self.served:
            arguments, _ = each.draw(data)
            self.check_kinds(each, arguments, junk)

    @few
    @given(st.data(), st.sampled_from(HUGE))
    def test_huge_argument_of_another_kind_is_refused(self, data, huge):
        for each in self.served:
            arguments, _ = each.draw(data)
            self.check_kinds(each, arguments, huge)

    @given(values.JUNK)
    def test_context_without_sense_is_answered(self, junk):
        for each in self.served:
            for context in (junk, {'host': junk}):
                answer = each.method(context)
                self.assertIn(answer.keys(), ({'result'}, {'error'}))

    def test_method_of_an_endpoint_is_documented_by_the_table(self):
        for each in self.served:
            self.assertEqual(each.call.summary, inspect.getdoc(each.method))
            self.assertEqual(each.call.name, each.method.__name__)


class TableTest(testtools.TestCase):
    def names(self, topic):
        return [each.name for each in calls.CALLS if topic in each.topics]

    def test_endpoints_expose_the_calls_of_their_topics_and_no_more(self):
        allocator = mock.create_autospec(base.Allocator, instance=True)
        for topic, endpoint in ENDPOINTS.items():
            made = endpoint(allocator)
            exposed = [
                name
                for name in dir(made)
                if hasattr(getattr(made, name), 'exposed')
            ]
            self.assertEqual(sorted(self.names(topic)), exposed)

    def test_computes_can_ask_for_nothing_of_operators(self):
        self.assertEqual(
            {'ping', 'acquire', 'adopt', 'get', 'unclaim', 'give_back'}
            | {'claims', 'space', 'is_held', 'meet', 'doubt', 'report'},
            set(self.names(calls.Topic.COMPUTES)),
        )

    def test_computes_change_nothing_without_saying_for_which_host(self):
        self.assertEqual(
            {'ping', 'get', 'space', 'is_held'},
            {
                each.name
                for each in calls.CALLS
                if calls.Topic.COMPUTES in each.topics and not each.has_host
            },
        )

    def test_names_are_unique_on_each_topic(self):
        for topic in calls.Topic:
            names = self.names(topic)
            self.assertEqual(sorted(set(names)), sorted(names))

    def test_client_makes_every_call_but_the_ping_of_its_connection(self):
        made = {
            line['request']['message']['method']
            for line in golden.load('exchange').values()
        }
        self.assertEqual(
            {each.name for each in calls.CALLS}, made | {calls.PING.name}
        )

    def test_client_has_a_method_for_every_call_but_claims(self):
        methods = base.Allocator.__abstractmethods__
        self.assertLessEqual(methods, vars(client.RpcAllocator).keys())
        self.assertEqual(
            # The service does with give_back what give_back_last does.
            {each.name for each in calls.CALLS},
            (methods - {'give_back_last'})
            | {
                each.name for each in (calls.PING, calls.CLAIMS, calls.IS_HELD)
            },
        )

    def test_arguments_are_the_parameters_of_the_allocators_methods(self):
        for each in calls.CALLS:
            if each in (calls.PING, calls.CLAIMS):
                continue
            method = getattr(base.Allocator, each.name)
            self.assertEqual(
                ['self', *(argument.name for argument in each.arguments)],
                list(inspect.signature(method).parameters),
            )

    def test_service_has_the_newest_version_of_every_call(self):
        newest = versionutils.convert_version_to_tuple(calls.VERSION)
        for each in calls.CALLS:
            self.assertLessEqual(
                versionutils.convert_version_to_tuple(each.version), newest
            )

    def test_versions_brought_parts_of_answers_trust_clouds_and_numbers(
        self,
    ):
        self.assertEqual('1.5', calls.VERSION)
        self.assertEqual(
            {calls.CLAIMS: '1.1', calls.LIST: '1.1', calls.IS_HELD: '1.2'}
            | {calls.HISTORY: '1.5', calls.USAGE: '1.4'}
            | dict.fromkeys(
                (
                    calls.MEET,
                    calls.DOUBT,
                    calls.REPORT,
                    calls.DISTRUST,
                    calls.TRUST,
                    calls.SHOW_TRUST,
                ),
                '1.3',
            )
            | dict.fromkeys((calls.SHOW_CLOUD, calls.MEET_CLOUD), '1.4')
            | dict.fromkeys(
                (
                    calls.ACQUIRE,
                    calls.ADOPT,
                    calls.UNCLAIM,
                    calls.GIVE_BACK,
                    calls.RETIRE,
                ),
                '1.4',
            ),
            {
                each: each.version
                for each in calls.CALLS
                if each.version != calls.FIRST_VERSION
            },
        )

    def test_call_without_what_is_sparse_needs_no_later_version(self):
        for seen, version in ((None, '1.0'), (7, '1.3')):
            message = calls.ACQUIRE.thin_out({'host': 'a', 'seen': seen})
            self.assertEqual(seen, message.get('seen'))
            self.assertEqual(seen is None, 'seen' not in message)
            self.assertEqual(version, calls.ACQUIRE.version_of(message))
        for number, version in ((None, '1.0'), (0, '1.4'), (7, '1.4')):
            message = calls.UNCLAIM.thin_out({'host': 'a', 'number': number})
            self.assertEqual(number, message.get('number'))
            self.assertEqual(version, calls.UNCLAIM.version_of(message))

    def test_argument_since_a_later_version_needs_that_version(self):
        call = calls.Call(
            'wait',
            'Wait.',
            topics=(calls.Topic.COMPUTES,),
            arguments=(
                calls.HOST,
                calls.Argument('since', calls.codec.TEXT, since='1.10'),
            ),
            result=calls.codec.NOTHING,
            since='1.9',
        )
        self.assertEqual('1.10', call.version)
        self.assertEqual(
            {'host': 'a', 'since': None}, call.read_arguments({'host': 'a'})
        )
        self.assertRaises(TypeError, call.write_arguments, {'host': 'a'})
