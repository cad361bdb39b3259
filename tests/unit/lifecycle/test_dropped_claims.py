# SPDX-License-Identifier: Apache-2.0

import collections
import uuid

import fixtures
import testtools
from testtools import matchers

from svirt_nova import exception
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import types
from svirt_nova.lifecycle import dropped_claims
from svirt_nova.mcs import spaces
from tests import quick_store
from tests.fakes import nova_api
from tests.unit.lifecycle import prompt

HOSTS = ('a', 'b')


class _Case(testtools.TestCase):
    """A cloud of two hosts with thirty instances that stay."""

    space = 'c0.c99'

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())
        self.allocator = memory.MemoryAllocator(
            quick_store.make_conf('', cooling_time=3600),
            memory_store.MemoryStore(spaces.LevelSpace.parse(self.space)),
        )
        self.nova = self.useFixture(nova_api.NovaApi(*HOSTS))
        self.clock = prompt.Clock()
        self.dropped = prompt.make(
            self.allocator, self.nova.client(), self.clock
        )
        self.stay = [self.boot(HOSTS[n % 2]) for n in range(30)]

    def boot(self, host='a'):
        instance = str(uuid.uuid4())
        self.nova.servers[instance] = 'p'
        self.allocator.acquire(instance, 'p', host)
        return instance

    def leave(self, instance, host='a'):
        """Drop the claim of a host, as after a deletion or a shelving."""
        self.allocator.unclaim(instance, host)

    def look_for(self, seconds):
        """Look for so many seconds; how many levels were retired."""
        end = self.clock.now + seconds
        retired = 0
        while self.clock.now < end:
            retired += self.dropped.look()
            self.clock.sleep(self.dropped.pause)
        return retired

    def state(self, instance):
        return self.allocator.get(instance).state

    def asked(self):
        """How often Nova was asked for each instance, since the last call."""
        found = collections.Counter(
            each.instance for each in self.nova.asked if each.instance
        )
        self.nova.asked.clear()
        return found


class DroppedClaimsTest(_Case):
    def test_deleted_instance_is_retired_within_seconds(self):
        gone = self.boot()
        self.dropped.look()
        self.leave(gone)
        del self.nova.servers[gone]
        self.assertEqual(1, self.look_for(8))
        self.assertIs(types.State.COOLING, self.state(gone))
        for each in self.stay:
            self.assertIs(types.State.HELD, self.state(each))

    def test_nova_that_notes_the_deletion_late_is_asked_again(self):
        gone = self.boot()
        self.dropped.look()
        self.leave(gone)
        self.assertEqual(0, self.look_for(6))
        self.assertIs(types.State.HELD, self.state(gone))
        del self.nova.servers[gone]
        self.assertEqual(1, self.look_for(20))

    def test_instance_is_asked_for_in_three_passes_with_controls(self):
        gone = self.boot()
        self.dropped.look()
        self.leave(gone)
        del self.nova.servers[gone]
        self.asked()
        self.look_for(8)
        asked = self.asked()
        self.assertEqual(4, asked.pop(gone))
        self.assertEqual(
            3 * dropped_claims.NUMBER_OF_CONTROLS, sum(asked.values())
        )
        self.assertGreater(len(asked), dropped_claims.NUMBER_OF_CONTROLS)

    def test_shelved_instance_keeps_its_level_and_is_seldom_asked_for(self):
        shelved = self.boot()
        self.dropped.look()
        self.leave(shelved)
        self.asked()
        self.assertEqual(0, self.look_for(3600))
        self.assertIs(types.State.HELD, self.state(shelved))
        # Nova shows it, so that no controls are needed.
        self.assertEqual({shelved}, self.asked().keys())
        self.assertEqual(0, self.look_for(10 * 3600))
        self.assertLessEqual(self.asked()[shelved], 11)

    def test_instance_that_is_claimed_meanwhile_keeps_its_level(self):
        gone = self.boot()
        self.dropped.look()
        self.leave(gone)
        del self.nova.servers[gone]

        def lie(question, truth):
            if len([q for q in self.nova.asked if q.instance == gone]) == 3:
                self.allocator.acquire(gone, 'p', 'b')
            return truth

        self.nova.lie = lie
        self.assertEqual(0, self.look_for(60))
        self.assertIs(types.State.HELD, self.state(gone))

    def test_instance_that_is_dropped_twice_is_asked_for_soon_both_times(self):
        moved = self.boot()
        self.dropped.look()
        self.leave(moved)
        self.look_for(1000)
        self.allocator.acquire(moved, 'p', 'b')
        self.leave(moved, 'b')
        del self.nova.servers[moved]
        self.assertEqual(1, self.look_for(8))

    def test_instance_that_shows_up_in_one_pass_keeps_its_level(self):
        flickering = self.boot()
        self.dropped.look()
        self.leave(flickering)

        def lie(question, truth):
            count = len(
                [q for q in self.nova.asked if q.instance == flickering]
            )
            if question.instance == flickering and count % 4:
                return nova_api.not_found(flickering)
            return truth

        self.nova.lie = lie
        self.assertEqual(0, self.look_for(100))
        self.assertIs(types.State.HELD, self.state(flickering))

    def test_nova_that_is_away_frees_nothing_and_is_asked_later(self):
        gone = self.boot()
        self.dropped.look()
        self.leave(gone)
        del self.nova.servers[gone]
        self.nova.lie = lambda *_: nova_api.fault(503, 'x', 'away')
        self.clock.sleep(2)
        self.dropped.look()
        self.clock.sleep(2)
        self.assertRaises(exception.ComputeApiError, self.dropped.look)
        self.assertIs(types.State.HELD, self.state(gone))
        self.nova.lie = nova_api.honest
        self.assertEqual(1, self.look_for(60))

    def test_instances_that_had_no_claim_at_the_start_are_not_urgent(self):
        shelved = [self.boot() for _ in range(5)]
        for each in shelved:
            self.leave(each)
        self.look_for(60)
        self.assertEqual({}, self.asked())
        del self.nova.servers[shelved[0]]
        self.assertEqual(1, self.look_for(120))

    def test_one_instance_of_which_nova_cannot_tell_does_not_delay_others(
        self,
    ):
        unclear, gone = self.boot(), self.boot()
        self.dropped.look()
        for each in (unclear, gone):
            self.leave(each)
        del self.nova.servers[gone]
        self.nova.lie = lambda question, truth: (
            nova_api.fault(500, 'computeFault', 'the cell is down')
            if question.instance == unclear
            else truth
        )
        self.clock.sleep(2)
        self.dropped.look()
        self.clock.sleep(2)
        self.assertEqual(1, self.dropped.look())
        self.assertIs(types.State.HELD, self.state(unclear))


class _Direct:
    """Asks about instances without HTTP, which takes too long for thousands.

    :param nova: a fake Nova
    """

    def __init__(self, nova):
        self._nova = nova
        self.check = nova.client().check

    def exists(self, instance_uuid):
        question = nova_api.Question(f'servers/{instance_uuid}', {})
        self._nova.asked.append(question)
        return self._nova.answer(question).status == 200


class ManyTest(_Case):
    space = 'c0.c199'

    def test_thousand_deletions_come_in_batches_with_controls_once_each(self):
        gone = [self.boot() for _ in range(1000)]
        self.dropped = prompt.make(
            self.allocator, _Direct(self.nova), self.clock
        )
        self.dropped.look()
        for each in gone:
            self.leave(each)
            del self.nova.servers[each]
        self.asked()
        self.assertEqual(1000, self.look_for(60))
        asked = self.asked()
        of_gone = sum(asked.pop(each) for each in gone)
        self.assertEqual(4 * 1000, of_gone)
        most = 5 * 3 * dropped_claims.NUMBER_OF_CONTROLS
        self.assertThat(
            sum(asked.values()),
            matchers.MatchesAll(
                matchers.GreaterThan(most // 4), matchers.LessThan(most + 1)
            ),
        )
