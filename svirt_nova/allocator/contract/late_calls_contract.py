# SPDX-License-Identifier: Apache-2.0
"""Calls that come late, twice or out of order change nothing.

Each test is an order of calls in which a host loses the level of its guest
if claims have no numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from svirt_nova import exception
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case


class LateCallsContract(case.ContractCase):
    """What the number of a claim does.

    The levels of :attr:`warm` do not cool: a level that a late call sets free
    is at once another instance's.
    """

    def claim(self, host: str = 'a', number: int | None = None) -> int:
        """Claim the instance; the number of the claim."""
        found = self.warm.acquire(self.uuid, 'p', host, number=number)
        return found.claims[host]

    def claims(self) -> Mapping[str, int]:
        """The claims on the instance, by host."""
        return self.warm.get(self.uuid).claims

    def check_held(self, *hosts: str) -> None:
        """Check that hosts claim the instance, and nobody else its level."""
        found = self.warm.get(self.uuid)
        self.assertEqual(set(hosts), found.hosts)
        self.assertEqual(set(hosts), found.claims.keys())
        self.assertIs(types.State.HELD, found.state)
        self.assertEqual(found, self.warm.find(found.level))

    # Drops

    def test_a_late_unclaim_keeps_a_later_claim(self) -> None:
        number = self.claim()
        self.warm.unclaim(self.uuid, 'a', number)
        self.claim()
        self.warm.unclaim(self.uuid, 'a', number)
        self.warm.retire(self.uuid, number)
        self.check_held('a')

    def test_a_late_give_back_keeps_a_later_claim(self) -> None:
        number = self.claim()
        self.warm.give_back(self.uuid, 'a', number)
        self.claim()
        self.warm.give_back(self.uuid, 'a', number)
        self.check_held('a')

    def test_a_drop_that_was_decided_before_an_operation_changes_nothing(
        self,
    ) -> None:
        """The claim is never dropped in between, as by a reconciler."""
        for drop in (self.warm.unclaim, self.warm.give_back):
            for host in ('a', 'b'):
                number = self.claim(host)
                self.claim(host)
                drop(self.uuid, host, number)
        self.check_held('a', 'b')

    def test_a_late_drop_of_a_further_host_keeps_its_later_claim(
        self,
    ) -> None:
        self.claim('a')
        for drop in (self.warm.unclaim, self.warm.give_back):
            number = self.claim('b')
            drop(self.uuid, 'b', number)
            self.claim('b')
            drop(self.uuid, 'b', number)
            self.check_held('a', 'b')

    def test_a_host_that_named_its_claim_drops_it(self) -> None:
        self.claim('a')
        self.warm.unclaim(self.uuid, 'b', self.claim('b'))
        self.check_held('a')
        self.allocator.give_back(self.uuid, 'a', self.claims()['a'])
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)

    def test_a_drop_names_all_claims_up_to_a_number(self) -> None:
        """The host may have made a later one, without getting an answer."""
        for host in ('a', 'b'):
            self.claim(host)
        for host in ('a', 'b'):
            self.warm.unclaim(self.uuid, host, self.claims()[host] + 1)
        self.assertEqual({}, self.claims())

    def test_a_drop_without_a_number_drops_any_claim(self) -> None:
        for host in ('a', 'b'):
            self.claim(host)
        self.warm.unclaim(self.uuid, 'a')
        self.check_held('b')
        self.allocator.give_back(self.uuid, 'b')
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)

    def test_give_back_of_no_claim_does_not_retire(self) -> None:
        number = self.claim('a')
        self.warm.unclaim(self.uuid, 'a', number)
        self.warm.give_back(self.uuid, 'a', number)
        self.check_held()
        self.claim('b')
        self.warm.give_back(self.uuid, 'a', number)
        self.check_held('b')

    def test_a_late_give_back_of_the_last_claim_is_not_told_to_retire(
        self,
    ) -> None:
        for others in (set(), {'b'}):
            for host in others:
                self.claim(host)
            number = self.claim('a')
            self.claim('a')
            self.assertFalse(self.warm.give_back_last(self.uuid, 'a', number))
            self.check_held('a', *others)
        # As a further claim, too, it is late.
        number = self.claim('b')
        self.warm.unclaim(self.uuid, 'a')
        self.claim('b')
        self.assertFalse(self.warm.give_back_last(self.uuid, 'b', number))
        self.check_held('b')
        told = self.allocator.give_back_last(
            self.uuid, 'b', self.claims()['b']
        )
        self.assertIn(told, (True, None))
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)

    def test_a_retirement_that_a_claim_has_passed_changes_nothing(
        self,
    ) -> None:
        """The reaper saw the instance without a claim, and asked Nova."""
        self.warm.unclaim(self.uuid, 'a', self.claim('a'))
        seen = self.warm.get(self.uuid).last_claim
        self.claim('b')
        self.warm.retire(self.uuid, seen)
        self.check_held('b')
        self.warm.unclaim(self.uuid, 'b', self.claims()['b'])
        self.warm.retire(self.uuid, seen)
        self.check_held()
        self.allocator.retire(
            self.uuid, self.allocator.get(self.uuid).last_claim
        )
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)

    # Claims

    def test_numbers_of_an_instance_grow_whoever_claims(self) -> None:
        found = []
        for host in ('a', 'b', 'a', 'c', 'b', 'b'):
            found.append(self.claim(host))
            self.warm.unclaim(self.uuid, 'c')
        self.assertEqual(sorted(set(found)), found)

    def test_numbers_grow_on_after_a_level_came_free(self) -> None:
        number = self.claim()
        self.warm.give_back(self.uuid, 'a', number)
        self.wait_a_tick()
        self.warm.tidy()
        self.assertEqual([], self.warm.list())
        self.assertGreater(self.claim(), number)

    def test_a_host_chooses_the_number_of_its_claim(self) -> None:
        for number in (1, 7, 2**53, claim_numbers.HIGHEST):
            for host, ahead in (('a', 0), ('b', 1)):
                found = min(number + ahead, claim_numbers.HIGHEST + ahead)
                if found <= claim_numbers.HIGHEST:
                    self.assertEqual(found, self.claim(host, found))
                    self.assertEqual(found, self.claims()[host])
        # There is room for more, where the host names none.
        self.assertGreater(self.claim('b'), claim_numbers.HIGHEST)

    def test_a_claim_with_the_same_number_changes_nothing(self) -> None:
        for host in ('a', 'b'):
            number = self.claim(host)
            self.warm.retire(self.uuid)
            before = self.warm.get(self.uuid)
            again = self.warm.acquire(self.uuid, 'p', host, number=number)
            self.assertEqual(before, again)
            self.assertEqual(before.claims, again.claims)
            again = self.warm.adopt(self.uuid, 'p', host, before.level, number)
            self.assertEqual(before, again)
            self.assertEqual(before, self.warm.get(self.uuid))
            self.claim(host)

    def check_outdated(self, host: str, number: int) -> None:
        """Check that a claim of such a number is refused."""
        before = self.allocator.get(self.uuid)
        for call in (
            lambda: self.allocator.acquire(
                self.uuid, 'p', host, number=number
            ),
            lambda: self.allocator.adopt(
                self.uuid, 'p', host, before.level, number
            ),
        ):
            error = self.assertRaises(exception.ClaimOutdated, call)
            self.assertIn(self.uuid, str(error))
        after = self.allocator.get(self.uuid)
        self.assertEqual(before, after)
        self.assertEqual(before.claims, after.claims)

    def test_a_late_claim_does_not_come_back(self) -> None:
        number = self.claim()
        self.allocator.give_back(self.uuid, 'a', number)
        self.check_outdated('a', number)
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)

    def test_a_late_claim_does_not_take_the_place_of_a_later_one(
        self,
    ) -> None:
        number = self.claim('a')
        later = self.claim('b')
        self.claim('a', later + 2)
        self.check_outdated('a', number)
        self.check_outdated('a', later + 1)
        self.check_outdated('c', later)
        self.assertEqual({'a': later + 2, 'b': later}, self.claims())

    def test_a_claim_that_comes_after_its_drop_is_refused(self) -> None:
        self.claim('a')
        number = self.claim('b')
        for drop in (self.warm.unclaim, self.warm.give_back):
            number += 10
            drop(self.uuid, 'c', number)
            self.check_outdated('c', number)
            self.check_held('a', 'b')

    def test_a_retired_instance_is_claimed_with_a_later_number_only(
        self,
    ) -> None:
        number = self.claim()
        self.allocator.give_back(self.uuid, 'a', number)
        self.claim('a', number + 1)
        self.check_held('a')

    def test_numbers_out_of_bounds_are_refused(self) -> None:
        self.claim()
        level = self.warm.get(self.uuid).level
        names = (self.uuid, 'p', 'a')
        for number in (-1, claim_numbers.HIGHEST + 1, 2**64):
            self.assertRaises(
                ValueError, self.warm.acquire, *names, None, number
            )
            self.assertRaises(
                ValueError, self.warm.adopt, *names, level, number
            )
        for number in (-1, 2**63, 2**64):
            for drop in (self.warm.unclaim, self.warm.give_back):
                self.assertRaises(ValueError, drop, self.uuid, 'a', number)
            self.assertRaises(ValueError, self.warm.retire, self.uuid, number)
        self.check_held('a')

    def test_no_number_keeps_an_instance_from_being_claimed(self) -> None:
        self.claim('a', claim_numbers.HIGHEST)
        self.warm.unclaim(self.uuid, 'evil', 2**63 - 1)
        for host in ('b', 'a'):
            self.warm.unclaim(self.uuid, host, self.claim(host))
        self.check_held()

    def test_lists_have_the_numbers_of_claims(self) -> None:
        self.claim('a')
        self.claim('b')
        claims = self.claims()
        for found in (
            self.warm.list(),
            self.warm.list(host='a'),
            self.warm.list(host='b', limit=1),
        ):
            self.assertEqual([claims], [each.claims for each in found])
            self.assertEqual(
                [claims['b']], [each.last_claim for each in found]
            )

    def test_a_new_claim_has_its_number_in_the_answer(self) -> None:
        acquired = self.warm.acquire(case.new_uuid(), 'p', 'a', number=5)
        # Only now is it known which levels are free.
        adopted = self.warm.adopt(
            case.new_uuid(), 'p', 'a', self.free_level(), 5
        )
        for found in (acquired, adopted):
            self.assertEqual({'a': 5}, found.claims)
            self.assertEqual(5, found.last_claim)
            assert found.instance_uuid is not None
            self.assertEqual(
                {'a': 5}, self.warm.get(found.instance_uuid).claims
            )
