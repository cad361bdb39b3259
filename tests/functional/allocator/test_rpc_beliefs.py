# SPDX-License-Identifier: Apache-2.0
"""What the service believes a compute that was taken over.

The thief has all credentials of host b, and so a voice on the bus. Each
attack succeeds on a service that cannot ask Nova, so that it is known to be
one; on a service with credentials for Nova, it does not.
"""

import logging
import time

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.allocator.rpc import admission
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.mcs import levels
from tests.fakes import nova_api
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service
from tests.unit.lifecycle import prompt

FREE = levels.Level.parse('s0:c211,c905')


class BeliefTestCase(rpc_service.CallsTestCase):
    """A victim on host a, and a thief on host b, of other projects.

    :ivar nova: knows an instance of each
    """

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.nova = self.useFixture(nova_api.NovaApi('a', 'b'))
        self.own = fixture.new_uuid()
        self.exists(self.uuid, 'victims', 'a')
        self.exists(self.own, 'thieves', 'b')
        self.thief = self.client('b', call_timeout=20)
        self.victim = self.client('a', call_timeout=20)

    def exists(self, instance, project, host):
        self.nova.servers[instance] = project
        self.nova.hosts[instance] = host

    def believe(self):
        """Start a service without credentials for Nova."""
        self._start(None, retires=True)

    def ask_nova(self, most_wait=5.0):
        """Start a service that has them."""
        self._start(self.nova.client(), retires=False, most_wait=most_wait)

    def _start(self, servers, *, retires, most_wait=5.0):
        self.useFixture(
            rpc_service.Server(
                self.conf,
                endpoints.ComputeEndpoint(
                    self.below,
                    retires=retires,
                    admits=admission.Admission(self.below, servers, most_wait),
                ),
            )
        )

    def refusal(self, kind, call, *arguments):
        return str(self.assertRaises(kind, call, *arguments))

    def cool(self):
        """Let the levels that cool come free."""
        self.conf.set_override('cooling_time', 0, 'svirt')
        time.sleep(0.1)
        warm = sql_allocator.SqlAllocator(self.conf)
        warm.tidy()
        self.conf.set_override('cooling_time', 3600, 'svirt')

    def questions(self):
        found = [each.instance for each in self.nova.asked]
        self.nova.asked.clear()
        return found


class FreeTest(BeliefTestCase):
    """Levels that the thief says are free."""

    def say_that_the_victim_is_gone(self):
        self.victim.acquire(self.uuid, 'victims', 'a')
        # Without keys, the thief can speak in the name of the host a.
        self.client('a').give_back(self.uuid, 'a')

    def test_thief_frees_a_level_of_a_service_that_believes(self):
        self.believe()
        self.say_that_the_victim_is_gone()
        self.assertIs(types.State.COOLING, self.below.get(self.uuid).state)

    def test_thief_frees_no_level(self):
        self.ask_nova()
        self.say_that_the_victim_is_gone()
        clock = prompt.Clock()
        reaping = prompt.make(self.below, self.nova.client(), clock)
        # A control.
        self.below.acquire(self.own, 'thieves', 'b')
        for _ in range(50):
            reaping.look()
            clock.sleep(100)
        self.assertIs(types.State.HELD, self.below.get(self.uuid).state)
        again = self.victim.acquire(self.uuid, 'victims', 'a')
        self.assertEqual(self.below.get(self.uuid).level, again.level)

    def test_level_of_an_instance_that_is_gone_comes_free(self):
        self.ask_nova()
        self.victim.acquire(self.uuid, 'victims', 'a')
        self.below.acquire(self.own, 'thieves', 'b')
        clock = prompt.Clock()
        reaping = prompt.make(self.below, self.nova.client(), clock)
        reaping.look()
        self.victim.give_back(self.uuid, 'a')
        del self.nova.servers[self.uuid]
        for _ in range(3):
            reaping.look()
            clock.sleep(2)
        self.assertIs(types.State.COOLING, self.below.get(self.uuid).state)


class AdoptTest(BeliefTestCase):
    """Levels that the thief would like to have."""

    def leave(self):
        """A level that an instance had whose files may still carry it."""
        level = self.below.acquire(self.uuid, 'victims', 'a').level
        self.below.give_back(self.uuid, 'a')
        del self.nova.servers[self.uuid]
        self.cool()
        self.assertIsNone(self.below.find(level))
        return level

    def adopt(self, level, instance=None, project='thieves'):
        return self.thief.adopt(instance or self.own, project, 'b', level)

    def test_store_alone_gives_a_level_that_another_had(self):
        level = self.leave()
        got = self.below.adopt(self.own, 'thieves', 'b', level)
        self.assertEqual(level, got.level)

    def refuse_former_level(self):
        level = self.leave()
        text = self.refusal(exception.LevelTaken, self.adopt, level)
        self.assertNotIn(self.uuid, text)
        self.assertIn('Hard-reboot', text)
        self.assertIn(f'instance {self.uuid} has it', self.log.output)
        self.assertIsNone(self.below.find(level))

    def test_level_that_another_had_is_refused_without_nova(self):
        self.believe()
        self.refuse_former_level()

    def test_level_that_another_had_is_refused_with_nova(self):
        self.ask_nova()
        self.refuse_former_level()

    def ask_whose(self, level, secret):
        for instance in (fixture.new_uuid(), self.own):
            text = self.refusal(
                exception.LevelTaken, self.adopt, level, instance
            )
            self.assertNotIn(secret, text)
        self.assertIn(secret, self.log.output)

    def test_thief_does_not_learn_whose_a_level_is(self):
        self.ask_nova()
        level = self.victim.acquire(self.uuid, 'victims', 'a').level
        self.thief.acquire(self.own, 'thieves', 'b')
        self.ask_whose(level, self.uuid)
        self.assertIn('host b says that it has a level', self.log.output)

    def test_thief_does_not_learn_what_a_level_is_reserved_for(self):
        self.ask_nova()
        self.below.reserve(FREE, 'a note of an operator')
        self.thief.acquire(self.own, 'thieves', 'b')
        self.ask_whose(FREE, 'a note of an operator')

    def test_two_that_want_one_level_after_a_restore_are_told(self):
        self.ask_nova()
        self.below.distrust('restored')
        self.adopt(FREE)
        log = self.useFixture(fixtures.FakeLogger(level=logging.CRITICAL))
        self.refusal(
            exception.LevelTaken,
            self.victim.adopt,
            *(self.uuid, 'victims', 'a', FREE),
        )
        for each in ('host a says', 'claimed by b', self.uuid, self.own):
            self.assertIn(each, log.output)

    def give_back_and_adopt(self):
        """Free the victim's level in its name, and want it for another."""
        level = self.victim.acquire(self.uuid, 'victims', 'a').level
        self.client('a').give_back(self.uuid, 'a')
        self.cool()
        self.refusal(exception.LevelTaken, self.adopt, level)
        again = self.victim.acquire(self.uuid, 'victims', 'a')
        return level == again.level

    def test_level_that_was_given_back_is_not_adopted_without_nova(self):
        self.believe()
        # The victim may have lost it, but nobody has got it so.
        self.give_back_and_adopt()

    def test_level_that_was_given_back_is_not_adopted_with_nova(self):
        self.ask_nova()
        self.assertTrue(self.give_back_and_adopt())

    def test_instance_adopts_its_own_level_again(self):
        self.ask_nova()
        self.assertEqual(FREE, self.adopt(FREE).level)
        self.assertEqual([self.own], self.questions())
        self.assertEqual(FREE, self.adopt(FREE).level)
        self.assertEqual([], self.questions())
        self.below.give_back(self.own, 'b')
        # It cools, and may come free before the call is done.
        self.assertEqual(FREE, self.adopt(FREE).level)
        self.assertEqual([self.own], self.questions())
        self.below.give_back(self.own, 'b')
        self.cool()
        self.assertEqual(FREE, self.adopt(FREE).level)

    def test_level_is_adopted_where_nova_has_the_instance_alone(self):
        self.ask_nova()
        for host in ('a', None):
            self.nova.hosts[self.own] = host
            text = self.refusal(exception.LevelTaken, self.adopt, FREE)
            self.assertIn(f'is on {host or "no host"}', text)
        self.nova.hosts[self.own] = 'b'
        for more in (
            (self.own, 'victims'),
            (self.uuid,),
            (fixture.new_uuid(),),
        ):
            self.refusal(exception.LevelTaken, self.adopt, FREE, *more)
        self.assertEqual([], self.below.list())
        self.assertEqual(FREE, self.adopt(FREE).level)

    def test_nova_that_is_away_lets_nothing_be_adopted(self):
        self.ask_nova()
        self.nova.lie = lambda *_: nova_api.fault(503, 'x', 'away')
        text = self.refusal(exception.LevelTaken, self.adopt, FREE)
        self.assertIn('Try again', text)
        self.assertEqual([], self.below.list())


class ProjectTest(BeliefTestCase):
    """Projects that the thief says an instance is of."""

    def setUp(self):
        super().setUp()
        self.below.set_space(case.PROJECT_SPACE)
        self.of_thieves = self.below.acquire(self.own, 'thieves', 'b')

    def acquire(self, instance, project='thieves'):
        return self.thief.acquire(instance, project, 'b')

    def test_thief_says_the_project_to_a_service_that_believes(self):
        self.believe()
        got = self.acquire(self.uuid)
        self.assertEqual(self.of_thieves.project_level, got.project_level)
        # The victim does not come to run in the part of the thief.
        self.refusal(
            exception.NotAllowed,
            self.victim.acquire,
            self.uuid,
            'victims',
            'a',
        )

    def test_thief_is_refused_the_project_that_nova_does_not_say(self):
        self.ask_nova()
        text = self.refusal(exception.NotAllowed, self.acquire, self.uuid)
        self.assertIn('of project victims', text)
        self.assertIn('taken over', self.log.output)
        self.assertEqual([self.of_thieves], self.below.list())
        got = self.victim.acquire(self.uuid, 'victims', 'a')
        self.assertNotEqual(self.of_thieves.project_level, got.project_level)

    def test_instance_that_nova_does_not_know_gets_no_level(self):
        self.ask_nova()
        made_up = fixture.new_uuid()
        text = self.refusal(exception.NotAllowed, self.acquire, made_up)
        self.assertIn('Nova knows no instance', text)
        self.assertIn('[svirt_nova_api]', text)
        self.assertEqual([self.of_thieves], self.below.list())

    def test_known_instance_costs_no_question(self):
        self.ask_nova()
        self.nova.lie = lambda *_: nova_api.fault(503, 'x', 'away')
        for project in ('thieves', 'victims'):
            try:
                got = self.acquire(self.own, project)
            except exception.NotAllowed:
                self.assertEqual('victims', project)
            else:
                self.assertEqual(self.of_thieves.level, got.level)
        self.assertEqual([], self.questions())

    def test_nova_that_is_away_or_lies_gives_no_first_level(self):
        self.ask_nova()
        for lie in (
            lambda *_: nova_api.fault(503, 'x', 'away'),
            lambda question, truth: self.nova.answer(
                nova_api.Question(f'servers/{self.own}', {})
            ),
            lambda question, truth: nova_api.answer(
                200, {'server': {'id': question.instance}}
            ),
            lambda question, truth: nova_api.answer(
                200,
                {'server': {'id': question.instance, 'tenant_id': 'thieves'}},
                None,
            ),
        ):
            self.nova.lie = lie
            self.refusal(exception.NotAllowed, self.acquire, self.uuid)
            self.assertEqual([self.of_thieves], self.below.list())
        self.nova.lie = nova_api.honest
        self.victim.acquire(self.uuid, 'victims', 'a')

    def test_slow_nova_makes_nothing_be_done_after_its_time(self):
        self.ask_nova(most_wait=0.2)

        def late(question, truth):
            time.sleep(0.5)
            return truth

        self.nova.lie = late
        self.refusal(
            exception.StoreUnreachable,
            self.client('a', call_timeout=20, call_retries=0).acquire,
            self.uuid,
            'victims',
            'a',
        )
        self.assertEqual([self.of_thieves], self.below.list())


class ForgedAnswerTest(BeliefTestCase):
    """Answers about something else than was asked for."""

    def test_answer_about_another_instance_is_refused_and_logged(self):
        other = self.below.acquire(self.own, 'thieves', 'b')

        class Forger(endpoints.ComputeEndpoint):
            def _perform(self, call, arguments):
                return [other] if call is calls.CLAIMS else other

        self.useFixture(rpc_service.Server(self.conf, Forger(self.below)))
        asking = self.victim
        for call, arguments in (
            (asking.acquire, (self.uuid, 'victims', 'a')),
            (asking.acquire, (self.own, 'victims', 'a')),
            (asking.acquire, (self.own, 'thieves', 'a')),
            (self.thief.adopt, (self.own, 'thieves', 'b', FREE)),
            (asking.get, (self.uuid,)),
        ):
            text = self.refusal(exception.WrongAnswer, call, *arguments)
            self.assertIn(text, self.log.output)
            self.assertIn(call.__name__, text)
        text = str(
            self.assertRaises(exception.WrongAnswer, asking.list, host='a')
        )
        self.assertIn('expected a, got claims of b', text)
        self.assertEqual(other, asking.get(self.own))
        self.assertEqual([other], self.thief.list(host='b'))
