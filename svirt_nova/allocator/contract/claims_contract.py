# SPDX-License-Identifier: Apache-2.0
"""What hosts say that they have of an instance, and when it is retired."""

from __future__ import annotations

import concurrent.futures
import threading

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.contract import case

_RACES = 30
"""How often two hosts race in a test."""


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

    def test_instance_is_claimed_by_so_many_hosts_and_no_more(self) -> None:
        level = self.allocator.acquire(self.uuid, 'p', 'a').level
        for number in range(1, types.MOST_CLAIMS):
            self.allocator.acquire(self.uuid, 'p', f'h{number}')
        hosts = self.allocator.get(self.uuid).hosts
        for claim in (
            lambda: self.warm.acquire(self.uuid, 'p', 'z'),
            lambda: self.warm.adopt(self.uuid, 'p', 'z', level),
        ):
            error = self.assertRaises(exception.LimitReached, claim)
            for said in ('z', self.uuid, str(types.MOST_CLAIMS)):
                self.assertIn(said, str(error))
        self.assertEqual(hosts, self.allocator.get(self.uuid).hosts)
        # Those who claim it are answered, and leave room.
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.unclaim(self.uuid, 'h1')
        self.assertIn('z', self.warm.acquire(self.uuid, 'p', 'z').hosts)

    def test_made_up_hosts_take_no_room_from_those_that_nova_lists(
        self,
    ) -> None:
        listed = [f'n{number}' for number in range(types.MOST_CLAIMS + 1)]
        self.allocator.meet_cloud(
            clouds.Cloud(
                'http://nova',
                tuple(
                    clouds.ComputeService(host, case.new_uuid(), True)
                    for host in listed
                ),
            )
        )
        for number in range(types.MOST_CLAIMS):
            self.allocator.acquire(self.uuid, 'p', f'h{number}')
        for host in listed[:-1]:
            self.allocator.acquire(self.uuid, 'p', host)
        for host in ('z', listed[-1]):
            self.assertRaises(
                exception.LimitReached, self.warm.acquire, self.uuid, 'p', host
            )
        self.assertEqual(
            2 * types.MOST_CLAIMS, len(self.allocator.get(self.uuid).hosts)
        )

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

    def test_give_back_of_the_last_claim_retires_the_instance(self) -> None:
        self.allocator.acquire(self.uuid, 'p', 'a')
        for is_last in (True, False):
            told = self.allocator.give_back_last(self.uuid, 'a')
            self.assertIn(told, (is_last, None))
            self.assertIs(types.State.COOLING, self.state())

    def test_give_back_of_one_of_several_claims_retires_nothing(
        self,
    ) -> None:
        for host in ('a', 'b', 'c'):
            self.allocator.acquire(self.uuid, 'p', host)
        for host, left in (
            ('d', {'a', 'b', 'c'}),
            ('a', {'b', 'c'}),
            ('b', {'c'}),
            ('a', {'c'}),
        ):
            self.assertFalse(self.allocator.give_back_last(self.uuid, host))
            self.assertEqual(left, self.allocator.get(self.uuid).hosts)
            self.assertIs(types.State.HELD, self.state())
        # A further claim, too, can be the last one.
        self.allocator.give_back_last(self.uuid, 'c')
        self.assertIs(types.State.COOLING, self.state())

    def test_give_back_without_a_claim_retires_nothing(self) -> None:
        self.allocator.give_back_last(self.uuid, 'a')
        self.allocator.acquire(self.uuid, 'p', 'a')
        self.allocator.unclaim(self.uuid, 'a')
        self.assertFalse(self.allocator.give_back_last(self.uuid, 'a'))
        self.assertIs(types.State.HELD, self.state())

    def test_instance_that_another_host_comes_to_claim_is_not_retired(
        self,
    ) -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for _ in range(_RACES):
                uuid = case.new_uuid()
                self.allocator.acquire(uuid, 'p', 'a')
                begin = threading.Barrier(2)

                def give_back(
                    uuid: str = uuid, begin: threading.Barrier = begin
                ) -> None:
                    begin.wait(30)
                    self.warm.give_back_last(uuid, 'a')

                def acquire(
                    uuid: str = uuid, begin: threading.Barrier = begin
                ) -> types.Allocation:
                    begin.wait(30)
                    return self.allocator.acquire(uuid, 'p', 'b')

                given = pool.submit(give_back)
                got = pool.submit(acquire).result(60)
                given.result(60)
                held = self.allocator.get(uuid)
                self.assertEqual(got.level, held.level)
                self.assertEqual({'b'}, held.hosts)
                self.assertIs(types.State.HELD, held.state)
                self.allocator.give_back(uuid, 'b')
                self.warm.tidy()

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
