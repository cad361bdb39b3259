# SPDX-License-Identifier: Apache-2.0
"""What the service counts of calls."""

from unittest import mock

import fixtures

from svirt_nova import exception
from svirt_nova.allocator.rpc import call_counts
from svirt_nova.allocator.rpc import endpoints
from tests import metrics_case
from tests.unit.allocator.rpc import test_endpoints
from tests.unit.allocator.rpc import test_signed_server

CALLS = 'svirt_nova_calls_total'
REFUSALS = 'svirt_nova_refusals_total'


class AnsweredTest(test_endpoints.EndpointTestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.endpoint = endpoints.ComputeEndpoint(self.allocator)
        self.counted = self.useFixture(
            metrics_case.Counted(call_counts.DEFINITIONS)
        )

    def check(self, outcome, reasons):
        self.endpoint.get(test_endpoints.OWN, instance_uuid='u')
        self.assertEqual({('get', outcome): 1}, self.counted.not_zero(CALLS))
        self.assertEqual(
            dict.fromkeys([(each,) for each in reasons], 1),
            self.counted.not_zero(REFUSALS),
        )
        self.assertEqual(
            1,
            self.counted.get('svirt_nova_call_duration_seconds_count', 'get'),
        )

    def test_call_that_is_done_is_counted_with_its_time(self):
        self.check('done', [])

    def test_no_of_the_store_is_a_refusal(self):
        self.allocator.get.side_effect = exception.UnknownInstance('u')
        self.check('refused', ['UnknownInstance'])

    def test_store_that_is_away_is_a_failure(self):
        self.allocator.get.side_effect = exception.StoreUnreachable('x')
        self.check('failed', ['StoreUnreachable'])

    def test_store_that_is_damaged_is_a_failure(self):
        self.allocator.get.side_effect = exception.StoreTooNew('x')
        self.check('failed', ['StoreTooNew'])

    def test_fault_of_the_service_is_a_failure(self):
        self.allocator.get.side_effect = TypeError('x')
        self.check('failed', ['other'])


class DispatchedTest(test_signed_server.SignedServerTestCase):
    """Calls that no endpoint has seen, and signed ones."""

    def setUp(self):
        super().setUp()
        self.counted = self.useFixture(
            metrics_case.Counted(call_counts.DEFINITIONS)
        )

    def check(self, calls, reasons):
        self.assertEqual(calls, self.counted.not_zero(CALLS))
        self.assertEqual(reasons, self.counted.not_zero(REFUSALS))

    def test_call_without_a_valid_signature_is_refused_without_a_name(self):
        self.send('junk')
        self.check({('other', 'refused'): 1}, {('NotAllowed',): 1})

    def test_call_that_waited_for_too_long_has_failed(self):
        self.ask(waited=1000)
        self.check({('space', 'failed'): 1}, {('StoreUnreachable',): 1})

    def test_call_that_finds_the_store_away_has_failed_once(self):
        with mock.patch.object(
            self.allocator, 'space', side_effect=exception.StoreUnreachable
        ):
            self.ask()
        self.check({('space', 'failed'): 1}, {('StoreUnreachable',): 1})

    def test_names_that_callers_make_up_are_one_and_no_failure(self):
        for number in range(20):
            self.ask(name=f'x{number}')
        self.check({('other', 'refused'): 20}, {('StoreUnusable',): 20})
