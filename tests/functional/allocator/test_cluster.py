# SPDX-License-Identifier: Apache-2.0
"""Random walks of a whole cloud on the real allocator.

``SVIRT_NOVA_CLUSTER_STEPS`` says how many steps at least (default: 5,000).
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import os
import sqlite3
from typing import Any

import hypothesis
import testtools
from hypothesis import stateful
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import spaces
from tests import quick_store
from tests.functional.allocator import cluster

IS_LONG = 'SVIRT_NOVA_CLUSTER_STEPS' in os.environ
STEPS = int(os.environ.get('SVIRT_NOVA_CLUSTER_STEPS', '5000'))
WALK = 100
TRIES = 200
HOSTS = ('a', 'b', 'c')
COOLING = 3600
# 28 levels: few enough to run out of and to be given out again.
SPACE = spaces.LevelSpace.parse('c0.c7')

# By how often it is tried.
ACTIONS = {
    'operations_go_on': 40,
    'boot': 8,
    'spawn_again': 5,
    'reboot': 6,
    'delete': 4,
    'shelve': 5,
    'resize': 8,
    'confirm_or_revert': 10,
    'live_migrate': 12,
    'evacuate': 6,
    'archive': 1,
    'a_call_comes_late': 4,
    'crash': 2,
    'files_cannot_be_deleted': 1,
    'restart': 4,
    'reconcile': 4,
    'an_operator_fences': 1,
    'an_operator_tidies': 2,
    'the_reaper_asks': 3,
    'the_reaper_retires': 2,
    'time_passes': 4,
}


class NothingToDo(Exception):
    """An action cannot be done now."""


def need(condition: Any) -> None:
    """Skip an action; assume() would give up the whole walk."""
    if not condition:
        raise NothingToDo


@dataclasses.dataclass(frozen=True)
class Chance:
    """What a step draws: who, where, how, and what goes wrong.

    :param n: picks among whatever there is at that moment
    :param host: a host's name
    :param one: one thing that may be so or not
    :param two: another
    :param trouble: what befalls the next calls of the allocator
    """

    n: int
    host: str
    one: bool
    two: bool
    trouble: list[str]


chances = st.builds(
    Chance,
    n=st.integers(0, 2**16),
    host=st.sampled_from(HOSTS),
    one=st.booleans(),
    two=st.booleans(),
    trouble=st.lists(
        st.sampled_from(('none',) * 6 + cluster.FAULTS), max_size=3
    ),
)


class CloudMachine(stateful.RuleBasedStateMachine):
    """Nova, its hosts, the reaper and the operator, in any order."""

    done: collections.Counter[str] = collections.Counter()
    """How often each action could be done."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.store = self.stack.enter_context(quick_store.QuickStore(SPACE))
        self.allocator = self.store.make(COOLING)
        self.cloud = cluster.Cloud(self.allocator, HOSTS)
        for patch in self.cloud.patches():
            self.stack.enter_context(patch)
        self.found: list[Any] = []

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.stack.close()

    # Picking

    def pick(self, chance: Chance, *states: str, up: bool = True) -> Any:
        """A live instance in one of the states that nothing is done to."""
        found = [
            i
            for i in self.cloud.instances.values()
            if i.is_live
            and i.task_state is None
            and i.vm_state in states
            and (i.host or i.vm_state not in ('active', 'resized'))
            and not self.cloud.has_operation(i.uuid)
            and (i.host is None or self.cloud.hosts[i.host].is_up == up)
        ]
        need(found)
        return found[chance.n % len(found)]

    def up(self, chance: Chance, *but: str | None) -> str:
        """A host that is up and is not one of those."""
        found = [
            name
            for name, host in self.cloud.hosts.items()
            if host.is_up and name not in but
        ]
        need(found)
        return found[HOSTS.index(chance.host) % len(found)]

    def need_up(self, *names: str) -> None:
        need(all(self.cloud.hosts[n].is_up for n in names))

    @stateful.rule(
        action=st.sampled_from(
            [name for name, often in ACTIONS.items() for _ in range(often)]
        ),
        chance=chances,
    )
    def step(self, action: str, chance: Chance) -> None:
        self.cloud.faults.clear()
        try:
            getattr(self, action)(chance)
        except NothingToDo:
            return
        # The faults that nobody met are not for the checks.
        self.cloud.faults.clear()
        self.done[action] += 1
        self.check()

    # Operations of Nova

    def boot(self, chance: Chance) -> None:
        host = self.up(chance)
        number = len(self.cloud.instances)
        instance = cluster.Instance(f'00000000-0000-4000-8000-{number:012}')
        self.cloud.instances[instance.uuid] = instance
        self.cloud.spawn(instance, host, chance.one and chance.two)

    def spawn_again(self, chance: Chance) -> None:
        instance = self.pick(chance, 'shelved_offloaded', 'error')
        need(instance.host is None)
        self.cloud.spawn(instance, self.up(chance), chance.one)

    def reboot(self, chance: Chance) -> None:
        instance = self.pick(chance, 'active')
        self.cloud.reboot(instance)

    def delete(self, chance: Chance) -> None:
        self.cloud.delete(
            self.pick(
                chance,
                'active',
                'error',
                'resized',
                'shelved_offloaded',
                'building',
                up=chance.one or chance.two,
            )
        )

    def shelve(self, chance: Chance) -> None:
        self.cloud.shelve(self.pick(chance, 'active'))

    def resize(self, chance: Chance) -> None:
        instance = self.pick(chance, 'active')
        need(not instance.old_host)
        self.cloud.resize(instance, self.up(chance, instance.host))

    def confirm_or_revert(self, chance: Chance) -> None:
        instance = self.pick(chance, 'resized')
        need(instance.old_host)
        self.need_up(instance.old_host)
        if chance.one:
            self.cloud.revert(instance)
        else:
            self.cloud.confirm(instance)

    def live_migrate(self, chance: Chance) -> None:
        instance = self.pick(chance, 'active')
        need(not instance.old_host)
        need('domain' in self.cloud.hosts[instance.host].left[instance.uuid])
        self.cloud.live_migrate(
            instance,
            self.up(chance, instance.host),
            fails=chance.one and chance.n % 2 == 0,
            is_told=chance.two,
        )

    def evacuate(self, chance: Chance) -> None:
        instance = self.pick(chance, 'active', 'resized', up=False)
        need(instance.host)
        self.cloud.evacuate(instance, self.up(chance, instance.host))

    def archive(self, chance: Chance) -> None:
        gone = [i for i in self.cloud.instances.values() if i.deleted]
        need(gone)
        gone[chance.n % len(gone)].is_archived = True

    # What goes on, in any order

    def operations_go_on(self, chance: Chance) -> None:
        need(self.cloud.operations)
        self.cloud.faults.extend(chance.trouble)
        for n in range(1 + chance.n // 7 % 4):
            pending = self.cloud.operations
            if pending:
                self.cloud.advance(pending[(chance.n + n) % len(pending)])

    def a_call_comes_late(self, chance: Chance) -> None:
        need(self.cloud.late)
        self.deliver(chance.n)

    def deliver(self, n: int) -> None:
        call = self.cloud.late.pop(n % len(self.cloud.late))
        with contextlib.suppress(exception.SpaceFull):
            self.cloud.call(*call)

    def crash(self, chance: Chance) -> None:
        self.need_up(chance.host)
        self.cloud.crash(chance.host)

    def files_cannot_be_deleted(self, chance: Chance) -> None:
        self.cloud.hosts[chance.host].cannot_delete = True

    def restart(self, chance: Chance) -> None:
        if chance.one:
            self.cloud.crash(chance.host)
        need(not self.cloud.hosts[chance.host].is_up)
        self.cloud.restart(chance.host)
        self.reconcile(chance)

    def reconcile(self, chance: Chance) -> None:
        self.need_up(chance.host)
        if chance.two:
            # What it finds stale now is stale for the grace time below.
            self.cloud.reconcile(chance.host)
            self.wait(cluster.GRACE)
        self.cloud.faults.extend(chance.trouble)
        self.cloud.reconcile(chance.host)

    def an_operator_fences(self, chance: Chance) -> None:
        self.cloud.replace(chance.host)

    def an_operator_tidies(self, chance: Chance) -> None:
        self.cloud.tidy(chance.host)

    def the_reaper_asks(self, chance: Chance) -> None:
        self.cloud.faults.extend(chance.trouble)

        def sleep(_seconds: float) -> None:
            for operation in self.cloud.operations[:2]:
                self.cloud.advance(operation)

        with contextlib.suppress(exception.SvirtError):
            self.found = reaper.find(
                cluster.Calls(self.cloud, None), self.cloud, sleep=sleep
            )

    def the_reaper_retires(self, chance: Chance) -> None:
        """What it found, maybe long ago and maybe not for the first time."""
        need(self.found)
        self.cloud.faults.extend(chance.trouble)
        with contextlib.suppress(exception.SvirtError):
            reaper.retire(cluster.Calls(self.cloud, None), self.found)

    def time_passes(self, chance: Chance) -> None:
        self.wait((300, 700, COOLING + 1)[chance.n % 3])

    def wait(self, seconds: int) -> None:
        """Set back the times in the store, whose clock is the real one."""
        self.cloud.now += seconds
        connection = sqlite3.connect(self.store.path)
        with connection:
            connection.execute(
                'UPDATE allocation SET retired_at = strftime('
                "'%Y-%m-%d %H:%M:%f000', retired_at, ?) "
                'WHERE retired_at IS NOT NULL',
                (f'-{seconds} seconds',),
            )
        connection.close()

    # What must always hold

    def check(self) -> None:
        listed = self.allocator.list()
        for one, other in itertools.combinations(listed, 2):
            assert not one.level.is_comparable(other.level)
        held = {a.instance_uuid: a for a in listed}
        for instance in self.cloud.instances.values():
            if not instance.is_live or instance.level is None:
                continue
            assert instance.uuid in held, 'released though Nova has it'
            assert held[instance.uuid].level == instance.level
            assert held[instance.uuid].state is types.State.HELD
        for host in self.cloud.hosts.values():
            for uuid, left in host.left.items():
                if left:
                    assert uuid in held, f'released; {host.name} has it'
                    assert host.name in held[uuid].hosts, 'not claimed'
                    assert held[uuid].level == self.level_of(uuid)

    def level_of(self, uuid: str) -> Any:
        return self.cloud.instances[uuid].level

    def come_to_rest(self) -> None:
        """All goes on without trouble, and then nothing may have leaked."""
        cloud = self.cloud
        while cloud.late:
            self.deliver(0)
        self.run_out()
        for name in HOSTS:
            # Also those that are up: nothing else takes up a deletion
            # whose other host went away.
            cloud.crash(name)
            cloud.restart(name)
            self.run_out()
        for name in HOSTS:
            # The reaper trusts no Nova that shows nothing that is claimed.
            cloud.tidy(name)
        for _ in range(2):
            for name in HOSTS:
                cloud.reconcile(name)
            self.wait(cluster.GRACE + 1)
        for name in HOSTS:
            cloud.reconcile(name)
        reaper.retire(
            self.allocator,
            reaper.find(self.allocator, cloud, sleep=lambda _seconds: None),
        )
        self.wait(COOLING + 1)
        for allocation in self.allocator.list():
            uuid = allocation.instance_uuid
            instance = cloud.instances[uuid]
            having = {n for n in HOSTS if cloud.hosts[n].has(uuid)}
            assert having or not instance.deleted, 'leaked'
            # Files that its host does not show may be on shared storage.
            homes = (
                set()
                if instance.deleted
                else {instance.host, instance.old_host}
            )
            assert having <= allocation.hosts, 'a claim is missing'
            assert allocation.hosts <= having | homes, 'a claim leaked'
        self.check()

    def run_out(self) -> None:
        while self.cloud.operations:
            self.cloud.advance(self.cloud.operations[0])
            self.check()


class ClusterTest(testtools.TestCase):
    time_limit = 600

    def test_random_walks(self) -> None:
        done = CloudMachine.done
        done.clear()
        while done.total() < STEPS:
            missing = STEPS - done.total()
            stateful.run_state_machine_as_test(
                CloudMachine,
                settings=hypothesis.settings(
                    max_examples=max(5, min(200, missing // WALK)),
                    stateful_step_count=TRIES,
                    deadline=None,
                    database=None,
                    # The same walks each time, but for the long run: what
                    # that finds is not the fault of the change at hand.
                    derandomize=not IS_LONG,
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )
        if IS_LONG:
            print(f'{done.total()} steps: {dict(done.most_common())}')
        # What never happens would check nothing.
        self.assertEqual([], [name for name in ACTIONS if not done[name]])
