# SPDX-License-Identifier: Apache-2.0
"""When a level that is given up is free again."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case


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
