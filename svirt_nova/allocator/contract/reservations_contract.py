# SPDX-License-Identifier: Apache-2.0
"""Levels that are used by something that is no instance."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels

LEVEL = levels.Level.parse('s0:c3,c7')


class ReservationsContract(case.ContractCase):
    """:meth:`base.Allocator.reserve` and :meth:`base.Allocator.release`."""

    def test_a_reserved_level_is_not_given_out(self) -> None:
        self.assertIsNone(self.allocator.find(LEVEL))
        got = self.allocator.reserve(LEVEL, 'a legacy guest')
        self.assertIs(types.State.RESERVED, got.state)
        self.assertEqual('a legacy guest', got.note)
        self.assertIsNone(got.instance_uuid)
        self.assertEqual(got, self.allocator.reserve(LEVEL, 'a legacy guest'))
        self.assertEqual(got, self.warm.find(LEVEL))
        taken = {
            self.warm.acquire(case.new_uuid(), 'p', 'a').level
            for _ in range(44)
        }
        self.assertNotIn(LEVEL, taken)

    def test_reserve_is_refused_a_level_in_use_until_it_has_cooled(
        self,
    ) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        error = self.assertRaises(
            exception.LevelTaken, self.allocator.reserve, level, ''
        )
        self.assertIn(self.uuid, str(error))
        self.allocator.give_back(self.uuid, 'a')
        self.assertRaises(
            exception.LevelTaken, self.allocator.reserve, level, ''
        )
        self.assertIs(types.State.RESERVED, self.warm.reserve(level, '').state)

    def test_release_makes_a_reserved_level_free(self) -> None:
        self.allocator.reserve(LEVEL, '')
        self.allocator.release(LEVEL)
        self.allocator.release(LEVEL)
        self.assertIsNone(self.allocator.find(LEVEL))
        got = self.allocator.adopt(self.uuid, 'p', 'a', LEVEL)
        self.assertEqual(LEVEL, got.level)

    def test_release_is_refused_the_level_of_an_instance(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        error = self.assertRaises(
            exception.LevelTaken, self.allocator.release, held.level
        )
        self.assertIn(self.uuid, str(error))
        self.assertEqual(held, self.allocator.get(self.uuid))

    def test_levels_outside_the_space_are_refused(self) -> None:
        for text in ('s0', 's0:c1', 's0:c1,c2,c3', 's0:c1,c900', 's0:c0.c7'):
            level = levels.Level.parse(text)
            self.assertRaises(
                exception.NotInSpace, self.allocator.reserve, level, ''
            )
            self.assertRaises(
                exception.NotInSpace, self.allocator.release, level
            )
            self.assertRaises(exception.NotInSpace, self.allocator.find, level)
        self.assertEqual([], self.allocator.list())
