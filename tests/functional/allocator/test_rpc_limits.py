# SPDX-License-Identifier: Apache-2.0
"""What a host, or somebody who makes one up, can take from the service.

Whoever has the credentials of the bus can call in the name of any host that
signs no calls.
"""

import itertools
import time

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import host_flows
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import quotas
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.lifecycle import known_hosts
from svirt_nova.mcs import spaces
from tests.fakes import nova_api
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service

RATE = 40
CLAIMS = 60
PROCESSES = 2


class LimitsTestCase(rpc_service.CallsTestCase):
    """Two processes of the service, which share a store alone."""

    space = spaces.LevelSpace.parse('c0.c99')
    rate = RATE
    claims = CLAIMS

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        # A busy machine does little in a minute.
        self.useFixture(
            fixtures.MockPatchObject(host_flows.Flow, 'window', 3600)
        )
        options = {
            'host_level_rate': self.rate,
            'host_claim_limit': self.claims,
        }
        for name, value in options.items():
            self.conf.set_override(name, value, 'svirt_nova_allocator')
        self.servers = [self.start() for _ in range(PROCESSES)]

    def check_host(self):
        """What refuses hosts in a process; None if nothing does."""
        return None

    def start(self):
        """Start a process of the service, with an allocator of its own."""
        allocator = sql_allocator.SqlAllocator(self.conf)
        endpoint = endpoints.ComputeEndpoint(
            allocator,
            limits=quotas.load(self.conf, allocator),
            check_host=self.check_host(),
        )
        return self.useFixture(rpc_service.Server(self.conf, endpoint))

    def attack(self, most, host='evil', then=None):
        """Take levels until it is refused; how many were taken, and why."""
        asking = self.client(host)
        for number in range(most):
            uuid = fixture.new_uuid()
            try:
                asking.acquire(uuid, 'p', host)
            except exception.NotAllowed as error:
                return number, str(error)
            if then is not None:
                then(asking, uuid)
        return most, ''

    def assert_names(self, text, *words):
        for word in words:
            self.assertIn(word, text)


class UnlimitedTest(LimitsTestCase):
    """The attack below, where nothing limits it."""

    rate = claims = 0

    def test_made_up_host_takes_what_it_likes(self):
        self.assertEqual(4 * RATE, self.attack(4 * RATE)[0])
        self.assertNotIn('evil has', self.log.output)


class RateTest(LimitsTestCase):
    """New levels, taken in a loop."""

    claims = 0

    def test_made_up_host_that_takes_levels_is_stopped(self):
        taken, text = self.attack(4 * RATE)
        # Each process tells the other after an eighth.
        self.assertLessEqual(taken, RATE + PROCESSES * RATE // 8)
        self.assertGreaterEqual(taken, RATE)
        self.assert_names(text, 'evil', str(RATE), 'host_level_rate')
        self.assertIn('Host evil has', self.log.output)
        self.assertIn('Refused: host evil has reached', self.log.output)

    def test_levels_that_are_given_up_at_once_count_too(self):
        taken, _ = self.attack(
            4 * RATE,
            then=lambda asking, uuid: asking.unclaim(uuid, 'evil'),
        )
        self.assertLessEqual(taken, RATE + PROCESSES * RATE // 8)

    def test_levels_that_are_given_back_at_once_count_too(self):
        taken, _ = self.attack(
            4 * RATE,
            then=lambda asking, uuid: asking.give_back(uuid, 'evil'),
        )
        self.assertLessEqual(taken, RATE + PROCESSES * RATE // 8)

    def test_processes_that_start_know_what_was_taken(self):
        self.attack(4 * RATE)
        for each in self.servers:
            each.stop()
        self.start()
        taken, _ = self.attack(4 * RATE)
        self.assertLessEqual(taken, PROCESSES * RATE // 8)

    def test_other_hosts_and_known_instances_are_answered_meanwhile(self):
        known = [
            self.below.acquire(fixture.new_uuid(), 'p', host)
            for host in ('evil', 'good')
        ]
        self.attack(4 * RATE)
        asking = self.client('evil')
        for each in known:
            got = asking.acquire(each.instance_uuid, 'p', 'evil')
            self.assertEqual(each.level, got.level)
        self.client('good').acquire(fixture.new_uuid(), 'p', 'good')


class ClaimsTest(LimitsTestCase):
    """Instances claimed, one after the other."""

    rate = 0

    def test_host_claims_no_more_than_its_limit(self):
        taken, text = self.attack(4 * CLAIMS)
        self.assertLessEqual(taken, CLAIMS + PROCESSES)
        self.assert_names(text, 'evil', str(CLAIMS), 'host_claim_limit')
        self.assertIn('Host evil has', self.log.output)

    def test_instances_of_others_count_too(self):
        others = [
            self.below.acquire(fixture.new_uuid(), 'p', 'good')
            for _ in range(2 * CLAIMS)
        ]
        asking = self.client('evil')
        claimed = 0
        for each in others:
            try:
                asking.acquire(each.instance_uuid, 'p', 'evil')
            except exception.LimitReached:
                break
            claimed += 1
        self.assertLess(claimed, CLAIMS + CLAIMS // 4)
        # It may give back, and is answered about what it has.
        asking.acquire(others[0].instance_uuid, 'p', 'evil')
        asking.unclaim(others[0].instance_uuid, 'evil')

    def test_host_that_gives_back_may_claim_again(self):
        self.attack(4 * CLAIMS)
        asking = self.client('evil')
        for each in self.below.list(host='evil')[:5]:
            asking.give_back(each.instance_uuid, 'evil')
        time.sleep(1.1)
        asking.acquire(fixture.new_uuid(), 'p', 'evil')

    def test_adopted_levels_that_are_given_up_at_once_count_too(self):
        asking = self.client('evil')
        levels = itertools.islice(self.below.space(), 4 * CLAIMS)
        adopted = 0
        for level in levels:
            uuid = fixture.new_uuid()
            try:
                asking.adopt(uuid, 'p', 'evil', level)
            except exception.LimitReached as error:
                self.assertIn('adopted levels', str(error))
                break
            asking.unclaim(uuid, 'evil')
            adopted += 1
        self.assertLessEqual(adopted, CLAIMS + PROCESSES * CLAIMS // 8)


class InstanceTest(LimitsTestCase):
    """Made-up hosts that claim one instance."""

    rate = claims = 0

    def test_made_up_hosts_cannot_make_an_answer_too_large(self):
        self.below.acquire(self.uuid, 'p', 'good')
        refused = []
        for number in range(2 * types.MOST_CLAIMS):
            host = f'{number:03}'.ljust(255, 'x')
            try:
                self.client(host).acquire(self.uuid, 'p', host)
            except exception.LimitReached as error:
                refused.append(str(error))
        self.assertEqual(types.MOST_CLAIMS + 1, len(refused))
        self.assertIn(self.uuid, refused[0])
        asking = self.client('good')
        hosts = asking.acquire(self.uuid, 'p', 'good').hosts
        self.assertEqual(types.MOST_CLAIMS, len(hosts))
        asking.unclaim(self.uuid, 'good')


class KnownHostsTest(LimitsTestCase):
    """Hosts that Nova does not list."""

    def check_host(self):
        if not hasattr(self, 'nova'):
            self.nova = self.useFixture(nova_api.NovaApi('good'))
        return known_hosts.KnownHosts(self.nova.client(), self.below).check

    def test_made_up_hosts_claim_nothing(self):
        held = self.below.acquire(self.uuid, 'p', 'good')
        for number in range(5):
            taken, text = self.attack(1, f'evil{number}')
            self.assertEqual(0, taken)
            self.assert_names(text, f'evil{number}', 'known_hosts_only')
            asking = self.client(f'evil{number}')
            self.assertRaises(
                exception.NotAllowed,
                asking.acquire,
                self.uuid,
                'p',
                f'evil{number}',
            )
            self.assertRaises(
                exception.NotAllowed,
                asking.adopt,
                self.uuid,
                'p',
                f'evil{number}',
                held.level,
            )
        self.assertEqual({'good'}, self.below.get(self.uuid).hosts)
        self.assertEqual(1, self.attack(1, 'good')[0])


class ProgramTest(rpc_service.ProcessTestCase):
    """The options of the program."""

    def test_program_refuses_a_host_that_takes_too_much(self):
        process = self.start(host_level_rate=8)
        self.wait_until_workers_answer(process)
        asking = self.client('evil')
        self.wait_until_it_answers(asking)
        taken = 0
        error = None
        while error is None and taken < 50:
            try:
                asking.acquire(fixture.new_uuid(), 'p', 'evil')
                taken += 1
            except exception.LimitReached as refusal:
                error = refusal
        self.assertIn('host_level_rate', str(error))
        self.assertGreaterEqual(taken, 8)
        self.assertIn('host evil has reached', process.log.read_text())
