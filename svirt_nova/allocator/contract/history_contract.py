# SPDX-License-Identifier: Apache-2.0
"""Who had a level, and when."""

from __future__ import annotations

import datetime

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels


class HistoryContract(case.ContractCase):
    """:meth:`base.Allocator.history`, and how it is forgotten."""

    def test_history_tells_who_has_and_who_had_the_level(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        first = self.allocator.get(self.uuid)
        assert first.created_at is not None
        [now] = self.allocator.history(first.level)
        self.assertEqual(
            types.Holding(self.uuid, 'p', first.created_at, None), now
        )
        self.allocator.give_back(self.uuid, 'a')
        gone = self.allocator.get(self.uuid).retired_at
        [past] = self.allocator.history(first.level)
        self.assertEqual(
            types.Holding(self.uuid, 'p', first.created_at, gone), past
        )
        # It comes free, and another instance gets it.
        self.warm.tidy()
        self.assertEqual([past], list(self.allocator.history(first.level)))
        other = case.new_uuid()
        self.allocator.adopt(other, 'q', 'b', first.level)
        found = list(self.allocator.history(first.level))
        self.assertEqual([self.uuid, other], [h.instance_uuid for h in found])
        self.assertEqual(past, found[0])
        self.assertIsNone(found[1].until)
        assert found[0].until is not None
        self.assertLessEqual(found[0].until, found[1].since)

    def test_history_of_an_instance_that_a_host_claims_has_no_end(
        self,
    ) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        [now] = self.allocator.history(held.level)
        self.assertIsNone(now.until)

    def test_history_of_a_level_that_no_instance_had_is_empty(self) -> None:
        reserved = levels.Level.parse('s0:c3,c7')
        self.allocator.reserve(reserved, '')
        for level in (
            reserved,
            levels.Level.parse('s0:c3,c8'),
            levels.Level.parse('s0:c900'),
        ):
            self.assertEqual([], list(self.allocator.history(level)))

    def test_history_that_is_asked_for_in_parts_is_complete(self) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.warm.give_back(self.uuid, 'a')
        for number in range(4):
            self.warm.tidy()
            self.wait_a_tick()
            uuid = case.new_uuid()
            self.warm.adopt(uuid, 'p', 'a', level)
            if number < 3:
                self.warm.give_back(uuid, 'a')
        everything = [*self.allocator.history(level)]
        self.assertEqual(5, len(everything))
        for size in range(1, 7):
            found: list[types.Holding] = []
            while True:
                part = self.allocator.history(
                    level, found[-1].since if found else None, size
                )
                found += part
                if len(part) < size:
                    break
            self.assertEqual(everything, found)
        self.assertEqual(
            everything[2:],
            [*self.allocator.history(level, everything[1].since)],
        )

    def test_history_of_an_instance_has_its_levels_and_hosts(self) -> None:
        begin = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.unclaim(self.uuid, 'a')
        other = case.new_uuid()
        self.allocator.acquire(other, 'p', 'c')
        [now] = self.allocator.history(instance_uuid=self.uuid)
        self.assertEqual(begin.level, now.level)
        self.assertEqual(
            [('a', True), ('b', False)],
            [(each.host, each.until is not None) for each in now.claims],
        )
        for each in now.claims:
            assert each.since is not None
            self.assertLessEqual(now.since, each.since)
        # What it was stays known when the level is another instance's.
        self.warm.give_back(self.uuid, 'b')
        self.warm.tidy()
        self.warm.adopt(case.new_uuid(), 'q', 'd', begin.level)
        [past] = self.allocator.history(instance_uuid=self.uuid.upper())
        self.assertEqual(
            (begin.level, ['a', 'b']),
            (past.level, [each.host for each in past.claims]),
        )
        for each in past.claims:
            assert each.until is not None and past.until is not None
            self.assertLessEqual(each.until, past.until)
        self.assertEqual(
            [], self.allocator.history(instance_uuid=case.new_uuid())
        )

    def test_history_of_a_level_has_the_hosts_of_each_instance(self) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.warm.give_back(self.uuid, 'a')
        self.warm.tidy()
        other = case.new_uuid()
        self.wait_a_tick()
        self.warm.adopt(other, 'q', 'b', level)
        self.assertEqual(
            [(self.uuid, ['a']), (other, ['b'])],
            [
                (held.instance_uuid, [each.host for each in held.claims])
                for held in self.allocator.history(level)
            ],
        )

    def test_history_tells_once_of_a_host_that_claims_again_and_again(
        self,
    ) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        for _ in range(4):
            self.allocator.acquire(self.uuid, 'p', 'b')
            self.allocator.unclaim(self.uuid, 'b')
            # A drop that is repeated changes nothing.
            self.allocator.unclaim(self.uuid, 'b')
        self.allocator.unclaim(self.uuid, 'c')
        [now] = self.allocator.history(instance_uuid=self.uuid)
        self.assertEqual(
            [('a', True), ('b', False)],
            [(each.host, each.until is None) for each in now.claims],
        )

    def test_history_of_a_claim_that_is_not_dropped_stays_open(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        again = self.allocator.acquire(self.uuid, 'p', 'b')
        assert again.claims and held.claims
        # It is a drop of an earlier claim than the host has.
        self.allocator.unclaim(self.uuid, 'b', again.claims['b'] - 1)
        self.allocator.give_back(self.uuid, 'a', held.claims['a'] - 1)
        [now] = self.allocator.history(instance_uuid=self.uuid)
        self.assertEqual(
            [('a', None), ('b', None)],
            [(each.host, each.until) for each in now.claims],
        )

    def test_history_of_a_project_comes_in_parts(self) -> None:
        uuids = [case.new_uuid() for _ in range(5)]
        for number, uuid in enumerate(uuids):
            self.warm.acquire(uuid, 'p', 'a')
            if number % 2:
                self.warm.give_back(uuid, 'a')
                self.warm.tidy()
            self.wait_a_tick()
        self.warm.acquire(self.uuid, 'q', 'a')
        everything = [*self.allocator.history(project_id='p')]
        self.assertEqual(uuids, [each.instance_uuid for each in everything])
        for size in range(1, 7):
            found: list[types.Holding] = []
            while True:
                part = self.allocator.history(
                    None,
                    found[-1].since if found else None,
                    size,
                    project_id='p',
                )
                found += part
                if len(part) < size:
                    break
            self.assertEqual(everything, found)

    def test_history_at_a_moment_has_who_held_or_cooled_then(self) -> None:
        patient = self.make(3600)
        level = patient.acquire(self.uuid, 'p', 'a').level
        born = patient.get(self.uuid).created_at
        assert born is not None
        tick = datetime.timedelta(milliseconds=1)
        patient.give_back(self.uuid, 'a')
        gone = patient.get(self.uuid).retired_at
        assert gone is not None
        hour = datetime.timedelta(hours=1)
        for moment, is_found in (
            (born - tick, False),
            (born, True),
            (gone, True),
            (gone + hour - tick, True),
            (gone + hour, False),
        ):
            for frees in (False, True):
                if frees:
                    self.warm.tidy()
                for wanted in (
                    {'level': level},
                    {'instance_uuid': self.uuid},
                    {'project_id': 'p'},
                    {'level': level, 'project_id': 'p'},
                ):
                    found = patient.history(at=moment, **wanted)
                    self.assertEqual(is_found, bool(found), str(wanted))
        self.assertEqual([], patient.history(level, project_id='q', at=born))

    def test_history_of_nothing_in_particular_is_refused(self) -> None:
        self.assertRaises(ValueError, self.allocator.history)
        self.assertRaises(
            ValueError, self.allocator.history, instance_uuid='x'
        )
        self.assertRaises(ValueError, self.allocator.history, project_id='p ')

    def test_history_is_refused_for_what_can_be_no_level(self) -> None:
        self.assertRaises(
            exception.NotInSpace,
            self.allocator.history,
            levels.Level.parse('s0:c0.c7'),
        )

    def test_tidy_forgets_what_is_older_than_the_history_time(self) -> None:
        forgetful = self.make(0, history_time=0)
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.allocator.give_back(self.uuid, 'a')
        self.warm.tidy()
        [past] = self.allocator.history(level)
        self.assertEqual(['a'], [each.host for each in past.claims])
        self.wait_a_tick()
        forgetful.tidy()
        self.assertEqual([], list(self.allocator.history(level)))
        # Nor is it known who claimed the instance, should it come back.
        self.warm.adopt(self.uuid, 'p', 'b', level)
        [now] = self.allocator.history(level)
        self.assertEqual(['b'], [each.host for each in now.claims])
