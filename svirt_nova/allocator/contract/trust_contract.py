# SPDX-License-Identifier: Apache-2.0
"""What a store does that may be older than what hosts have seen of it."""

from __future__ import annotations

from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels

LEVEL = levels.Level.parse('s0:c3,c4')
FAR = 2**70
"""A generation that no store comes to, and that no database can keep."""


class TrustContract(case.ContractCase):
    """:meth:`base.Allocator.meet` and what follows."""

    def generation(self) -> int:
        """The generation that the store has."""
        return self.allocator.show_trust().generation

    def restore(self, host: str = 'a', ahead: int = 5) -> types.Trust:
        """Let the store seem older than what a host has seen."""
        return self.allocator.meet(host, self.generation() + ahead)

    def refuse_distrusted(self, project: str = 'p', host: str = 'a') -> str:
        """Check that a new instance gets no level; what is said."""
        return str(
            self.assertRaises(
                exception.StoreDistrusted, self.fill, 1, project, host
            )
        )

    def test_first_of_many_hosts_are_named_and_all_must_report(self) -> None:
        names = ['a', 'b', 'c', 'd', 'e']
        self.allocator.distrust('a test')
        with mock.patch.object(types, 'MOST_AWAITED', 3):
            trust = self.allocator.report('host', names)
            self.assertEqual(('a', 'b', 'c'), trust.awaited)
            for name in ('a', 'b', 'c'):
                trust = self.allocator.report(name, [])
            self.assertEqual(('d', 'e'), trust.awaited)
            self.assertFalse(trust.is_trusted)

    def test_new_store_is_trusted(self) -> None:
        self.assertEqual(
            types.Trust(self.generation()), self.allocator.show_trust()
        )
        self.assertTrue(self.allocator.meet('a', 0).is_trusted)
        self.assertTrue(self.allocator.show_trust().is_trusted)

    def test_new_level_tells_a_generation_that_the_store_has(self) -> None:
        before = self.generation()
        [held] = self.fill(1)
        assert held.generation is not None
        self.assertLessEqual(before, held.generation)
        self.assertLessEqual(held.generation, self.generation())
        self.assertTrue(self.allocator.meet('a', held.generation).is_trusted)

    def test_host_that_has_seen_a_later_generation_ends_the_trust(
        self,
    ) -> None:
        seen = self.generation() + 5
        found = self.allocator.meet('a', seen)
        self.assertFalse(found.is_trusted)
        self.assertIn('host a has seen', found.reason)
        self.assertIn(str(seen), found.reason)
        self.assertEqual(('a',), found.awaited)
        self.assertEqual(found, self.warm.show_trust())
        self.assertIn(found.reason, self.refuse_distrusted())
        self.assertEqual([], self.allocator.list())

    def test_acquire_of_a_host_that_has_seen_more_ends_the_trust(
        self,
    ) -> None:
        seen = self.generation() + 5
        error = self.assertRaises(
            exception.StoreDistrusted,
            self.allocator.acquire,
            self.uuid,
            'p',
            'a',
            seen,
        )
        self.assertIn(str(seen), str(error))
        self.assertFalse(self.warm.show_trust().is_trusted)
        self.assertEqual([], self.allocator.list())

    def test_acquire_with_what_the_store_has_is_answered(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a', self.generation())
        self.assertTrue(self.allocator.show_trust().is_trusted)

    def test_known_instance_keeps_its_level_in_a_distrusted_store(
        self,
    ) -> None:
        [held] = self.fill(1)
        uuid = str(held.instance_uuid)
        self.restore()
        self.assertEqual(held, self.allocator.acquire(uuid, 'p', 'a'))
        self.assertEqual(
            held.level, self.allocator.acquire(uuid, 'p', 'b', FAR).level
        )
        self.allocator.unclaim(uuid, 'b')
        self.assertEqual(held, self.allocator.get(uuid))

    def test_levels_are_adopted_in_a_distrusted_store(self) -> None:
        self.restore()
        got = self.allocator.adopt(self.uuid, 'p', 'a', LEVEL)
        self.assertEqual((LEVEL, {'a'}), (got.level, got.hosts))
        self.assertEqual(got, self.allocator.adopt(self.uuid, 'p', 'a', LEVEL))
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            case.new_uuid(),
            'p',
            'a',
            LEVEL,
        )
        self.refuse_distrusted()

    def test_level_that_cools_is_not_adopted_whoever_distrusts_the_store(
        self,
    ) -> None:
        """Any host can have the store distrusted, and give back for others."""
        [running] = self.fill(1)
        uuid = str(running.instance_uuid)

        def give_back() -> None:
            self.allocator.give_back(uuid, 'a')

        def doubt() -> None:
            self.allocator.doubt('b', case.new_uuid(), LEVEL)

        for calls in ((give_back, doubt), (doubt, give_back)):
            for call in calls:
                call()
            self.assertFalse(self.allocator.show_trust().is_trusted)
            self.assertRaises(
                exception.LevelTaken,
                self.allocator.adopt,
                self.uuid,
                'p',
                'b',
                running.level,
            )
            # The guest's own host has it back.
            got = self.allocator.adopt(uuid, 'p', 'a', running.level)
            self.assertEqual((running.level, {'a'}), (got.level, got.hosts))
            self.allocator.trust()

    def test_levels_of_a_project_are_adopted_in_a_distrusted_store(
        self,
    ) -> None:
        self.allocator.set_space(case.PROJECT_SPACE)
        self.restore()
        level = levels.Level.parse('s0:c10,c11,c14,c15')
        self.assertEqual(
            levels.Level.parse('s0:c10,c11'),
            self.allocator.adopt(self.uuid, 'p', 'a', level).project_level,
        )
        self.refuse_distrusted()
        self.refuse_distrusted('q')
        self.allocator.trust()
        [held] = self.fill(1)
        self.assertEqual(levels.Level.parse('s0:c10,c11'), held.project_level)

    def test_space_of_a_distrusted_store_is_not_changed(self) -> None:
        before = self.allocator.space()
        self.restore()
        self.assertRaises(
            exception.StoreDistrusted,
            self.allocator.set_space,
            case.PROJECT_SPACE,
        )
        self.assertEqual(before, self.allocator.space())
        self.refuse_distrusted()

    def test_store_is_trusted_when_all_hosts_have_reported(self) -> None:
        self.fill(1, host='a')
        self.fill(1, host='b')
        self.restore('c')
        self.assertEqual(('a', 'b', 'c'), self.allocator.show_trust().awaited)
        self.assertEqual(
            ('b', 'c'), self.allocator.report('a', ['a', 'b']).awaited
        )
        # A host that comes again, or reports again, changes nothing.
        self.allocator.meet('a', 0)
        self.assertEqual(
            ('b', 'c', 'd'), self.allocator.report('a', ['d']).awaited
        )
        self.refuse_distrusted()
        self.allocator.report('b', [])
        self.warm.report('d', [])
        with self.later():
            self.assertTrue(self.allocator.report('c', []).is_trusted)
        self.assertEqual(
            types.Trust(self.generation()), self.warm.show_trust()
        )
        self.fill(1)

    def test_reports_do_not_end_a_distrust_before_all_hosts_have_asked(
        self,
    ) -> None:
        """Else a host that lies ends it at once, where nobody claims."""
        self.restore('a')
        trust = self.allocator.report('a', [])
        self.assertEqual((False, ()), (trust.is_trusted, trust.awaited))
        self.assertIn('5 minutes', self.refuse_distrusted())
        self.assertEqual(('b',), self.warm.meet('b', 0).awaited)
        with self.later():
            self.assertFalse(self.allocator.report('a', []).is_trusted)
            self.assertTrue(self.allocator.report('b', []).is_trusted)

    def test_store_waits_for_no_more_hosts_than_there_can_be(self) -> None:
        self.restore('a')
        made_up = [f'!{number}' for number in range(3)]
        with mock.patch.object(types, 'MOST_REPORTED', 3):
            error = self.assertRaises(
                exception.LimitReached,
                self.allocator.report,
                'a',
                ['b', *made_up],
            )
            self.assertIn('3', str(error))
            # It has not told, and nobody's names are taken.
            self.assertEqual(('a',), self.allocator.show_trust().awaited)
            self.allocator.report('a', made_up[:2])
            # Whoever asks is awaited all the same.
            for host in ('b', 'c'):
                self.assertIn(host, self.allocator.meet(host, 0).awaited)

    def test_hosts_that_claim_something_are_named_before_others(
        self,
    ) -> None:
        [held] = self.fill(1, host='y')
        self.allocator.acquire(str(held.instance_uuid), 'p', 'z')
        self.allocator.distrust('a test')
        with mock.patch.object(types, 'MOST_AWAITED', 3):
            trust = self.allocator.report('a', ['!1', '!2', '!3'])
        self.assertEqual(('!1', 'y', 'z'), trust.awaited)

    def test_report_to_a_trusted_store_changes_nothing(self) -> None:
        before = self.allocator.show_trust()
        self.assertEqual(before, self.allocator.report('a', ['b']))
        self.restore('c')
        self.assertEqual(('c',), self.allocator.show_trust().awaited)

    def test_operator_ends_the_distrust(self) -> None:
        self.fill(1, host='a')
        self.restore('b')
        self.warm.trust()
        self.assertTrue(self.allocator.show_trust().is_trusted)
        self.fill(1)
        self.warm.trust()

    def test_generation_is_ahead_of_all_hosts_when_trust_comes_back(
        self,
    ) -> None:
        seen = self.generation() + 1000
        self.allocator.meet('a', self.generation() + 5)
        self.allocator.meet('b', seen)
        self.allocator.trust()
        self.assertLess(seen, self.generation())
        self.assertTrue(self.allocator.meet('b', seen).is_trusted)

    def test_generation_beyond_all_sense_is_survived(self) -> None:
        self.assertRaises(
            exception.StoreDistrusted,
            self.allocator.acquire,
            self.uuid,
            'p',
            'a',
            FAR,
        )
        self.assertFalse(self.allocator.meet('a', FAR).is_trusted)
        self.allocator.trust()
        self.fill(1)
        self.assertFalse(self.allocator.meet('a', FAR).is_trusted)

    def test_host_that_lies_does_not_hide_that_the_store_is_old(
        self,
    ) -> None:
        for _ in range(3):
            self.allocator.meet('evil', FAR)
            self.allocator.trust()
        self.assertLess(self.generation(), 10 * types.LEAP)
        self.assertTrue(self.allocator.meet('a', self.generation()).is_trusted)
        self.assertFalse(self.restore('a').is_trusted)

    def test_hosts_that_are_far_ahead_are_caught_up_with(self) -> None:
        seen = self.generation() + 5 * types.LEAP // 2
        for _ in range(3):
            self.assertFalse(self.allocator.meet('a', seen).is_trusted)
        self.allocator.trust()
        self.assertTrue(self.allocator.meet('a', seen).is_trusted)

    def test_operator_distrusts_the_store(self) -> None:
        self.fill(1, host='a')
        self.warm.distrust('it was restored')
        self.assertIn('it was restored', self.refuse_distrusted())
        self.assertEqual(('a',), self.allocator.show_trust().awaited)
        since = self.allocator.show_trust()
        self.warm.distrust('again')
        self.assertEqual(since, self.allocator.show_trust())

    def test_level_that_the_store_does_not_know_ends_the_trust(self) -> None:
        self.allocator.doubt('a', self.uuid, LEVEL)
        error = self.refuse_distrusted()
        for text in ('host a', self.uuid, str(LEVEL)):
            self.assertIn(text, error)

    def test_other_level_of_an_instance_ends_the_trust(self) -> None:
        [held] = self.fill(1)
        uuid = str(held.instance_uuid)
        self.allocator.doubt('a', uuid, held.level)
        self.assertTrue(self.allocator.show_trust().is_trusted)
        self.allocator.doubt('a', uuid, self.free_level())
        self.assertFalse(self.allocator.show_trust().is_trusted)

    def test_report_of_no_host_is_refused(self) -> None:
        self.assertRaises(ValueError, self.allocator.report, '', [])
        self.assertRaises(ValueError, self.allocator.report, 'a', [''])
        self.assertRaises(ValueError, self.allocator.meet, '', 0)
