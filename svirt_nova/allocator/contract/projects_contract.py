# SPDX-License-Identifier: Apache-2.0
"""The scheme ``project``: the part that all levels of a project have."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

PROJECT_SPACE = case.PROJECT_SPACE


class ProjectsContract(case.ContractCase):
    """How projects come to their parts, share them out, and lose them."""

    def test_all_levels_of_a_project_have_its_part(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        parts: dict[str, object] = {}
        for project in ('p', 'q', 'p', 'q', 'p'):
            allocator = (self.allocator, self.warm)[len(parts) % 2]
            uuid = case.new_uuid()
            got = allocator.acquire(uuid, project, 'a')
            self.assertIn(got.level, PROJECT_SPACE)
            part = PROJECT_SPACE.project_part(got.level)
            self.assertEqual(part, got.project_level)
            self.assertEqual(part, parts.setdefault(project, part))
            self.assertEqual(got, allocator.get(uuid))
            self.assertEqual(got, allocator.acquire(uuid, project, 'a'))
        self.assertNotEqual(parts['p'], parts['q'])

    def test_instance_stays_in_its_project(self) -> None:
        self._check_project(is_retired=False)

    def test_retired_instance_stays_in_its_project(self) -> None:
        self._check_project(is_retired=True)

    def test_instance_stays_in_its_project_in_the_scheme_project(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        self._check_project(is_retired=False)
        # Nobody has come to the part of another project.
        [other] = self.fill(1, 'q')
        before = self.allocator.get(self.uuid)
        self.assertNotEqual(before.project_level, other.project_level)

    def test_instance_whose_level_has_cooled_is_unknown(self) -> None:
        self.warm.acquire(self.uuid, 'p', 'a')
        self.warm.give_back(self.uuid, 'a')
        self.wait_a_tick()
        got = self.warm.acquire(self.uuid, 'q', 'a')
        self.assertEqual('q', got.project_id)
        self.assertEqual({'q': 1}, self.warm.usage().by_project)

    def _check_project(self, *, is_retired: bool) -> None:
        held = self.allocator.acquire(self.uuid, 'p', 'a')
        if is_retired:
            self.allocator.retire(self.uuid)
        before = self.allocator.get(self.uuid)
        number = held.claims.get('a')
        calls: list[tuple[Callable[..., object], type[Exception], Any]] = [
            (self.allocator.acquire, exception.NotAllowed, ()),
            (self.allocator.acquire, exception.NotAllowed, (None, number)),
            # Whoever adopts several levels goes on.
            (self.allocator.adopt, exception.LevelTaken, (held.level,)),
            (self.allocator.adopt, exception.LevelTaken, (held.level, number)),
        ]
        for call, kind, more in calls:
            for host in ('a', 'b'):
                error = self.assertRaises(
                    kind, call, self.uuid, 'q', host, *more
                )
                self.assertIn('of project p', str(error))
        after = self.allocator.get(self.uuid)
        self.assertEqual(before, after)
        self.assertEqual(before.claims, after.claims)

    def test_a_project_gets_all_of_its_levels_and_no_more(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        for project in ('p', 'q'):
            got = {
                found.level
                for found in self.fill(PROJECT_SPACE.per_owner, project)
            }
            self.assertEqual(PROJECT_SPACE.per_owner, len(got))
            self.assertIn(project, self.refuse_new(project))

    def test_a_reserved_level_counts_as_one_of_the_project_with_its_part(
        self,
    ) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        [held] = self.fill(1)
        reserved = next(
            level
            for level in PROJECT_SPACE
            if PROJECT_SPACE.project_part(level) == held.project_level
            and level != held.level
        )
        self.allocator.reserve(reserved, 'a container')
        got = {found.level for found in self.fill(PROJECT_SPACE.per_owner - 2)}
        self.assertNotIn(reserved, got)
        self.assertIn('p', self.refuse_new('p'))

    def test_a_new_project_takes_the_part_of_one_without_levels(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        uuids = {}
        for n in range(PROJECT_SPACE.projects):
            uuids[n] = case.new_uuid()
            self.allocator.acquire(uuids[n], f'p{n}', 'a')
        self.refuse_new('another')
        part = self.allocator.get(uuids[3]).project_level
        self.allocator.give_back(uuids[3], 'a')
        # It cools.
        self.refuse_new('another')
        self.warm.tidy()
        got = self.warm.acquire(self.uuid, 'another', 'a')
        self.assertEqual(part, got.project_level)
        # A process that remembers the former part does not give it out.
        self.refuse_new('p3')

    def test_a_new_project_takes_the_part_of_one_whose_levels_have_cooled(
        self,
    ) -> None:
        self.warm.set_space(PROJECT_SPACE)
        uuids = [case.new_uuid() for _ in range(PROJECT_SPACE.projects)]
        for n, uuid in enumerate(uuids):
            self.warm.acquire(uuid, f'p{n}', 'a')
        for uuid in uuids:
            self.warm.give_back(uuid, 'a')
        self.wait_a_tick()
        got = self.warm.acquire(self.uuid, 'another', 'a')
        self.assertIn(got.level, PROJECT_SPACE)
        self.assertEqual([got], self.warm.list())

    def test_the_last_part_is_found_and_then_the_space_is_full(self) -> None:
        space = spaces.LevelSpace.parse('c0.c9', 2, '', 'c1019.c1023', 3)
        self.allocator.set_space(space)
        allocator = self.make(3600)
        got = {
            allocator.acquire(case.new_uuid(), f'p{n}', 'a').project_level
            for n in range(10)
        }
        self.assertEqual(10, len(got))
        began = time.monotonic()
        self.refuse_new('one more')
        # At once, rather than after as long as a call may take.
        self.assertLess(time.monotonic() - began, 10)

    def test_a_process_that_knew_no_part_left_gives_out_those_of_a_new_space(
        self,
    ) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        for n in range(PROJECT_SPACE.projects):
            self.fill(1, f'p{n}')
        self.refuse_new('another')
        self.warm.set_space(
            spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13,c20')
        )
        [got] = self.fill(1, 'another')
        self.assertIn(got.level, self.warm.space())

    def test_an_instance_keeps_its_level_when_no_part_is_left(self) -> None:
        before = self.allocator.acquire(self.uuid, 'late', 'a')
        self.allocator.set_space(
            spaces.LevelSpace.parse('c10.c19', 2, '', 'c20.c22', 2)
        )
        for n in range(3):
            self.fill(1, f'p{n}')
        after = self.make(3600).acquire(self.uuid, 'late', 'b')
        self.assertEqual(before.level, after.level)
        self.assertEqual({'a', 'b'}, after.hosts)

    def test_a_space_that_lacks_a_projects_part_is_refused(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        [held] = self.fill(1)
        error = self.assertRaises(
            exception.InvalidSpace,
            self.allocator.set_space,
            spaces.LevelSpace.parse('c20.c29', 2, '', 'c30.c39'),
        )
        self.assertIn(str(held.project_level), str(error))
        self.assertEqual(PROJECT_SPACE, self.warm.space())

    def test_adopt_is_refused_the_part_of_another_project(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        [held] = self.fill(1)
        other = next(
            level
            for level in PROJECT_SPACE
            if PROJECT_SPACE.project_part(level) == held.project_level
            and level != held.level
        )
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'q',
            'a',
            other,
        )
        got = self.allocator.adopt(self.uuid, 'p', 'a', other)
        self.assertEqual(held.project_level, got.project_level)

    def test_adopt_is_refused_another_part_than_the_projects(self) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        [held] = self.fill(1)
        other = next(
            level
            for level in PROJECT_SPACE
            if PROJECT_SPACE.project_part(level) != held.project_level
        )
        self.assertRaises(
            exception.LevelTaken,
            self.allocator.adopt,
            self.uuid,
            'p',
            'a',
            other,
        )
        self.assertEqual([held], self.allocator.list())

    def test_adopt_gives_a_project_without_levels_the_part_of_the_guest(
        self,
    ) -> None:
        self.allocator.set_space(PROJECT_SPACE)
        for n, level in enumerate(self._one_level_of_each_part()):
            got = self.allocator.adopt(case.new_uuid(), f'p{n}', 'a', level)
            self.assertEqual(level, got.level)
            self.assertEqual(
                PROJECT_SPACE.project_part(level), got.project_level
            )
            [more] = self.fill(1, f'p{n}')
            self.assertEqual(got.project_level, more.project_level)
        self.refuse_new('another')

    def test_adopt_takes_the_part_of_a_project_whose_levels_have_cooled(
        self,
    ) -> None:
        self.warm.set_space(PROJECT_SPACE)
        first, other, *_ = self._one_level_of_each_part()
        self.warm.adopt(self.uuid, 'p', 'a', first)
        self.warm.give_back(self.uuid, 'a')
        self.wait_a_tick()
        for project, level in (('q', first), ('p', other)):
            got = self.warm.adopt(case.new_uuid(), project, 'a', level)
            self.assertEqual(level, got.level)
            self.assertEqual(project, got.project_id)

    def _one_level_of_each_part(self) -> list[levels.Level]:
        found = {PROJECT_SPACE.project_part(x): x for x in PROJECT_SPACE}
        return [*found.values()]
