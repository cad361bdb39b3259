# SPDX-License-Identifier: Apache-2.0
"""Messages are those of the releases in the field."""

import fixtures
import testscenarios
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import client
from tests.unit.allocator.rpc import golden
from tests.unit.allocator.rpc import wire

load_tests = testscenarios.load_tests_apply_scenarios


def given_times(found):
    """When levels were given, which does not count in comparisons."""
    return [
        each.created_at
        for each in (found if isinstance(found, list) else [found])
        if isinstance(each, types.Allocation)
    ]


class ExchangeTest(testtools.TestCase):
    """Calls that succeed."""

    scenarios = [
        (name, {'line': line, 'exchange': golden.EXCHANGES[name]})
        for name, line in golden.load('exchange').items()
    ]

    def test_client_sends_and_reads_what_releases_in_the_field_do(self):
        bus = self.useFixture(wire.Bus(lambda _: self.line['reply']))
        asking = client.RpcAllocator(wire.make_conf(self.exchange.host))
        got = self.exchange.ask(asking)
        self.assertEqual(
            [self.line['ping'], self.line['request']], bus.requests
        )
        self.assertEqual(self.exchange.found, got)
        self.assertEqual(given_times(self.exchange.found), given_times(got))

    def test_service_does_and_answers_what_releases_in_the_field_do(self):
        allocator = golden.make_allocator(self.exchange)
        got = wire.serve(allocator, self.line['request'])
        self.assertEqual({'reply': self.line['reply']}, got)
        name, arguments, options = self.exchange.asked
        getattr(allocator, name).assert_called_once_with(*arguments, **options)
        asked = {each[0] for each in allocator.mock_calls}
        self.assertLessEqual(asked, {name, 'get'})


class RefusalTest(testtools.TestCase):
    """Calls that the allocator behind the service refuses."""

    scenarios = [
        (name, {'line': line, 'error': golden.REFUSALS[name]})
        for name, line in golden.load('refusal').items()
    ]

    def test_service_tells_the_refusal_as_releases_in_the_field_do(self):
        self.useFixture(fixtures.FakeLogger())
        allocator = golden.make_refusing_allocator(self.error)
        got = wire.serve(allocator, self.line['request'])
        self.assertEqual({'reply': self.line['reply']}, got)

    def test_client_raises_the_refusal_with_its_text(self):
        self.useFixture(wire.Bus(lambda _: self.line['reply']))
        asking = client.RpcAllocator(wire.make_conf('host1'))
        told = self.line['reply']['error']
        kind = getattr(exception, told['name'], ValueError)
        error = self.assertRaises(kind, asking.get, golden.UUID)
        self.assertIs(kind, type(error))
        self.assertEqual(told['text'], str(error))


class RequestTest(testtools.TestCase):
    """Messages that clients of this release do not send."""

    scenarios = [
        (name, {'line': line}) for name, line in golden.load('request').items()
    ]

    def test_service_answers_as_releases_in_the_field_do(self):
        self.useFixture(fixtures.FakeLogger())
        allocator = golden.make_patient_allocator()
        got = wire.serve(
            allocator, self.line['request'], waited=self.line['waited']
        )
        for key in ('reply', 'failure'):
            self.assertEqual(self.line.get(key), got.get(key))
        if 'result' not in got.get('reply', ()):
            self.assertEqual([], allocator.mock_calls)


class FileTest(testtools.TestCase):
    def test_file_has_a_line_for_every_exchange_and_refusal(self):
        self.assertEqual(
            golden.EXCHANGES.keys(), golden.load('exchange').keys()
        )
        self.assertEqual(golden.REFUSALS.keys(), golden.load('refusal').keys())
