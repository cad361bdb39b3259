# SPDX-License-Identifier: Apache-2.0
"""What hosts say that they have of an instance, and when it is retired."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case


class ClaimsContract(case.ContractCase):
    """Claims, and what keeps the level of an instance that is gone."""

    def state(self) -> types.State:
        """What the instance's level is doing."""
        return self.allocator.get(self.uuid).state

    def test_unclaim_drops_the_claim_and_keeps_the_level(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.unclaim(self.uuid, 'b')
        self.assertEqual({'a'}, self.allocator.get(self.uuid).hosts)
        self.allocator.unclaim(self.uuid, 'a')
        self.allocator.unclaim(self.uuid, 'a')
        self.assertEqual(frozenset(), self.warm.get(self.uuid).hosts)
        self.assertIs(types.State.HELD, self.state())

    def test_unclaim_keeps_the_claims_of_other_hosts(self) -> None:
        for host in ('a', 'b', 'c'):
            self.allocator.acquire(self.uuid, 'p', host)
        for host, left in (('b', {'a', 'c'}), ('a', {'c'}), ('c', set())):
            self.allocator.unclaim(self.uuid, host)
            self.assertEqual(left, self.allocator.get(self.uuid).hosts)

    def test_a_host_drops_no_claim_but_its_own_however_it_is_called(
        self,
    ) -> None:
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.acquire(self.uuid, 'p', 'd')
        for other in ('a', 'c', 'e', 'B', 'bd'):
            self.allocator.unclaim(self.uuid, other)
            self.assertEqual({'b', 'd'}, self.allocator.get(self.uuid).hosts)
        for other in ('a', 'c', 'e', 'B', 'bd'):
            self.allocator.give_back(self.uuid, other)
            self.assertEqual({'b', 'd'}, self.allocator.get(self.uuid).hosts)

    def test_a_retired_level_that_a_host_claims_is_not_given_out(
        self,
    ) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        self.assertIs(types.State.RETIRED, self.warm.get(self.uuid).state)
        for _ in range(44):
            self.warm.acquire(case.new_uuid(), 'p', 'a')
        self.assertRaises(
            exception.SpaceFull,
            self.warm.acquire,
            case.new_uuid(),
            'p',
            'a',
        )

    def test_retire_without_a_claim_lets_the_level_cool(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.unclaim(self.uuid, 'a')
        self.allocator.retire(self.uuid)
        self.assertIs(types.State.COOLING, self.state())

    def test_give_back_with_another_claim(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.give_back(self.uuid, 'a')
        self.assertIs(types.State.RETIRED, self.state())
        self.allocator.give_back(self.uuid, 'b')
        self.assertIs(types.State.COOLING, self.state())

    def test_a_retired_instance_that_comes_back_keeps_its_level(
        self,
    ) -> None:
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        self.assertEqual(first, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.allocator.give_back(self.uuid, 'a')
        self.assertEqual(first, self.allocator.acquire(self.uuid, 'p', 'a'))
        self.assertIs(types.State.HELD, self.state())

    def test_changes_to_an_unknown_instance_change_nothing(self) -> None:
        self.allocator.unclaim(self.uuid, 'a')
        self.allocator.retire(self.uuid)
        self.allocator.give_back(self.uuid, 'a')
        self.assertEqual([], self.allocator.list())

    def test_get_of_an_unknown_instance_is_refused(self) -> None:
        for name in (self.uuid, 'no uuid', ''):
            self.assertRaises(
                exception.UnknownInstance, self.allocator.get, name
            )
