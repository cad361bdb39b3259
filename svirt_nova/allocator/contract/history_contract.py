# SPDX-License-Identifier: Apache-2.0
"""Who had a level, and when."""

from __future__ import annotations

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
        self.assertEqual(1, len(self.allocator.history(level)))
        self.wait_a_tick()
        forgetful.tidy()
        self.assertEqual([], list(self.allocator.history(level)))
