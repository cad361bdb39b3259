# SPDX-License-Identifier: Apache-2.0

import collections
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import host_flows
from svirt_nova.allocator import types
from svirt_nova.allocator.host_flows import Flow
from svirt_nova.allocator.rpc import quotas
from tests.unit.cmd import fake

HELD = fake.WEB
"""An instance that host1 claims."""


class Flows(host_flows.HostFlows):
    """Counts in a process, as the store does for all of them."""

    def __init__(self):
        self.claims = collections.Counter()
        self.taken = collections.defaultdict(collections.Counter)
        self.counted = 0
        self.added = 0
        self.failure = None

    def count(self, host):
        self.counted += 1
        self._fail()
        return host_flows.HostCount(self.claims[host], dict(self.taken[host]))

    def add(self, host, taken):
        self.added += 1
        self._fail()
        self.taken[host].update(taken)

    def _fail(self):
        if self.failure is not None:
            raise self.failure


class QuotasTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.flows = Flows()
        self.now = 1000.0

    def quotas(self, claims=0, new=0):
        return quotas.HostQuotas(
            fake.Allocator(None), self.flows, claims, new, lambda: self.now
        )

    def take(self, limits, number, host='host1', flow=Flow.ACQUIRED):
        """Take levels until it is refused; how many were taken."""
        for taken in range(number):
            try:
                limits.check(flow, host, fake.GONE_UUID)
            except exception.LimitReached as error:
                self.error = str(error)
                return taken
            limits.note(flow, host, self.given())
            self.flows.claims[host] += 1
        return number

    @staticmethod
    def given():
        """What a call answers that has given a level."""
        return types.Allocation(
            HELD.level, fake.GONE_UUID, 'p', frozenset({'host1'})
        )

    def test_host_without_limits_takes_what_it_likes(self):
        self.assertEqual(500, self.take(self.quotas(), 500))

    def test_host_is_refused_at_its_rate(self):
        limits = self.quotas(new=80)
        self.assertEqual(80, self.take(limits, 200))
        for said in ('host1', '80', 'host_level_rate'):
            self.assertIn(said, self.error)
        self.assertEqual(5, self.take(limits, 5, 'host2'))

    def test_host_is_refused_at_its_claims(self):
        limits = self.quotas(claims=80)
        self.assertEqual(80, self.take(limits, 200))
        for said in ('host1', '80', 'host_claim_limit'):
            self.assertIn(said, self.error)

    def test_instances_that_are_known_are_claimed_at_any_rate(self):
        limits = self.quotas(new=8)
        self.take(limits, 20)
        for host in ('host1', 'host3'):
            limits.check(Flow.ACQUIRED, host, HELD.instance_uuid)

    def test_host_with_all_its_claims_is_answered_about_them_alone(self):
        self.flows.claims.update(host1=80, host3=80)
        limits = self.quotas(claims=80)
        limits.check(Flow.ACQUIRED, 'host1', HELD.instance_uuid)
        for host, instance in (
            ('host3', HELD.instance_uuid),
            ('host1', fake.GONE_UUID),
        ):
            for flow in Flow:
                self.assertRaises(
                    exception.LimitReached, limits.check, flow, host, instance
                )

    def test_processes_count_together(self):
        limits = [self.quotas(new=80) for _ in range(2)]
        taken, turn = 0, 0
        while self.take(limits[turn % 2], 1):
            taken, turn = taken + 1, turn + 1
        self.assertLess(taken, 80 + 2 * 10)

    def test_slow_host_costs_no_statement(self):
        limits = self.quotas(claims=4096, new=120)
        for _ in range(100):
            self.now += 10
            self.take(limits, 1)
        self.assertEqual(1, self.flows.counted)
        self.assertEqual(0, self.flows.added)

    def test_rate_is_one_of_a_minute(self):
        limits = self.quotas(new=80)
        self.take(limits, 200)
        self.now += 61
        self.flows.taken.clear()
        self.assertEqual(80, self.take(limits, 200))

    def test_host_that_is_refused_is_counted_once_a_second(self):
        self.flows.claims['host1'] = 80
        limits = self.quotas(claims=80)
        for _ in range(100):
            self.assertEqual(0, self.take(limits, 1))
        self.assertEqual(1, self.flows.counted)
        self.flows.claims['host1'] = 70
        self.now += 1.1
        self.assertEqual(1, self.take(limits, 1))

    def test_adopted_levels_have_the_limit_of_claims_in_an_hour(self):
        limits = self.quotas(claims=80, new=8)
        self.flows.claims = collections.Counter()
        taken = 0
        while self.take(limits, 1, flow=Flow.ADOPTED) and taken < 200:
            # It gives them up at once.
            self.flows.claims.clear()
            taken += 1
        self.assertEqual(80, taken)
        self.assertIn('adopted levels in an hour', self.error)
        # What was adopted is no reason to refuse new instances.
        self.assertEqual(1, self.take(limits, 1))

    def test_warning_names_a_host_early_and_once(self):
        limits = self.quotas(claims=1000, new=80)
        self.take(limits, 60)
        self.assertEqual('', self.log.output)
        self.take(limits, 15)
        self.assertEqual(1, self.log.output.count('Host host1 has'))
        self.take(limits, 200)
        self.take(limits, 200)
        lines = self.log.output.splitlines()
        self.assertEqual(2, len(lines), lines)
        self.assertIn('Refused: host host1 has reached', lines[1])
        self.now += 3600
        self.flows.taken.clear()
        self.take(limits, 200)
        self.assertEqual(4, len(self.log.output.splitlines()))

    def test_call_that_is_done_does_not_fail_with_the_store(self):
        limits = self.quotas(new=8)
        self.take(limits, 1)
        self.flows.failure = exception.StoreUnreachable('no store')
        for _ in range(3):
            limits.note(Flow.ACQUIRED, 'host1', self.given())
        self.assertIn('no store', self.log.output)
        self.flows.failure = None
        self.assertLessEqual(self.take(limits, 200), 5)

    def test_made_up_names_do_not_fill_the_memory(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{quotas.__name__}._MOST_HOSTS', 10)
        )
        limits = self.quotas(new=80)
        for number in range(100):
            self.take(limits, 1, f'evil{number}')
        self.assertEqual(10, len(limits._hosts))

    def test_name_that_is_none_is_not_remembered(self):
        limits = self.quotas(new=80)
        for name in ('', 'x' * 256, 'a\nb', ' a'):
            self.assertRaises(
                ValueError,
                limits.check,
                Flow.ACQUIRED,
                name,
                fake.GONE_UUID,
            )
        self.assertEqual({}, limits._hosts)

    def test_driver_that_counts_nothing_limits_nothing(self):
        options = mock.Mock(host_claim_limit=80, host_level_rate=8)
        conf = mock.Mock(svirt_nova_allocator=options)
        self.assertIsNone(quotas.load(conf, fake.Allocator(None)))
        self.assertIn('host_claim_limit', self.log.output)
