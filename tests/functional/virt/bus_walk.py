# SPDX-License-Identifier: Apache-2.0
"""A random walk of hosts that ask the service over a bus with faults."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.lifecycle import rules
from tests.functional.virt import bus_cloud
from tests.functional.virt.bus_cloud import Host
from tests.functional.virt.bus_cloud import Instance

MOST_INSTANCES = 4
# The host of the instances that take whatever level is free.
_OTHERS = 'z'

# By how often each is tried.
ACTIONS = {
    'boot': 8,
    'reboot': 8,
    'move': 12,
    'fail_to_move': 8,
    'delete': 3,
    'lose_guest': 1,
    'reconcile': 12,
    'restart': 2,
    'reap': 4,
    'retire': 4,
    'wait': 4,
    'cool': 1,
    'others_come': 1,
    'others_go': 2,
}
_ENDING = ('restart', 'lose_guest')
"""Those in which a process ends, and so do the calls that it waits for."""


class Broken(AssertionError):
    """A promise was broken."""


class Walk(bus_cloud.Cloud):
    """What happens there, one thing after the other."""

    def _setUp(self) -> None:
        super()._setUp()
        self.bus.meanwhile = self._meanwhile
        self.bus.came_late = self._came_late
        self._numbered = 0
        self._found_gone: list[types.Allocation] = []
        # Claims that a host has dropped, and not made again.
        self._dropped: set[tuple[str, str]] = set()
        # Those with a higher number than their host knows, which its drops
        # do not reach. The reconciler does.
        self._unknown: set[tuple[str, str]] = set()
        # When the process of each host began.
        self._restarted = dict.fromkeys(self.hosts, 0.0)
        self._is_nested = False

    # The walk

    def step(self) -> None:
        """Do one thing, and judge what there is."""
        self._act()
        self.clock.sleep(self.chance.uniform(0, 20))
        with self.clock.of(0):
            self.bus.deliver()
        self.store_time()
        self.judge()

    def _act(self) -> None:
        name = self.chance.choices([*ACTIONS], [*ACTIONS.values()])[0]
        if self._is_nested and name in _ENDING:
            return
        host = self.hosts[self.chance.choice([*self.hosts])]
        with self.on(host):
            if getattr(self, name)(host) is not False:
                self.bus.seen[name] += 1

    def _meanwhile(self) -> None:
        """Something else happens while a call is under way."""
        if self._is_nested:
            return
        self._is_nested = True
        try:
            self._act()
        finally:
            self._is_nested = False

    def _came_late(
        self, name: str, arguments: dict[str, Any], sent: float
    ) -> None:
        """Expect the claims that late calls may make, until reconciled.

        They are those without a number, and those of a process that has
        ended: the next one does not know that they are under way.
        """
        if name not in ('acquire', 'adopt'):
            return
        host = arguments['host']
        if arguments.get('number') is None:
            self.bus.seen['late claim without a number'] += 1
            self._unknown.add((host, arguments['instance_uuid']))
        elif sent >= self._restarted[host]:
            return
        self._dropped.discard((host, arguments['instance_uuid']))

    # What hosts do

    def _claim(self, host: Host, instance: Instance) -> bool:
        """Claim an instance, and start its guest here; whether it did."""
        self._dropped.discard((host.name, instance.uuid))
        try:
            held = host.claims.claim(instance)
        except exception.AllocatorError as error:
            self.bus.seen[f'{type(error).__name__}'] += 1
            return False
        host.guests[instance.uuid] = held.own
        instance.levels.add(held.own)
        return True

    def _settle(self, host: Host, instance: Instance) -> None:
        """Drop a claim, which stays dropped if its host names its number.

        A host may know a lower number, or have forgotten one that is under
        way; then the reconciler drops the claim.
        """
        own = host.claims.own
        number = own.take(instance.uuid)
        own.put_back(instance.uuid, number)
        present = {
            each.instance_uuid: each.claims.get(host.name, 0)
            for each in self.below[0].list(host=host.name)
        }
        if number is not None and present.get(instance.uuid, 0) > number:
            number = None
        is_dropped = host.claims.settle(instance)
        self.bus.seen['dropped' if is_dropped else 'not dropped'] += 1
        claim = (host.name, instance.uuid)
        if is_dropped and number is not None and claim not in self._unknown:
            self._dropped.add(claim)

    @contextlib.contextmanager
    def _working_on(
        self, instance: Instance, task: str, *hosts: Host
    ) -> Iterator[None]:
        instance.task_state = task
        instance.moving = frozenset(each.name for each in hosts)
        try:
            yield
        finally:
            instance.task_state = None
            instance.moving = frozenset()

    def boot(self, host: Host) -> bool | None:
        """A new instance; where its boot fails, it is deleted at once."""
        if len(self._live()) >= MOST_INSTANCES:
            return False
        self._numbered += 1
        instance = Instance(f'00000000-0000-4000-8000-{self._numbered:012}')
        self.instances[instance.uuid] = instance
        instance.host = host.name
        with self._working_on(instance, 'spawning'):
            if self._claim(host, instance):
                return None
            self._settle(host, instance)
            instance.host = None
        instance.deleted = True
        return None

    def _guest(self) -> tuple[Host, Instance] | None:
        """A host, and an instance there that nothing is being done to."""
        found = [
            each
            for each in self._live()
            if each.host and each.uuid in self.hosts[each.host].guests
        ]
        if not found:
            return None
        instance = self.chance.choice(found)
        return self.hosts[instance.host], instance

    def _other(self, host: Host) -> Host:
        return self.chance.choice(
            [each for each in self.hosts.values() if each is not host]
        )

    def reboot(self, _host: Host) -> bool | None:
        """An operation begins where the instance is."""
        found = self._guest()
        if found is None:
            return False
        host, instance = found
        with self._working_on(instance, 'rebooting_hard'), self.on(host):
            self._claim(host, instance)
        return None

    def move(self, _host: Host) -> bool | None:
        """A live migration to another host."""
        found = self._guest()
        if found is None:
            return False
        host, instance = found
        other = self._other(host)
        with self._working_on(instance, 'migrating', host, other):
            with self.on(other):
                if not self._claim(other, instance):
                    self._settle(other, instance)
                    return None
            del host.guests[instance.uuid]
            instance.host = other.name
            with self.on(host):
                self._settle(host, instance)
        return None

    def fail_to_move(self, _host: Host) -> bool | None:
        """A live migration that is rolled back at its destination."""
        found = self._guest()
        if found is None:
            return False
        host, instance = found
        other = self._other(host)
        with (
            self._working_on(instance, 'migrating', host, other),
            self.on(other),
        ):
            if self._claim(other, instance):
                del other.guests[instance.uuid]
            self._settle(other, instance)
        return None

    def delete(self, _host: Host) -> bool | None:
        """An instance is deleted where it runs."""
        found = self._guest()
        if found is None:
            return False
        host, instance = found
        instance.task_state = rules.DELETING
        del host.guests[instance.uuid]
        with self.on(host):
            self._settle(host, instance)
        instance.deleted = True
        return None

    def lose_guest(self, _host: Host) -> bool | None:
        """nova-compute ends when it has removed a guest that is deleted."""
        found = self._guest()
        if found is None:
            return False
        host, instance = found
        del host.guests[instance.uuid]
        instance.deleted = True
        self.restart(host)
        return None

    def reconcile(self, host: Host) -> None:
        """A host compares its claims with what it has."""
        try:
            host.reconciler.reconcile()
        except exception.SvirtError as error:
            self.bus.seen[f'reconcile: {type(error).__name__}'] += 1

    def restart(self, host: Host) -> None:
        """nova-compute is restarted."""
        host.restart()
        self._restarted[host.name] = self.clock.monotonic()

    # What others do

    def reap(self, _host: Host) -> None:
        """The reaper lists what no host claims, and asks Nova."""
        self._found_gone = [
            each
            for each in self.below[0].list(
                states=frozenset({types.State.HELD})
            )
            if not each.hosts
            and (
                each.instance_uuid not in self.instances
                or self.instances[each.instance_uuid].deleted
            )
        ]

    def retire(self, _host: Host) -> bool | None:
        if not self._found_gone:
            return False
        found = self._found_gone.pop()
        assert found.instance_uuid is not None
        self.below[1].retire(found.instance_uuid, found.last_claim)
        return None

    def wait(self, _host: Host) -> None:
        self.clock.sleep(2 * bus_cloud.GRACE)

    def cool(self, _host: Host) -> None:
        """Levels cool, which takes longer than any message is under way."""
        with self.clock.of(0):
            self.bus.deliver_all()
        self.clock.sleep(bus_cloud.COOLING + 1)
        self.store_time()

    def others_come(self, _host: Host) -> None:
        """Other instances take the levels that are free."""
        for number in range(bus_cloud.SPACE.size):
            uuid = f'00000000-0000-4000-9000-{number:012}'
            with contextlib.suppress(exception.SpaceFull):
                self.below[0].acquire(uuid, 'q', _OTHERS)

    def others_go(self, _host: Host) -> None:
        for each in self.below[1].list(host=_OTHERS):
            assert each.instance_uuid is not None
            self.below[1].give_back(each.instance_uuid, _OTHERS)

    # What must hold

    def judge(self, *, is_at_rest: bool = False) -> None:
        """Judge what there is.

        :raises Broken: a promise is broken
        """
        allocations = self.below[0].list()
        views = [
            audit.HostView(
                host.name,
                frozenset(host.guests),
                tuple(audit.Guest(u, True, True) for u in host.guests),
                tuple(
                    audit.Sight(u, 'the process', level)
                    for u, level in host.guests.items()
                ),
                requires_claims=True,
            )
            for host in self.hosts.values()
        ]
        known = {
            each.uuid: audit.InstanceView(
                frozenset(filter(None, [each.host])),
                is_gone=each.deleted,
                is_busy=each.task_state is not None,
                levels=frozenset(each.levels),
            )
            for each in self.instances.values()
            if not each.deleted
        }
        others = {
            each.instance_uuid: audit.InstanceView(frozenset({_OTHERS}))
            for each in allocations
            if each.instance_uuid and _OTHERS in each.hosts
        }
        found = audit.audit(
            allocations, views, known | others, is_at_rest=is_at_rest
        )
        if found:
            raise Broken('\n'.join(map(str, found)))
        for each in allocations:
            for host in each.hosts:
                if (host, each.instance_uuid) in self._dropped:
                    raise Broken(
                        f'{host} claims {each.instance_uuid} again, whose '
                        f'claim it has dropped'
                    )

    def rest(self) -> None:
        """Let everything end, and see that all levels come free.

        :raises Broken: one does not
        """
        self.bus.is_faulty = False
        self.bus.deliver_all()
        # The outages that hosts remember end.
        self.clock.sleep(2 * bus_cloud.GRACE)
        host, *_ = self.hosts.values()
        while self.delete(host) is not False:
            pass
        for _ in range(2):
            for host in self.hosts.values():
                with self.on(host):
                    self.reconcile(host)
            self.clock.sleep(2 * bus_cloud.GRACE)
        self.judge()
        self.others_go(host)
        self.reap(host)
        while self.retire(host) is not False:
            pass
        self.judge(is_at_rest=True)
        self.clock.sleep(bus_cloud.COOLING + bus_cloud.TICK)
        self.store_time()
        self.below[0].tidy()
        left = self.below[0].list()
        if left:
            raise Broken(f'these levels do not come free: {left}')
