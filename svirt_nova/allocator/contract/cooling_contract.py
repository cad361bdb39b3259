# SPDX-License-Identifier: Apache-2.0
"""When a level that is given up is free again."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels


class CoolingContract(case.ContractCase):
    """What starts the cooling time, and what its end means."""

    def test_get_and_find_know_retired_and_cooling_levels(self) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        for state in (types.State.RETIRED, types.State.COOLING):
            found = self.allocator.get(self.uuid)
            self.assertIs(state, found.state)
            self.assertEqual(held.level, found.level)
            self.assertEqual(found, self.allocator.find(held.level))
            self.allocator.unclaim(self.uuid, 'a')

    def test_a_level_is_held_until_it_cools(self) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.assertTrue(self.allocator.is_held(level))
        self.allocator.retire(self.uuid)
        self.assertTrue(self.allocator.is_held(level))
        self.allocator.unclaim(self.uuid, 'a')
        self.assertFalse(self.allocator.is_held(level))

    def test_a_level_that_nobody_has_or_can_have_is_not_held(self) -> None:
        for level in ('s0:c1,c2', 's0', 's0:c1000,c1001', 's0:c1.c9'):
            self.assertFalse(self.allocator.is_held(levels.Level.parse(level)))

    def test_cooling_starts_anew_with_the_last_claim_dropped(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.retire(self.uuid)
        retired = self.allocator.get(self.uuid).retired_at
        self.wait_a_tick()
        self.allocator.unclaim(self.uuid, 'a')
        cooling = self.allocator.get(self.uuid)
        self.assertIs(types.State.COOLING, cooling.state)
        assert cooling.retired_at is not None
        assert retired is not None
        self.assertGreater(cooling.retired_at, retired)

    def test_repeated_calls_do_not_restart_cooling(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        cooling = self.allocator.get(self.uuid)
        self.wait_a_tick()
        self.allocator.give_back(self.uuid, 'a')
        self.allocator.retire(self.uuid)
        self.allocator.unclaim(self.uuid, 'a')
        self.assertEqual(cooling, self.allocator.get(self.uuid))

    def test_a_level_that_has_cooled_is_free(self) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        self.allocator.give_back(self.uuid, 'a')
        self.assertEqual(1, self.allocator.stats().cooling)
        self.assertEqual(45, self.warm.stats().free)
        self.assertEqual([], self.warm.list())
        self.assertIsNone(self.warm.find(level))
        self.assertRaises(exception.UnknownInstance, self.warm.get, self.uuid)

    def test_tidy_frees_what_has_cooled_and_no_more(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        held = self.allocator.acquire(case.new_uuid(), 'p', 'a')
        self.allocator.give_back(self.uuid, 'a')
        self.allocator.tidy()
        self.assertIs(types.State.COOLING, self.allocator.get(self.uuid).state)
        self.warm.tidy()
        self.assertEqual([held], self.allocator.list())
