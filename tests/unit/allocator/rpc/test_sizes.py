# SPDX-License-Identifier: Apache-2.0
"""Messages that are too large, or whose texts are not what they seem."""

import datetime
import json
import uuid
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import sizes
from svirt_nova.mcs import spaces
from tests.unit.allocator.rpc import wire

FORGED = 'x\n2026-11-27 INFO give_back: host c has nothing of instance u'
TEXTS = (FORGED, '\x1b[2J', 'a\u202eb', 200_000 * 'x', 200_000 * '\n')
BORN = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


class AnswersTest(testtools.TestCase):
    """A client and a service with more to tell than a message can have."""

    def setUp(self):
        super().setUp()
        self.below = memory.MemoryAllocator(
            wire.make_conf(None),
            memory_store.MemoryStore(spaces.LevelSpace.parse('c0.c20')),
        )
        self.bus = self.useFixture(wire.Bus(self.answer))
        self.largest = 0
        self.useFixture(
            fixtures.MonkeyPatch(f'{sizes.__name__}.LARGEST_ANSWER', 5000)
        )

    def answer(self, request):
        reply = wire.serve(self.below, request)['reply']
        self.largest = max(self.largest, len(json.dumps(reply)))
        return reply

    def client(self, host=None):
        return client.RpcAllocator(wire.make_conf(host))

    def fill(self, number, name='name', host='host1'):
        for n in range(number):
            self.below.acquire(str(uuid.uuid4()), f'{name}{n}', host)

    def asked(self, method):
        return [
            each['message']
            for each in self.bus.requests
            if each['message']['method'] == method
        ]

    def test_list_that_does_not_fit_comes_in_smaller_parts(self):
        self.fill(100)
        everything = self.below.list()
        for host in (None, 'host1'):
            asking = self.client(host)
            self.assertEqual(everything, asking.list())
            self.assertEqual(everything, asking.list(host='host1'))
            self.assertEqual(everything[:30], asking.list(limit=30))
            self.assertEqual(
                everything[40:50],
                asking.list(after=everything[39].level, limit=10),
            )
        self.assertLess(self.largest, 5200)
        limits = [each['args']['limit'] for each in self.asked('list')]
        self.assertEqual(5000, limits[0])
        self.assertLess(min(limits), 30)

    def test_list_without_a_limit_is_refused_where_it_does_not_fit(self):
        self.fill(10)
        request = {
            'exchange': calls.EXCHANGE,
            'topic': wire.OPERATOR_TOPIC,
            'context': {},
            'message': {
                'method': 'list',
                'version': '1.0',
                'args': {'host': None, 'project_id': None, 'states': None},
            },
        }
        self.assertEqual(10, len(self.answer(request)['result']))
        self.fill(90)
        told = self.answer(request)['error']
        self.assertEqual('AnswerTooLarge', told['name'])
        self.assertIn('[svirt] allocator = sql', told['text'])
        # A client of a former release does not know that error.
        with mock.patch.dict(envelope._ERRORS):
            del envelope._ERRORS['AnswerTooLarge']
            self.assertRaises(
                exception.StoreUnusable,
                envelope.read,
                {'error': told},
                calls.LIST.result.read,
            )

    def test_allocation_that_does_not_fit_alone_is_refused(self):
        self.useFixture(fixtures.MockPatchObject(types, 'MOST_CLAIMS', 200))
        [uuid_] = [str(uuid.uuid4())]
        for n in range(100):
            self.below.acquire(uuid_, 'p', f'{n}' + 100 * 'x')
        for ask in (
            lambda a: a.list(),
            lambda a: a.get(uuid_),
            lambda a: a.acquire(uuid_, 'p', 'host1'),
        ):
            error = self.assertRaises(
                exception.AnswerTooLarge, ask, self.client()
            )
            self.assertIn('bytes', str(error))
        self.assertLess(self.largest, 1000)

    def test_history_that_does_not_fit_comes_in_parts(self):
        [level] = [next(iter(self.below.space()))]
        self.below._store.past = [
            types.Holding(
                str(uuid.uuid4()),
                'p',
                BORN + datetime.timedelta(hours=n // 2),
                BORN + datetime.timedelta(hours=n // 2),
                level,
            )
            for n in range(200)
        ]
        everything = self.below.history(level)
        self.assertEqual(200, len(everything))
        self.assertEqual(everything, self.client().history(level))
        self.assertLess(self.largest, 5200)
        self.assertEqual(
            everything[:50], self.client().history(level, limit=49)
        )
        self.assertEqual(
            everything[10:],
            self.client().history(level, everything[9].since),
        )

    def test_usage_that_does_not_fit_has_those_with_the_most(self):
        self.fill(150, 40 * 'n')
        self.fill(3, 'most')
        log = self.useFixture(fixtures.FakeLogger())
        self.useFixture(
            fixtures.MonkeyPatch(f'{sizes.__name__}.MOST_COUNTED', 20)
        )
        usage = self.client().usage()
        self.assertEqual(self.below.usage(20).by_project, usage.by_project)
        self.assertEqual(20, len(usage.by_project))
        self.assertIn('only the 20 with the most', log.output)
        self.assertLess(self.largest, 5200)

    def test_number_of_entries_is_bounded_before_they_are_written(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{sizes.__name__}.MOST_ENTRIES', 7)
        )
        allocator = mock.Mock(wraps=self.below)
        endpoint = endpoints.OperatorEndpoint(allocator)
        self.fill(8)
        filters = {'host': None, 'project_id': None, 'states': None}
        for limit in (None, 8, 10**400):
            answer = endpoint.list({}, **filters, limit=limit)
            self.assertEqual('AnswerTooLarge', answer['error']['name'])
            _, options = allocator.list.call_args
            self.assertEqual(8, options['limit'])
        self.assertEqual(
            7, len(endpoint.list({}, **filters, limit=7)['result'])
        )
        self.assertEqual('AnswerTooLarge', endpoint.usage({})['error']['name'])

    def test_service_that_repeats_a_part_does_not_hold_its_client(self):
        self.fill(2)
        page = calls.LIST.result.write(self.below.list())
        self.useFixture(fixtures.MonkeyPatch(f'{sizes.__name__}.PAGE', 2))
        self._answers({'result': page})
        self.assertRaises(exception.StoreUnusable, self.client().list)

    def _answers(self, reply):
        self.bus._answer = lambda _: reply


class TextsTest(testtools.TestCase):
    """What is logged, and answered, of texts that callers send."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.seen = 0
        self.allocator = memory.MemoryAllocator(
            wire.make_conf(None),
            memory_store.MemoryStore(spaces.LevelSpace.parse('c0.c9')),
        )

    def logged(self):
        """What was logged since this was asked before."""
        output = self.log.output
        found, self.seen = output[self.seen :], len(output)
        return found

    def assert_bounded(self, answer, lines=1):
        text = json.dumps(answer)
        self.assertLess(len(text), 2 * printing.LONGEST)
        found = self.logged().splitlines()
        self.assertLessEqual(len(found), lines)
        for line in found:
            self.assertTrue(line.isprintable(), line[:200])
            self.assertLess(len(line), 2 * printing.LONGEST)
            self.assertFalse(line.startswith('2026'))

    def test_no_argument_of_any_call_forges_or_floods_the_log(self):
        filled = {
            'level': 's0:c1,c2',
            'hosts': [],
            'seen': 1,
            'states': None,
            'space': {},
            'after': None,
            'limit': None,
            'begun_after': None,
            'most': None,
        }
        for call in calls.CALLS:
            for topic in call.topics:
                endpoint = {
                    calls.Topic.COMPUTES: endpoints.ComputeEndpoint,
                    calls.Topic.OPERATORS: endpoints.OperatorEndpoint,
                }[topic](self.allocator)
                for argument in call.arguments:
                    for text in TEXTS:
                        for value in (text, [text], {text: text}):
                            message = {
                                each.name: filled.get(each.name, 'host1')
                                for each in call.arguments
                            } | {argument.name: value}
                            host = message.get('host')
                            answer = getattr(endpoint, call.name)(
                                {'host': host}, **message
                            )
                            self.assertEqual({'error'}, answer.keys())
                            self.assert_bounded(answer)

    def test_unknown_argument_forges_no_line(self):
        endpoint = endpoints.ComputeEndpoint(self.allocator)
        for text in TEXTS:
            self.assert_bounded(
                endpoint.get({}, instance_uuid='u', **{text: 5})
            )

    def test_context_forges_no_line(self):
        endpoint = endpoints.ComputeEndpoint(self.allocator)
        for text in TEXTS:
            for host in (text, [text], {text: text}):
                self.assert_bounded(
                    endpoint.unclaim(
                        {'host': host}, instance_uuid='u', host='host1'
                    )
                )

    def test_fault_forges_no_line(self):
        allocator = mock.create_autospec(base.Allocator, instance=True)
        endpoint = endpoints.ComputeEndpoint(allocator)
        for text in TEXTS:
            allocator.get.side_effect = RuntimeError(text)
            answer = endpoint.get({}, instance_uuid='u')
            logged = self.logged()
            self.assertNotIn('\n2026', logged)
            self.assertLess(len(logged), 3 * printing.LONGEST)
            self.assertLess(len(json.dumps(answer)), 200)

    def test_name_of_a_call_forges_no_line(self):
        for key in ('method', 'version', 'namespace'):
            for text in (*TEXTS, 7, ['get'], {}, {'a': 5}, True, ''):
                request = {
                    'exchange': calls.EXCHANGE,
                    'topic': wire.TOPIC,
                    'context': {},
                    'message': {'method': 'space', 'args': {}, key: text},
                }
                failure = wire.serve(self.allocator, request)['failure']
                self.assertTrue(failure['class'].startswith('oslo_messaging'))
                self.assertTrue(failure['text'].isprintable())
                self.assertLess(len(failure['text']), 2 * printing.LONGEST)

    def test_client_tells_the_texts_of_an_answer_printably(self):
        for name in ('SpaceFull', 'ValueError', FORGED):
            for text in TEXTS:
                error = self.assertRaises(
                    (exception.SvirtError, ValueError),
                    envelope.read,
                    {'error': {'name': name, 'text': text}},
                    lambda message: message,
                )
                self.assertTrue(str(error).isprintable())
                self.assertLessEqual(len(str(error)), printing.LONGEST)

    def test_answer_without_sense_is_told_printably(self):
        for text in TEXTS:
            for answer in (
                {'level': text},
                {
                    'level': 's0:c1,c2',
                    'hosts': [],
                    'note': '',
                    'retired_at': text,
                },
                {'level': 's0:c1,c2', 'hosts': text, 'note': ''},
            ):
                error = self.assertRaises(
                    exception.StoreUnusable,
                    envelope.read,
                    {'result': answer},
                    calls.GET.result.read,
                )
                self.assertTrue(str(error).isprintable())
                self.assertLessEqual(len(str(error)), printing.LONGEST)
