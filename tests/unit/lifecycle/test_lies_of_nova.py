# SPDX-License-Identifier: Apache-2.0
"""Whatever Nova's API answers, no level of a live instance comes free."""

import dataclasses

import fixtures
import testscenarios
import testtools

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import types
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import spaces
from tests import quick_store
from tests.fakes import nova_api
from tests.unit.lifecycle import lies
from tests.unit.lifecycle import prompt

OTHER_CLAIMED = 'eeeeeeee-0000-4000-8000-000000000001'
OTHER_SHELVED = 'eeeeeeee-0000-4000-8000-000000000002'

load_tests = testscenarios.load_tests_apply_scenarios


class _Case(testtools.TestCase):
    """Twenty instances that four hosts claim, and five that none does."""

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        space = spaces.LevelSpace.parse('c0.c99')
        self.store = memory_store.MemoryStore(space)
        self.allocator = memory.MemoryAllocator(
            quick_store.make_conf('', cooling_time=3600), self.store
        )
        self.nova = self.useFixture(nova_api.NovaApi(*lies.HOSTS))
        for number, each in enumerate(lies.CLAIMED):
            self._boot(self.nova, each, number)
        for number, each in enumerate(lies.SHELVED):
            self._boot(self.nova, each, number)
            self.allocator.unclaim(each, lies.HOSTS[number % 4])

    def _boot(self, nova, instance, number=0, hosts=lies.HOSTS):
        project = lies.project(number)
        nova.servers[instance] = project
        self.allocator.acquire(instance, project, hosts[number % len(hosts)])

    def _lose(self, instance=lies.GONE):
        """Delete an instance without telling its host."""
        self._boot(self.nova, instance)
        self.allocator.unclaim(instance, lies.HOSTS[0])
        del self.nova.servers[instance]

    def _reap(self, servers=None, **options):
        """Run the reaper; what it says if it refuses."""
        try:
            gone = reaper.find(
                self.allocator,
                servers or self.nova.client(),
                interval=0,
                sleep=lambda seconds: None,
                **options,
            )
            reaper.retire(self.allocator, gone)
        except exception.SvirtError as error:
            return str(error)
        return None

    def _freed(self):
        """The instances whose level is not held."""
        held = {
            each.instance_uuid
            for each in self.allocator.list(
                states=frozenset([types.State.HELD])
            )
        }
        return {*lies.CLAIMED, *lies.SHELVED, lies.GONE} - held


class LieTest(_Case):
    scenarios = [(name, {'lie': lie}) for name, lie in lies.LIES.items()]

    def test_a_lie_to_a_store_that_knows_its_cloud_frees_nothing(self):
        self._lose()
        self.assertIsNone(self._reap())
        self.assertEqual({lies.GONE}, self._freed())
        self.nova.lie = self.lie
        self._reap()
        self.assertEqual({lies.GONE}, self._freed())

    def test_a_lie_to_a_new_store_frees_nothing(self):
        self.nova.lie = self.lie
        self._reap()
        self.assertEqual({lies.GONE}, self._freed())


class PromptLieTest(LieTest):
    """What is asked as soon as a claim is dropped is believed as little."""

    def _reap(self, servers=None, **options):
        return prompt.reap(self.allocator, servers or self.nova.client())


class PromptTruthTest(_Case):
    def test_an_honest_nova_frees_what_is_gone(self):
        self._lose()
        said = prompt.reap(self.allocator, self.nova.client())
        self.assertIsNone(said)
        self.assertEqual({lies.GONE}, self._freed())

    def test_another_cloud_frees_nothing(self):
        self.assertIsNone(self._reap())
        other = self.useFixture(nova_api.NovaApi('x0', 'x1'))
        said = prompt.reap(self.allocator, other.client())
        self.assertIn(other.url, said)
        self.assertEqual({lies.GONE}, self._freed())

    def test_claims_of_hosts_that_nova_never_listed_stop_it(self):
        self.allocator.acquire(OTHER_CLAIMED, 'project0', 'x0')
        self._lose()
        for _ in range(2):
            said = prompt.reap(self.allocator, self.nova.client())
            self.assertIn('never listed: x0', said)
            self.assertEqual(
                types.State.HELD, self.allocator.get(lies.GONE).state
            )


class CredentialsTest(_Case):
    def test_credentials_of_one_project_free_nothing(self):
        for project in map(lies.project, range(0, 16, 4)):
            said = self._reap(self.nova.client(project))
            self.assertIn('administrator', said)
        self.assertEqual({lies.GONE}, self._freed())

    def test_credentials_of_one_project_that_may_list_services(self):
        """Policies can be changed so that a reader lists services."""

        def lie(question, truth):
            if question.path == 'os-services':
                return self.nova.answer(
                    dataclasses.replace(question, project=None)
                )
            return truth

        self.nova.lie = lie
        said = self._reap(self.nova.client('project0'))
        self.assertIn('administrator', said)
        self.assertEqual({lies.GONE}, self._freed())


class TruthTest(_Case):
    def test_an_honest_nova_frees_what_is_gone(self):
        self._lose()
        self.assertIsNone(self._reap())
        self.assertEqual({lies.GONE}, self._freed())


class OtherCloudTest(_Case):
    """The store belongs to one cloud, and another one answers."""

    def setUp(self):
        super().setUp()
        self.assertIsNone(self._reap())
        self.other = self.useFixture(nova_api.NovaApi('x0', 'x1'))

    def _refuse(self, servers):
        """Check that the error names both clouds; what it says."""
        said = self._reap(servers.client())
        self.assertIn(self.nova.url, said)
        self.assertIn(servers.url, said)
        self.assertEqual({lies.GONE}, self._freed())
        return said

    def test_the_endpoint_of_another_region(self):
        said = self._refuse(self.other)
        self.assertIn(self.other.services[0]['id'], said)

    def test_a_cloud_whose_hosts_have_the_same_names(self):
        self._refuse(self.useFixture(nova_api.NovaApi(*lies.HOSTS)))

    def test_a_cloud_that_shows_all_that_is_claimed(self):
        for each in lies.CLAIMED:
            self.other.servers[each] = 'project0'
        self._refuse(self.other)

    def test_a_copy_of_the_database_whose_hosts_are_down(self):
        copy = self.useFixture(nova_api.NovaApi())
        copy.services = [
            {**each, 'state': 'down'} for each in self.nova.services
        ]
        copy.servers = dict.fromkeys(lies.CLAIMED, 'project0')
        self._refuse(copy)
        copy.add('test')
        self._refuse(copy)

    def test_without_controls(self):
        for each in lies.CLAIMED:
            host = self.allocator.get(each).hosts
            self.allocator.unclaim(each, *host)
        said = self._reap(self.other.client(), needs_controls=False)
        self.assertIn(self.other.url, said)
        self.assertEqual({lies.GONE}, self._freed())

    def test_it_frees_nothing_between_two_passes(self):
        """The name of the endpoint may lead elsewhere all at once."""
        self._lose()
        first = self.nova.client()
        second = self.other.client()
        for number in range(1, 3):
            answering = [first] * number + [second] * 3

            class Turning:
                def check(self, answering=answering):
                    self.answers = answering.pop(0)
                    return self.answers.check()

                def exists(self, instance):
                    return self.answers.exists(instance)

            self.assertIn(self.other.url, self._reap(Turning()))
            self.assertEqual(
                types.State.HELD, self.allocator.get(lies.GONE).state
            )


class TwoCloudsTest(_Case):
    """Two clouds use one store: a fault that must free nothing."""

    def setUp(self):
        super().setUp()
        self.other = self.useFixture(nova_api.NovaApi('x0'))
        self.theirs = [OTHER_CLAIMED, OTHER_SHELVED]
        for each in self.theirs:
            self._boot(self.other, each, hosts=('x0',))
        self.allocator.unclaim(OTHER_SHELVED, 'x0')

    def _check(self):
        self.assertEqual({lies.GONE}, self._freed())
        for each in self.theirs:
            self.assertEqual(types.State.HELD, self.allocator.get(each).state)

    def test_neither_frees_levels_of_the_other(self):
        for first, second in (
            (self.nova, self.other),
            (self.other, self.nova),
        ):
            self.store.cloud = clouds.KnownCloud()
            self.assertIn('hosts that Nova at', self._reap(first.client()))
            self._check()
            self.assertIn('belongs to the cloud', self._reap(second.client()))
            self._check()

    def test_a_cloud_that_claims_nothing_any_more(self):
        self.assertIn('never listed', self._reap())
        self.allocator.unclaim(OTHER_CLAIMED, 'x0')
        self.assertIn('never listed: x0', self._reap())
        self._check()

    def test_an_operator_may_say_that_its_hosts_are_gone(self):
        self.assertIn('never listed', self._reap())
        self.allocator.give_back(OTHER_CLAIMED, 'x0')
        self.allocator.meet_cloud(self.nova.client().check(), replaces=True)
        self.assertIsNone(self._reap())
        self.assertEqual(
            types.State.COOLING, self.allocator.get(OTHER_SHELVED).state
        )
