# SPDX-License-Identifier: Apache-2.0

import dataclasses
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import sizes
from tests.unit.cmd import fake

OWN = {'host': 'host1'}
ALONE = dataclasses.replace(fake.WEB, hosts=frozenset({'host1'}))
DONE = {'result': None}


class EndpointTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.acquire.return_value = fake.WEB
        self.allocator.adopt.return_value = fake.WEB
        self.allocator.get.return_value = ALONE
        self.allocator.give_back_last.return_value = True
        self.allocator.list.return_value = [fake.WEB]

    def assert_refused(self, kind, answer):
        self.assertEqual({'error'}, answer.keys())
        return self.assertRaises(kind, envelope.read, answer, lambda m: m)


class ComputeEndpointTest(EndpointTestCase):
    def setUp(self):
        super().setUp()
        self.endpoint = endpoints.ComputeEndpoint(self.allocator)

    def acquire(self, context=OWN, **arguments):
        return self.endpoint.acquire(
            context,
            **{'instance_uuid': 'u', 'project_id': 'p', 'host': 'host1'}
            | arguments,
        )

    def adopt(self, context=OWN, **arguments):
        return self.endpoint.adopt(
            context,
            **{'instance_uuid': 'u', 'project_id': 'p', 'host': 'host1'}
            | {'level': 's0:c1,c2'}
            | arguments,
        )

    def unclaim(self, context=OWN, **arguments):
        return self.endpoint.unclaim(
            context, **{'instance_uuid': 'u', 'host': 'host1'} | arguments
        )

    def give_back(self, context=OWN, **arguments):
        return self.endpoint.give_back(
            context, **{'instance_uuid': 'u', 'host': 'host1'} | arguments
        )

    def claims(self, context=OWN, **arguments):
        return self.endpoint.claims(context, **{'host': 'host1'} | arguments)

    def test_host_that_claims_for_itself_gets_the_allocation(self):
        got = envelope.read(self.acquire(), calls.ACQUIRE.result.read)
        self.assertEqual(fake.WEB, got)
        self.allocator.acquire.assert_called_once_with('u', 'p', 'host1')

    def test_call_about_the_claims_of_another_host_is_refused(self):
        for context in (OWN, {}, {'host': None}, None, [], 'host2'):
            for call in (
                self.acquire,
                self.adopt,
                self.unclaim,
                self.give_back,
                self.claims,
            ):
                self.assert_refused(
                    exception.NotAllowed, call(context, host='host2')
                )
        self.assertEqual([], self.allocator.mock_calls)

    def test_arguments_that_are_no_text_are_refused(self):
        for junk in (None, 7, [], {'a': 1}, b'u'):
            for answer in (
                self.acquire(instance_uuid=junk),
                self.acquire(project_id=junk),
                self.adopt(level=junk),
                self.unclaim(instance_uuid=junk),
                self.give_back(instance_uuid=junk),
                self.endpoint.get(OWN, instance_uuid=junk),
                self.claims({'host': junk}, host=junk),
            ):
                self.assert_refused(ValueError, answer)
        self.assertEqual([], self.allocator.mock_calls)

    def test_text_that_is_no_level_is_refused(self):
        self.assert_refused(
            exception.InvalidLevel, self.adopt(level='s0:c1,c2,')
        )
        self.assertEqual([], self.allocator.mock_calls)

    def test_arguments_of_other_names_are_refused_by_name(self):
        for answer, text in (
            (
                self.endpoint.get(OWN),
                'the call makes no sense: get needs the argument '
                'instance_uuid',
            ),
            (
                self.endpoint.get(OWN, instance_uuid='u', host='host1'),
                "the call makes no sense: get has no argument 'host'",
            ),
        ):
            error = self.assert_refused(ValueError, answer)
            self.assertEqual(text, str(error))
        self.assertEqual([], self.allocator.mock_calls)

    def test_instance_is_given_back_in_one_transaction(self):
        for is_last in (True, False):
            self.allocator.give_back_last.return_value = is_last
            self.assertEqual(DONE, self.give_back())
        self.assertEqual(
            2 * [mock.call.give_back_last('u', 'host1')],
            self.allocator.mock_calls,
        )

    def test_instance_is_only_unclaimed_where_computes_do_not_retire(self):
        self.endpoint = endpoints.ComputeEndpoint(
            self.allocator, retires=False
        )
        self.assertEqual(DONE, self.give_back())
        self.allocator.give_back_last.assert_not_called()
        self.allocator.unclaim.assert_called_once_with('u', 'host1')

    def test_changes_are_logged_with_the_host_that_made_them(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.acquire()
        self.adopt()
        self.unclaim(instance_uuid='u\n')
        self.give_back()
        self.assertEqual(
            [
                f'acquire: host host1 claims instance '
                f'{fake.WEB.instance_uuid}, level s0:c1,c2',
                f'adopt: host host1 claims instance '
                f'{fake.WEB.instance_uuid}, level s0:c1,c2',
                "unclaim: host host1 has nothing of instance 'u\\n'",
                'give_back: host host1 has nothing of instance u, which '
                'is retired',
            ],
            log.output.splitlines(),
        )

    def test_refused_call_cannot_write_a_line_of_the_log(self):
        log = self.useFixture(fixtures.FakeLogger())
        forged = 'b\ngive_back: host c has nothing of instance u'
        self.unclaim({'host': forged}, host='host1')
        self.unclaim({'host': 'host1'}, host=forged)
        lines = log.output.splitlines()
        self.assertEqual(2, len(lines))
        for line in lines:
            self.assertTrue(line.startswith('Refused: '), line)

    def test_claims_are_listed_in_the_part_that_is_asked_for(self):
        self.claims(after='s0:c1,c2', limit=5)
        self.allocator.list.assert_called_once_with(
            host='host1', after=fake.WEB.level, limit=5
        )
        for junk in (0, -1, True, '5', 1.5):
            self.assert_refused(ValueError, self.claims(limit=junk))

    def test_refusal_of_the_store_is_told_with_its_text(self):
        self.allocator.acquire.side_effect = exception.SpaceFull('all 45')
        error = self.assert_refused(exception.SpaceFull, self.acquire())
        self.assertEqual('all 45', str(error))

    def test_fault_of_the_service_is_told_without_its_text(self):
        for kind in (RuntimeError, TypeError, KeyError):
            log = self.useFixture(fixtures.FakeLogger())
            self.allocator.get.side_effect = kind('hunter2')
            answer = self.endpoint.get(OWN, instance_uuid='u')
            error = self.assert_refused(exception.StoreUnusable, answer)
            self.assertNotIn('hunter2', str(error))
            self.assertIn('hunter2', log.output)


class OperatorEndpointTest(EndpointTestCase):
    def setUp(self):
        super().setUp()
        self.endpoint = endpoints.OperatorEndpoint(self.allocator)

    def list(self, **arguments):
        return self.endpoint.list(
            {},
            **{'host': None, 'project_id': None, 'states': None} | arguments,
        )

    def test_operators_drop_claims_of_any_host(self):
        answer = self.endpoint.unclaim({}, instance_uuid='u', host='host2')
        self.assertEqual(DONE, answer)
        self.allocator.unclaim.assert_called_once_with('u', 'host2')

    def test_list_filters_by_what_is_asked_for(self):
        answer = self.list(host='host1', states=['held'])
        self.assertEqual(
            [fake.WEB], envelope.read(answer, calls.LIST.result.read)
        )
        self.allocator.list.assert_called_once_with(
            host='host1',
            project_id=None,
            states=frozenset({types.State.HELD}),
            after=None,
            limit=sizes.MOST_ENTRIES + 1,
        )

    def test_arguments_without_sense_are_refused(self):
        for answer in (
            self.list(host=7),
            self.list(states=['no state']),
            self.list(states=5),
            self.endpoint.find({}, level=None),
            self.endpoint.find({}, level='s0-s1'),
            self.endpoint.reserve({}, level='s0:c1,c2', note=5),
            self.endpoint.set_space({}, space={'categories': 'c0.c9'}),
            self.endpoint.set_space({}, space='c0.c9'),
        ):
            self.assert_refused(ValueError, answer)
        self.assertEqual([], self.allocator.mock_calls)
