# SPDX-License-Identifier: Apache-2.0
"""What an allocator tells of all levels, and which arguments it takes."""

from __future__ import annotations

from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

State = types.State


class ListingContract(case.ContractCase):
    """Lists, numbers, and arguments of calls."""

    def test_a_list_that_is_asked_for_in_parts_is_complete(self) -> None:
        self.fill(7)
        self.fill(1, 'q', 'b')
        everything = self.allocator.list()
        self.assertEqual(8, len(everything))
        self.assertEqual(everything[:3], self.allocator.list(limit=3))
        self.assertEqual(
            everything[3:6],
            self.allocator.list(after=everything[2].level, limit=3),
        )
        self.assertEqual(
            everything[6:], self.allocator.list(after=everything[5].level)
        )
        self.assertEqual([], self.allocator.list(after=everything[7].level))
        own = [each for each in everything if each.project_id == 'p']
        self.assertEqual(
            own[2:5],
            self.allocator.list(
                project_id='p', host='a', after=own[1].level, limit=3
            ),
        )

    def test_a_list_goes_on_after_a_level_that_is_free(self) -> None:
        first, last = (levels.Level.parse(f's0:c{n},c5') for n in (1, 3))
        for level in (first, last):
            self.allocator.reserve(level, '')
        between = levels.Level.parse('s0:c2,c5')
        [found] = self.allocator.list(after=between)
        self.assertEqual(last, found.level)

    def test_a_list_after_what_can_be_no_level_is_refused(self) -> None:
        self.assertRaises(
            exception.NotInSpace,
            self.allocator.list,
            after=levels.Level.parse('s0:c0.c7'),
        )

    def test_a_list_has_the_levels_that_all_filters_choose(self) -> None:
        held, retired, cooling = self._make_one_of_each()

        def listed(**filters: Any) -> set[str | None]:
            return {
                found.instance_uuid for found in self.allocator.list(**filters)
            }

        self.assertEqual({held, retired, cooling, None}, listed())
        self.assertEqual({held, retired}, listed(host='a'))
        self.assertEqual({retired}, listed(host='b'))
        self.assertEqual({retired, cooling}, listed(project_id='q'))
        self.assertEqual({retired}, listed(host='a', project_id='q'))
        self.assertEqual(set(), listed(host='A'))
        for state, uuid in (
            (State.HELD, held),
            (State.RETIRED, retired),
            (State.COOLING, cooling),
            (State.RESERVED, None),
        ):
            self.assertEqual({uuid}, listed(states=frozenset({state})))
        self.assertEqual(
            {retired, cooling},
            listed(states=frozenset({State.RETIRED, State.COOLING})),
        )
        self.assertEqual(set(), listed(states=frozenset()))

    def test_a_list_is_sorted_by_the_rank_of_levels(self) -> None:
        self.fill(10)
        found = self.allocator.list()
        self.assertEqual(
            sorted(found, key=lambda f: ranking.rank(f.level.categories)),
            found,
        )

    def test_stats_count_the_levels_in_each_state(self) -> None:
        self._make_one_of_each()
        self.assertEqual(
            types.Stats(size=45, held=1, retired=1, cooling=1, reserved=1),
            self.allocator.stats(),
        )
        self.assertEqual(41, self.allocator.stats().free)

    def _make_one_of_each(self) -> tuple[str, str, str]:
        """Three instances: held, retired and cooling; and a reservation."""
        held, retired, cooling = (case.new_uuid() for _ in range(3))
        self.allocator.acquire(held, 'p', 'a')
        self.allocator.acquire(retired, 'q', 'a')
        self.allocator.acquire(retired, 'q', 'b')
        self.allocator.retire(retired)
        self.allocator.acquire(cooling, 'q', 'b')
        self.allocator.give_back(cooling, 'b')
        self.allocator.reserve(self.free_level(), 'kept')
        return held, retired, cooling

    def test_unclaimed_are_held_levels_without_a_claim(self) -> None:
        self._make_one_of_each()
        self.assertEqual([], [*self.allocator.list_unclaimed()])
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.unclaim(self.uuid, 'a')
        self.assertEqual([], [*self.allocator.list_unclaimed()])
        self.allocator.unclaim(self.uuid, 'b')
        found = self.allocator.get(self.uuid)
        [unclaimed] = self.allocator.list_unclaimed()
        self.assertEqual(found, unclaimed)
        self.assertEqual(found.last_claim, unclaimed.last_claim)
        self.allocator.retire(self.uuid)
        self.assertEqual([], [*self.allocator.list_unclaimed()])

    def test_usage_counts_levels_by_project_and_claims_by_host(self) -> None:
        other = case.new_uuid()
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.acquire(self.uuid, 'p', 'b')
        self.allocator.acquire(other, 'q', 'b')
        self.allocator.reserve(self.free_level(), 'kept')
        usage = self.allocator.usage()
        self.assertEqual({'p': 1, 'q': 1}, usage.by_project)
        self.assertEqual({'a': 1, 'b': 2}, usage.by_host)

    def test_usage_names_those_with_the_most_levels(self) -> None:
        for number, name in ((1, 'c'), (3, 'b'), (1, 'a'), (2, 'd')):
            self.fill(number, f'p{name}', f'h{name}')
        usage = self.allocator.usage(3)
        self.assertEqual({'pb': 3, 'pd': 2, 'pa': 1}, usage.by_project)
        self.assertEqual({'hb': 3, 'hd': 2, 'ha': 1}, usage.by_host)

    def test_usage_has_no_rate_within_the_first_hour(self) -> None:
        self.assertIsNone(self.allocator.usage().per_day)
        self.fill(3)
        usage = self.allocator.usage()
        self.assertIsNone(usage.per_day)
        self.assertIsNone(usage.full_at)

    def test_usage_leaves_out_what_has_cooled(self) -> None:
        self.warm.acquire(self.uuid, 'p', 'a')
        self.warm.give_back(self.uuid, 'a')
        self.wait_a_tick()
        self.assertEqual({'p': 1}, self.allocator.usage().by_project)
        self.assertEqual({}, self.warm.usage().by_project)

    def test_arguments_that_are_no_names_are_refused(self) -> None:
        level = levels.Level.parse('s0:c1,c2')
        for call in (
            lambda: self.allocator.acquire('x', 'p', 'a'),
            lambda: self.allocator.acquire(self.uuid, '', 'a'),
            lambda: self.allocator.acquire(self.uuid, 'p' * 256, 'a'),
            lambda: self.allocator.acquire(self.uuid, 'p', 'a\0'),
            lambda: self.allocator.acquire(self.uuid, 'p', '\ud800'),
            lambda: self.allocator.adopt('x', 'p', 'a', level),
            lambda: self.allocator.adopt(self.uuid, 'p', '', level),
            lambda: self.allocator.unclaim('x', 'a'),
            lambda: self.allocator.unclaim(self.uuid, ''),
            lambda: self.allocator.retire('x'),
            lambda: self.allocator.give_back('x', 'a'),
            lambda: self.allocator.give_back(self.uuid, '\n'),
            lambda: self.allocator.reserve(level, 'n' * 256),
        ):
            self.assertRaises(ValueError, call)
        self.assertEqual([], self.allocator.list())
