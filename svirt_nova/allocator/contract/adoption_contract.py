# SPDX-License-Identifier: Apache-2.0
"""How the level that a guest runs with already becomes its instance's."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels

LEVEL = levels.Level.parse('s0:c3,c4')


class AdoptionContract(case.ContractCase):
    """:meth:`base.Allocator.adopt`.

    :cvar names_holders: whether a refusal names who has the level. A service
        must not name it to a host, which may have been taken over.
    """

    names_holders = True

    def check_holder(self, holder: str, error: str) -> None:
        """Check that a refusal names who has the level, or does not."""
        check = self.assertIn if self.names_holders else self.assertNotIn
        check(holder, error)

    def refuse(
        self, kind: type[Exception], level: levels.Level, host: str = 'a'
    ) -> str:
        """Check that the instance cannot adopt a level; what is said."""
        return str(
            self.assertRaises(
                kind, self.allocator.adopt, self.uuid, 'p', host, level
            )
        )

    def test_adopt_records_the_level_that_a_guest_has(self) -> None:
        got = self.allocator.adopt(self.uuid, 'p', 'a', LEVEL)
        self.assertEqual(LEVEL, got.level)
        self.assertEqual({'a'}, got.hosts)
        self.assertEqual(got, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.assertEqual(got, self.allocator.adopt(self.uuid, 'p', 'a', LEVEL))
        self.assertEqual(
            {'a', 'b'}, self.allocator.adopt(self.uuid, 'p', 'b', LEVEL).hosts
        )

    def test_adopt_is_refused_the_level_of_another_instance(self) -> None:
        [held] = self.fill(1)
        error = self.refuse(exception.LevelTaken, held.level)
        self.check_holder(str(held.instance_uuid), error)
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )
        self.assertEqual([held], self.allocator.list())

    def test_adopt_is_refused_a_second_level(self) -> None:
        own = self.allocator.acquire(self.uuid, 'p', 'a')
        self.refuse(exception.LevelTaken, self.free_level())
        self.refuse(exception.LevelTaken, self.free_level(), host='b')
        self.assertEqual(own, self.allocator.get(self.uuid))

    def test_adopt_is_refused_a_reserved_level(self) -> None:
        reserved = self.allocator.reserve(LEVEL, 'a container')
        error = self.refuse(exception.LevelTaken, LEVEL)
        self.check_holder('a container', error)
        self.assertEqual([reserved], self.allocator.list())

    def test_adopt_is_refused_a_level_outside_the_space(self) -> None:
        for text in ('s0', 's0:c1', 's0:c1,c2,c3', 's0:c900,c901'):
            self.refuse(exception.NotInSpace, levels.Level.parse(text))
        self.assertEqual([], self.allocator.list())

    def test_adopt_is_refused_a_cooling_level_until_it_has_cooled(
        self,
    ) -> None:
        other = case.new_uuid()
        level = self.allocator.acquire(other, 'p', 'a').level
        self.allocator.give_back(other, 'a')
        self.refuse(exception.LevelTaken, level)
        self.assertEqual(
            level, self.warm.adopt(self.uuid, 'p', 'a', level).level
        )

    def test_adopt_of_its_own_level_holds_a_retired_instance_again(
        self,
    ) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        again = self.allocator.adopt(self.uuid, 'p', 'a', held.level)
        self.assertEqual(held, again)
        self.assertIs(types.State.HELD, self.allocator.get(self.uuid).state)

    def test_an_instance_whose_level_has_cooled_can_adopt_another(
        self,
    ) -> None:
        self.warm.acquire(self.uuid, 'p', 'a')
        self.warm.give_back(self.uuid, 'a')
        self.wait_a_tick()
        got = self.warm.adopt(self.uuid, 'p', 'a', LEVEL)
        self.assertEqual(LEVEL, got.level)
        self.assertEqual([got], self.warm.list())
