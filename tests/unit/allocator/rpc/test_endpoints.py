# SPDX-License-Identifier: Apache-2.0

import dataclasses
from types import SimpleNamespace
from unittest import mock

import fixtures
import testtools
from oslo_utils import timeutils

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import codec
from svirt_nova.allocator.rpc import endpoints
from tests.unit.cmd import fake

OWN = {'host': 'host1'}
ALONE = dataclasses.replace(fake.WEB, hosts=frozenset({'host1'}))


class ComputeCallsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.acquire.return_value = fake.WEB
        self.allocator.adopt.return_value = fake.WEB
        self.allocator.get.return_value = ALONE
        self.allocator.list.return_value = [fake.WEB]
        self.calls = endpoints.ComputeCalls(self.allocator)

    def refusal(self, answer):
        self.assertEqual({'error'}, answer.keys())
        return codec.to_error(answer['error'])

    def test_a_host_claims_for_itself(self):
        answer = self.calls.acquire(OWN, 'u', 'p', 'host1')
        self.assertEqual(fake.WEB, codec.to_allocation(answer['result']))
        self.allocator.acquire.assert_called_once_with('u', 'p', 'host1')

    def test_a_host_has_no_say_in_what_another_claims(self):
        for context in (OWN, {}, {'host': None}, None, [], 'host2'):
            for refused in (
                self.calls.acquire(context, 'u', 'p', 'host2'),
                self.calls.adopt(context, 'u', 'p', 'host2', 's0:c1,c2'),
                self.calls.unclaim(context, 'u', 'host2'),
                self.calls.give_back(context, 'u', 'host2'),
                self.calls.claims(context, 'host2'),
            ):
                self.assertIsInstance(
                    self.refusal(refused), exception.NotAllowed
                )
        self.assertEqual([], self.allocator.mock_calls)

    def test_arguments_that_are_no_text_are_refused(self):
        for junk in (None, 7, [], {'a': 1}, b'u'):
            for refused in (
                self.calls.acquire(OWN, junk, 'p', 'host1'),
                self.calls.acquire(OWN, 'u', junk, 'host1'),
                self.calls.adopt(OWN, 'u', 'p', 'host1', junk),
                self.calls.unclaim(OWN, junk, 'host1'),
                self.calls.give_back(OWN, junk, 'host1'),
                self.calls.get(OWN, junk),
                self.calls.claims({'host': junk}, junk),
            ):
                self.assertIsInstance(self.refusal(refused), ValueError)
        self.assertEqual([], self.allocator.mock_calls)

    def test_what_is_no_level_is_refused(self):
        answer = self.calls.adopt(OWN, 'u', 'p', 'host1', 's0:c1,c2,')
        self.assertIsInstance(self.refusal(answer), exception.InvalidLevel)
        self.assertEqual([], self.allocator.mock_calls)

    def test_a_host_that_claims_an_instance_gives_it_back(self):
        self.assertEqual(
            {'result': None}, self.calls.give_back(OWN, 'u', 'host1')
        )
        self.allocator.give_back.assert_called_once_with('u', 'host1')

    def test_a_host_that_joins_retires_nothing_of_another(self):
        self.allocator.get.return_value = fake.WEB
        self.assertEqual(
            {'result': None}, self.calls.give_back(OWN, 'u', 'host1')
        )
        self.allocator.give_back.assert_not_called()
        self.allocator.unclaim.assert_called_once_with('u', 'host1')

    def test_computes_that_may_not_retire(self):
        calls = endpoints.ComputeCalls(self.allocator, retires=False)
        self.assertEqual({'result': None}, calls.give_back(OWN, 'u', 'host1'))
        self.allocator.give_back.assert_not_called()
        self.allocator.unclaim.assert_called_once_with('u', 'host1')

    def test_who_changes_what_is_logged(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.calls.acquire(OWN, 'u', 'p', 'host1')
        self.calls.adopt(OWN, 'u', 'p', 'host1', 's0:c1,c2')
        self.calls.unclaim(OWN, 'u\n', 'host1')
        self.calls.give_back(OWN, 'u', 'host1')
        lines = log.output.splitlines()
        for line, word in zip(
            lines, ('acquire', 'adopt', 'unclaim', 'give_back'), strict=True
        ):
            self.assertThat(
                line, testtools.matchers.StartsWith(f'{word}: host host1 ')
            )

    def test_a_part_of_the_claims(self):
        self.calls.claims(OWN, 'host1', 's0:c1,c2', 5)
        self.allocator.list.assert_called_once_with(
            host='host1', after=fake.WEB.level, limit=5
        )
        for junk in (0, -1, True, '5', 1.5):
            refused = self.calls.claims(OWN, 'host1', None, junk)
            self.assertIsInstance(self.refusal(refused), ValueError)

    def test_a_host_that_does_not_claim_it_gives_nothing_back(self):
        self.allocator.get.return_value = fake.OLD
        self.assertEqual(
            {'result': None}, self.calls.give_back(OWN, 'u', 'host1')
        )
        self.allocator.get.side_effect = exception.UnknownInstance('none')
        self.assertEqual(
            {'result': None}, self.calls.give_back(OWN, 'u', 'host1')
        )
        self.allocator.give_back.assert_not_called()
        self.allocator.unclaim.assert_called_with('u', 'host1')

    def test_a_refusal_of_the_store_is_told(self):
        self.allocator.acquire.side_effect = exception.SpaceFull('all 45')
        error = self.refusal(self.calls.acquire(OWN, 'u', 'p', 'host1'))
        self.assertIsInstance(error, exception.SpaceFull)
        self.assertEqual('all 45', str(error))

    def test_a_fault_of_ours_is_answered_without_its_text(self):
        self.allocator.get.side_effect = RuntimeError('hunter2')
        error = self.refusal(self.calls.get(OWN, 'u'))
        self.assertIsInstance(error, exception.StoreUnusable)
        self.assertNotIn('hunter2', str(error))

    def test_computes_can_ask_for_nothing_of_operators(self):
        def names(calls):
            return {name for name in dir(calls) if not name.startswith('_')}

        self.assertEqual(
            {'target', 'ping', 'acquire', 'adopt', 'get', 'unclaim'}
            | {'give_back', 'claims', 'space'},
            names(self.calls),
        )


class OperatorCallsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.calls = endpoints.OperatorCalls(self.allocator)

    def test_operators_drop_claims_of_any_host(self):
        self.calls.unclaim({}, 'u', 'host2')
        self.allocator.unclaim.assert_called_once_with('u', 'host2')

    def test_filters(self):
        self.allocator.list.return_value = [fake.WEB]
        answer = self.calls.list({}, 'host1', None, ['held'])
        self.assertEqual(
            [fake.WEB],
            codec.list_of(codec.to_allocation)(answer['result']),
        )
        self.allocator.list.assert_called_once_with(
            host='host1',
            project_id=None,
            states=frozenset({types.State.HELD}),
            after=None,
            limit=None,
        )

    def test_junk_is_refused(self):
        for refused in (
            self.calls.list({}, 7, None, None),
            self.calls.list({}, None, None, ['no state']),
            self.calls.list({}, None, None, 5),
            self.calls.find({}, None),
            self.calls.find({}, 's0-s1'),
            self.calls.reserve({}, 's0:c1,c2', 5),
            self.calls.set_space({}, {'categories': 'c0.c9'}),
            self.calls.set_space({}, 'c0.c9'),
        ):
            self.assertIsInstance(
                codec.to_error(refused['error']), ValueError, refused
            )
        self.assertEqual([], self.allocator.mock_calls)


class LateTest(testtools.TestCase):
    """Calls that waited in the service."""

    def waited(self, seconds, **context):
        watch = mock.create_autospec(timeutils.StopWatch, instance=True)
        watch.elapsed.return_value = seconds
        incoming = SimpleNamespace(ctxt=context, stopwatch=watch)
        return endpoints._is_late(incoming)

    def test_half_of_the_callers_time(self):
        self.assertFalse(self.waited(4.9, timeout=10.0))
        self.assertTrue(self.waited(5.1, timeout=10.0))

    def test_a_caller_that_does_not_say_how_long_it_waits(self):
        self.assertFalse(self.waited(1000))
        self.assertFalse(self.waited(1000, timeout='1'))
