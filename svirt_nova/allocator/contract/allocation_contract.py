# SPDX-License-Identifier: Apache-2.0
"""Which level an instance gets, and that it keeps it."""

from __future__ import annotations

import concurrent.futures
import datetime

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case
from svirt_nova.mcs import levels


class AllocationContract(case.ContractCase):
    """:meth:`base.Allocator.acquire`, in free and in full spaces."""

    def test_acquire_gives_a_level_of_the_space(self) -> None:
        before = datetime.datetime.now(datetime.UTC)
        got = self.allocator.acquire(self.uuid, 'p', 'a')
        self.assertIn(got.level, self.allocator.space())
        self.assertEqual(self.uuid, got.instance_uuid)
        self.assertEqual('p', got.project_id)
        self.assertEqual({'a'}, got.hosts)
        self.assertIs(types.State.HELD, got.state)
        self.assertIsNone(got.retired_at)
        stored = self.allocator.get(self.uuid)
        self.assertEqual(got, stored)
        assert stored.created_at is not None
        self.assertLess(
            abs(stored.created_at - before), datetime.timedelta(seconds=10)
        )
        self.assertEqual(got, self.allocator.find(got.level))
        self.assertEqual([got], self.allocator.list())

    def test_acquire_again_keeps_the_level(self) -> None:
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        self.assertEqual(first, self.allocator.acquire(self.uuid, 'p', 'a'))
        second = self.allocator.acquire(self.uuid, 'p', 'b')
        self.assertEqual(first.level, second.level)
        self.assertEqual({'a', 'b'}, second.hosts)
        self.assertEqual(second, self.make(3600).get(self.uuid))

    def test_any_spelling_of_a_uuid_names_the_same_instance(self) -> None:
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        again = self.allocator.acquire(self.uuid.upper(), 'p', 'a')
        self.assertEqual(first, again)
        self.assertEqual(first, self.allocator.get(self.uuid.upper()))

    def test_names_that_look_like_keys_of_a_database_are_plain_names(
        self,
    ) -> None:
        for name in ('PRIMARY', "'PRIMARY'", 'allocation_pkey'):
            uuid = case.new_uuid()
            first = self.allocator.acquire(uuid, name, name)
            self.assertEqual(first, self.warm.acquire(uuid, name, name))

    def test_the_whole_space_is_given_out_and_no_level_contains_another(
        self,
    ) -> None:
        got = [found.level for found in self.fill(45)]
        self.assertEqual(45, len(set(got)))
        self.assertFalse(
            [
                (a, b)
                for a in got
                for b in got
                if a is not b and a.is_comparable(b)
            ]
        )

    def test_a_new_instance_in_a_full_space_is_refused(self) -> None:
        self.fill(45)
        error = self.assertRaises(
            exception.SpaceFull, self.allocator.acquire, self.uuid, 'p', 'a'
        )
        self.assertIn('45', str(error))
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )

    def test_an_instance_in_a_full_space_can_move_to_another_host(
        self,
    ) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.fill(44)
        got = self.allocator.acquire(self.uuid, 'p', 'b')
        self.assertEqual({'a', 'b'}, got.hosts)

    def test_instances_keep_their_levels_after_a_full_space_was_met(
        self,
    ) -> None:
        held = [
            self.warm.acquire(case.new_uuid(), 'p', 'a')
            for _ in range(self.warm.space().size)
        ]
        self.assertRaises(
            exception.SpaceFull, self.warm.acquire, self.uuid, 'p', 'a'
        )
        for host in ('a', 'b'):
            for found in held[:5]:
                assert found.instance_uuid is not None
                again = self.warm.acquire(found.instance_uuid, 'p', host)
                self.assertEqual(found.level, again.level)

    def test_a_new_instance_in_a_full_space_gets_a_level_that_has_cooled(
        self,
    ) -> None:
        first = self.allocator.acquire(self.uuid, 'p', 'a')
        self.fill(44)
        self.allocator.give_back(self.uuid, 'a')
        self.refuse_new()
        got = self.warm.acquire(case.new_uuid(), 'p', 'a')
        self.assertEqual(first.level, got.level)
        self.assertEqual(0, self.allocator.stats().free)

    def test_instances_that_are_new_at_once_get_different_levels(
        self,
    ) -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            got = [*pool.map(self._acquire_five, (self.allocator,) * 4)]
        self.assertEqual(20, len({level for part in got for level in part}))
        self.assertEqual(20, self.allocator.stats().held)

    @staticmethod
    def _acquire_five(allocator: base.Allocator) -> list[levels.Level]:
        return [
            allocator.acquire(case.new_uuid(), 'p', 'a').level
            for _ in range(5)
        ]

    def test_hosts_that_acquire_an_instance_at_once_get_one_level(
        self,
    ) -> None:
        hosts = ('a', 'b', 'c', 'd')
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            got = pool.map(
                lambda host: self.allocator.acquire(self.uuid, 'p', host),
                hosts,
            )
            self.assertEqual(1, len({found.level for found in got}))
        self.assertEqual({*hosts}, self.allocator.get(self.uuid).hosts)
