# SPDX-License-Identifier: Apache-2.0
"""How the level space is changed under levels that are in use."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces


class SpaceContract(case.ContractCase):
    """:meth:`base.Allocator.set_space`."""

    def test_a_changed_space_gives_out_its_own_levels(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        [kept] = self.fill(1)
        fresh = spaces.LevelSpace.parse('c0.c20', 2, 'c0')
        self.allocator.set_space(fresh)
        # Also by a process that knew the former one.
        for allocator in (self.allocator, self.warm):
            self.assertEqual(fresh, allocator.space())
            for _ in range(20):
                got = allocator.acquire(case.new_uuid(), 'p', 'a')
                self.assertIn(got.level, fresh)
        for before in (held, kept):
            assert before.instance_uuid is not None
            self.assertEqual(
                before, self.warm.acquire(before.instance_uuid, 'p', 'a')
            )
            self.assertEqual(before, self.warm.find(before.level))
        outside = [f for f in (held, kept) if f.level not in fresh]
        stats = self.allocator.stats()
        self.assertEqual(fresh.size, stats.size)
        self.assertEqual(42 - len(outside), stats.held)

    def test_a_process_that_knew_a_full_space_gives_out_the_next_one(
        self,
    ) -> None:
        for fresh in (
            spaces.LevelSpace.parse('c0.c10'),
            spaces.LevelSpace.parse('c30.c39'),
        ):
            self.fill(self.allocator.stats().free)
            self.refuse_new()
            self.warm.set_space(fresh)
            [got] = self.fill(1)
            self.assertIn(got.level, fresh)

    def test_a_process_that_knew_a_former_space_takes_levels_of_the_new_one(
        self,
    ) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.warm.set_space(spaces.LevelSpace.parse('c20.c29'))
        adopted, reserved = (
            levels.Level.parse(text) for text in ('s0:c20,c21', 's0:c22,c23')
        )
        got = self.allocator.adopt(case.new_uuid(), 'p', 'a', adopted)
        self.assertEqual(adopted, got.level)
        self.warm.set_space(spaces.LevelSpace.parse('c22.c31'))
        kept = self.allocator.reserve(reserved, '')
        self.assertEqual(reserved, kept.level)
        self.assertRaises(
            exception.NotInSpace,
            self.allocator.reserve,
            levels.Level.parse('s0:c20,c22'),
            '',
        )

    def test_levels_outside_a_changed_space_stay_in_use(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        reserved = self.allocator.reserve(self.free_level(), 'kept')
        self.warm.set_space(spaces.LevelSpace.parse('c20.c29'))
        for allocator in (self.allocator, self.warm):
            for found in (held, reserved):
                self.assertEqual(found, allocator.find(found.level))
            # What is in use is judged by that alone.
            self.assertEqual(
                reserved, allocator.reserve(reserved.level, 'again')
            )
            self.assertRaises(
                exception.LevelTaken, allocator.reserve, held.level, ''
            )
        self.assertEqual({'p': 1}, self.allocator.usage().by_project)
        self.assertEqual(45, self.allocator.stats().free)
        self.allocator.release(reserved.level)
        self.assertEqual([held], self.allocator.list())
        self.assertRaises(
            exception.NotInSpace, self.allocator.find, reserved.level
        )

    def test_a_space_that_levels_in_use_stand_against_is_refused(
        self,
    ) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        before = self.allocator.space()
        for fresh in (
            spaces.LevelSpace.parse('c0.c9', 1),
            spaces.LevelSpace.parse('c0.c9', 3),
            spaces.LevelSpace.parse('c5.c9', 2, '', 'c0.c4'),
        ):
            error = self.assertRaises(
                exception.InvalidSpace, self.allocator.set_space, fresh
            )
            self.assertIn(str(held.level), str(error))
            self.assertEqual(before, self.allocator.space())
            self.warm.acquire(case.new_uuid(), 'p', 'a')

    def test_a_level_that_would_have_another_projects_part_stands_against_it(
        self,
    ) -> None:
        self.allocator.set_space(spaces.LevelSpace.parse('c0.c9', 4))
        level = levels.Level.parse('s0:c0,c1,c5,c6')
        self.allocator.adopt(self.uuid, 'p', 'a', level)
        fresh = spaces.LevelSpace.parse('c5.c9', 2, '', 'c0.c4')
        self.assertIn(level, fresh)
        error = self.assertRaises(
            exception.InvalidSpace, self.allocator.set_space, fresh
        )
        self.assertIn(str(level), str(error))

    def test_a_reserved_level_of_the_new_space_does_not_stand_against_it(
        self,
    ) -> None:
        self.allocator.set_space(spaces.LevelSpace.parse('c0.c9', 4))
        level = levels.Level.parse('s0:c0,c1,c5,c6')
        reserved = self.allocator.reserve(level, 'a container')
        self.allocator.set_space(
            spaces.LevelSpace.parse('c5.c9', 2, '', 'c0.c4')
        )
        self.assertEqual(reserved, self.allocator.find(level))

    def test_a_reserved_level_stands_against_a_space_as_well(self) -> None:
        level = levels.Level.parse('s0:c3,c7')
        self.allocator.reserve(level, 'a container')
        error = self.assertRaises(
            exception.InvalidSpace,
            self.allocator.set_space,
            spaces.LevelSpace.parse('c0.c9', 3),
        )
        self.assertIn(str(level), str(error))

    def test_a_space_beside_all_levels_in_use_is_taken(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        fresh = spaces.LevelSpace.parse('c20.c29', 2, '', 'c10.c19')
        self.warm.set_space(fresh)
        [got] = self.fill(1)
        self.assertIn(got.level, fresh)
        self.assertEqual(held, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.assertFalse(held.level.is_comparable(got.level))

    def test_a_level_that_has_cooled_stands_against_no_space(self) -> None:
        self.warm.acquire(self.uuid, 'p', 'a')
        self.warm.give_back(self.uuid, 'a')
        self.wait_a_tick()
        triples = spaces.LevelSpace.parse('c0.c9', 3)
        self.warm.set_space(triples)
        self.assertEqual(triples, self.warm.space())

    def test_the_present_space_can_be_set_again(self) -> None:
        [held] = self.fill(1)
        self.allocator.set_space(self.allocator.space())
        self.assertEqual(case.SPACE, self.warm.space())
        self.assertEqual([held], self.allocator.list())
