# SPDX-License-Identifier: Apache-2.0
"""Hosts that ask an allocator over a bus that delays, doubles and reorders."""

import collections
import contextlib
import dataclasses
import datetime

from hypothesis import stateful
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import types
from svirt_nova.mcs import spaces
from svirt_nova.virt import own_claims
from tests import quick_store

HOSTS = ['a', 'b', 'c']
UUIDS = [f'00000000-0000-4000-8000-{n:012}' for n in range(4)]
OTHERS = [f'00000000-0000-4000-8000-1{n:011}' for n in range(3)]
"""Instances that take whatever level comes free, on a host without faults."""

SPACE = spaces.LevelSpace.parse('c0.c3')
"""Six levels: one that comes free is soon another instance's."""

COOLING = 3600

# By how often each is tried.
ACTIONS = {
    'begin': 8,
    'end': 6,
    'go_on': 3,
    'list_claims': 4,
    'drop_stale': 4,
    'deliver': 8,
    'look_for_the_gone': 2,
    'retire': 2,
    'restart': 1,
    'time_passes': 2,
    'others_come': 2,
    'others_go': 1,
}
FAULTS = ('none', 'none', 'lost', 'delayed', 'twice')
"""What befalls a call: nothing; its answer is lost; it is done later, and
nobody waits for it; it is done at once and once more later."""


@dataclasses.dataclass(frozen=True)
class Chance:
    """What a step draws.

    :param n: picks among whatever there is at that moment
    :param fault: what befalls the calls that change something
    """

    n: int
    host: str
    uuid: str
    fault: str
    is_adopted: bool


chances = st.builds(
    Chance,
    n=st.integers(0, 2**16),
    host=st.sampled_from(HOSTS),
    uuid=st.sampled_from(UUIDS),
    fault=st.sampled_from(FAULTS),
    is_adopted=st.booleans(),
)


class Host:
    """What a host remembers of its claims."""

    def __init__(self, name):
        self.name = name
        self.restart()

    def restart(self):
        self.own = own_claims.OwnClaims()
        # What the last listing found stale, by instance.
        self.stale = {}


class UnnumberedHost(Host):
    """A host of a release that knows no numbers."""

    def restart(self):
        super().restart()
        self.own = Unnumbered()


class Unnumbered:
    """What such a host remembers: nothing."""

    def to_claim(self, uuid):
        return None

    take = to_claim

    def is_as_listed(self, uuid):
        return True

    def claimed(self, *arguments):
        pass

    listing = listed = put_back = claimed


class LateCalls(stateful.RuleBasedStateMachine):
    """A guest's level is claimed, and nobody else's, whatever arrives when.

    The hosts follow the order that svirt_nova.virt.claims and
    svirt_nova.virt.reconcile have: a guest runs only after its claim was
    answered, and a claim is dropped only after the host was looked at.
    """

    seen = collections.Counter()
    """How often each thing happened."""

    kind = Host

    @stateful.initialize()
    def begin_walk(self):
        self.stack = contextlib.ExitStack()
        self.allocator = self.make()
        self.hosts = {name: self.kind(name) for name in HOSTS}
        # The levels of guests, by host and instance.
        self.guests = {}
        self.gone = set()
        self.late = []
        self.found_gone = []

    def make(self):
        self.now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        store = memory_store.MemoryStore(SPACE, now=lambda: self.now)
        conf = quick_store.make_conf('sqlite://', cooling_time=COOLING)
        return memory.MemoryAllocator(conf, store)

    def pass_time(self, seconds):
        self.now += datetime.timedelta(seconds=seconds)

    def teardown(self):
        if hasattr(self, 'allocator'):
            self.rest()
            self.stack.close()

    @stateful.rule(
        action=st.sampled_from(
            [name for name, often in ACTIONS.items() for _ in range(often)]
        ),
        chance=chances,
    )
    def step(self, action, chance):
        self.host = self.hosts[chance.host]
        if getattr(self, action)(chance) is not False:
            self.seen[action] += 1
        self.pass_time(1)
        self.check()

    # The bus

    def send(self, fault, name, *arguments):
        """Make a call that changes something, over the bus.

        :raises StoreUnreachable: nobody knows whether it was done
        """

        def call():
            return getattr(self.allocator, name)(*arguments)

        if fault in ('delayed', 'twice'):
            self.late.append((name, call))
        if fault == 'delayed':
            raise exception.StoreUnreachable('no answer yet')
        answer = call()
        if fault == 'lost':
            raise exception.StoreUnreachable('the answer was lost')
        return answer

    def deliver(self, chance):
        if not self.late:
            return False
        name, call = self.late.pop(chance.n % len(self.late))
        try:
            call()
        except exception.AllocatorError as error:
            self.seen['late', name, type(error).__name__] += 1
        else:
            self.seen['late', name] += 1

    # What hosts do

    def begin(self, chance):
        """An operation claims, and starts a guest."""
        if chance.uuid in self.gone:
            return False
        self._claim(chance)

    def go_on(self, chance):
        """An operation begins on a host that has the guest."""
        chance = self.of_guest(chance)
        if chance is None:
            return False
        self._claim(chance)

    def of_guest(self, chance):
        """The same chance, but of a guest that runs; None if none does."""
        if not self.guests:
            return None
        host, uuid = sorted(self.guests)[chance.n // 4 % len(self.guests)]
        self.host = self.hosts[host]
        return dataclasses.replace(chance, host=host, uuid=uuid)

    def _claim(self, chance):
        own, uuid = self.host.own, chance.uuid
        levels = {
            level for (_, other), level in self.guests.items() if other == uuid
        }
        number = own.to_claim(uuid)
        arguments = ('acquire', uuid, 'p', chance.host, None)
        if chance.is_adopted and levels:
            arguments = ('adopt', uuid, 'p', chance.host, *levels)
        try:
            try:
                held = self.send(chance.fault, *arguments, number)
            except exception.ClaimOutdated:
                self.seen['outdated'] += 1
                held = self.send('none', *arguments, None)
        except (exception.StoreUnreachable, exception.SpaceFull):
            return
        own.claimed(uuid, number, held.claims.get(chance.host))
        self.guests[chance.host, uuid] = held.level

    def end(self, chance):
        """A guest is gone from a host, or the instance is deleted."""
        chance = self.of_guest(chance)
        if chance is None:
            return False
        del self.guests[chance.host, chance.uuid]
        is_last = all(uuid != chance.uuid for _, uuid in self.guests)
        if is_last and chance.n % 4 == 0:
            self.gone.add(chance.uuid)
        number = self.host.own.take(chance.uuid)
        if number is None:
            found = self.find(chance.uuid)
            if found is None or chance.host not in found.hosts:
                return
            number = found.claims[chance.host]
        self.drop(chance, chance.uuid, number)

    def drop(self, chance, uuid, number):
        if isinstance(self.host, UnnumberedHost):
            number = None
        name = 'give_back' if uuid in self.gone else 'unclaim'
        try:
            self.send(chance.fault, name, uuid, self.host.name, number)
        except exception.StoreUnreachable:
            self.host.own.put_back(uuid, number)

    def find(self, uuid):
        try:
            return self.allocator.get(uuid)
        except exception.UnknownInstance:
            return None

    def list_claims(self, chance):
        """The reconciler of a host lists its claims, and is interrupted."""
        host = self.host
        host.own.listing()
        claimed = {
            found.instance_uuid: found.claims[host.name]
            for found in self.allocator.list(host=host.name)
        }
        host.own.listed(claimed)
        host.stale = {
            uuid: number
            for uuid, number in claimed.items()
            if (host.name, uuid) not in self.guests
        }

    def drop_stale(self, chance):
        """It goes on with what it found, which may have changed."""
        host = self.host
        if not host.stale:
            return False
        uuid = sorted(host.stale)[chance.n % len(host.stale)]
        number = host.stale.pop(uuid)
        # An operation has no guest yet when it claims: only its claim shows
        # that it has begun.
        if host.own.is_as_listed(uuid):
            self.drop(chance, uuid, number)

    def restart(self, chance):
        self.host.restart()

    # What others do

    def look_for_the_gone(self, chance):
        """The reaper lists what no host claims, and asks Nova.

        Nova may be wrong of an instance that has no guest.
        """
        self.found_gone = [
            found
            for found in self.allocator.list(
                states=frozenset({types.State.HELD})
            )
            if not found.hosts and found.instance_uuid in UUIDS
        ]

    def retire(self, chance):
        if not self.found_gone:
            return False
        found = self.found_gone.pop()
        number = found.last_claim
        if self.kind is UnnumberedHost:
            number = None
        with contextlib.suppress(exception.StoreUnreachable):
            self.send(chance.fault, 'retire', found.instance_uuid, number)

    def time_passes(self, chance):
        self.pass_time(COOLING + 400)

    def others_come(self, chance):
        for uuid in OTHERS:
            with contextlib.suppress(exception.SpaceFull):
                self.allocator.acquire(uuid, 'q', 'z')

    def others_go(self, chance):
        for uuid in OTHERS:
            self.allocator.give_back(uuid, 'z')
        self.pass_time(COOLING + 400)

    # What must always hold

    def check(self):
        for (host, uuid), level in self.guests.items():
            found = self.allocator.find(level)
            assert found is not None, f'{level} of {uuid} on {host} is free'
            assert found.instance_uuid == uuid, (uuid, host, found)
            assert host in found.hosts, (uuid, host, found)
            assert found.state is not types.State.COOLING, (host, found)

    def rest(self):
        """What late calls have left is put in order."""
        while self.late:
            self.deliver(Chance(0, 'a', UUIDS[0], 'none', False))
            self.check()
        for host in self.hosts.values():
            self.host = host
            chance = Chance(0, self.host.name, UUIDS[0], 'none', False)
            self.list_claims(chance)
            while self.host.stale:
                self.drop_stale(chance)
        self.check()
        for found in self.allocator.list():
            claims = {h for h, u in self.guests if u == found.instance_uuid}
            if found.instance_uuid in UUIDS:
                assert found.hosts == claims, (found, claims)


class SqlLateCalls(LateCalls):
    """The same on the SQL driver."""

    def make(self):
        self.quick = self.stack.enter_context(quick_store.QuickStore(SPACE))
        return self.quick.make(COOLING)

    def pass_time(self, seconds):
        self.quick.pass_time(seconds)


class UnnumberedLateCalls(LateCalls):
    """Hosts that name no numbers, as former releases."""

    kind = UnnumberedHost
