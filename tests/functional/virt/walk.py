# SPDX-License-Identifier: Apache-2.0
"""A random walk of a whole cloud: what can be done next, by whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from tests.fakes import allocators
from tests.fakes import cloud as fake_cloud
from tests.fakes import level_stores
from tests.fakes import processes as fake_processes
from tests.fakes import storage as fake_storage
from tests.fakes import views

HOSTS = ('a', 'b', 'c')
GRACE = 600
INTERVAL = 60
"""In seconds, between two reconciliations of a host."""

LONGEST = 120
"""How many steps operations go on by at most, at once."""


class NothingToDo(Exception):
    """An action cannot be done now."""


def need(condition: Any) -> None:
    """Skip an action; assume() would give up the whole walk."""
    if not condition:
        raise NothingToDo


@dataclasses.dataclass(frozen=True)
class Chance:
    """What an action draws: who, where, how, and what goes wrong.

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

    @property
    def is_bad(self) -> bool:
        """Whether something fails that seldom does."""
        return self.n % 8 == 7


chances = st.builds(
    Chance,
    n=st.integers(0, 2**16),
    host=st.sampled_from(HOSTS),
    one=st.booleans(),
    two=st.booleans(),
    trouble=st.lists(
        st.sampled_from(('none',) * 12 + allocators.FAULTS), max_size=3
    ),
)


class Walk:
    """A cloud, and what can be done in it.

    :param levels: the store of its levels
    :param is_shared: whether its hosts share the instances' directories
    """

    def __init__(
        self, levels: level_stores.LevelStore, is_shared: bool
    ) -> None:
        self.levels = levels
        self.processes = fake_processes.TakingTurns()
        self.processes.down.update(HOSTS)
        self.cloud = fake_cloud.Cloud(
            fake_storage.Memory(),
            levels.allocator,
            self.processes,
            self.processes,
            HOSTS,
            is_shared,
        )
        self.found: list[types.Allocation] = []
        self.reaps = False
        self.number = 0

    # Picking

    def pick(
        self, chance: Chance, *states: str, up: bool = True
    ) -> SimpleNamespace:
        """A live instance in one of the states that nothing is done to."""
        found = [
            instance
            for instance in self.cloud.database.records()
            if instance.vm_state in states
            and instance.task_state is None
            and self.cloud.is_live(instance.uuid)
            and not self.processes.is_busy_with(instance.uuid)
            and (
                instance.host is None or self.cloud.is_up(instance.host) == up
            )
        ]
        need(found)
        return found[chance.n % len(found)]

    def pick_at_home(
        self, chance: Chance, *states: str, up: bool = True
    ) -> SimpleNamespace:
        """The same, of those that have a host."""
        instance = self.pick(chance, *states, up=up)
        need(instance.host)
        return instance

    def up(self, chance: Chance, *but: str | None) -> str:
        """A host that is up and is not one of those."""
        found = [n for n in HOSTS if self.cloud.is_up(n) and n not in but]
        need(found)
        return found[HOSTS.index(chance.host) % len(found)]

    def begin(
        self,
        work: Callable[..., Any],
        *args: Any,
        subject: str | None = None,
        host: str | None = None,
    ) -> None:
        """Have a process begin to do something."""
        self.processes.start(host, lambda: work(*args), subject)

    def ask(self, name: str, uuid: str, *args: Any) -> None:
        """Ask Nova to do something to an instance."""
        method = getattr(self.cloud.api, name)
        self.begin(method, uuid, *args, subject=uuid)

    def wait(self, seconds: int) -> None:
        self.cloud.now += seconds
        self.levels.pass_time(seconds)

    # What must always hold

    def check(self, is_at_rest: bool = False) -> None:
        allocations = self.cloud.allocator.list()
        found = audit.audit(
            allocations,
            views.of_hosts(self.cloud, allocations),
            views.of_instances(self.cloud, self.processes.is_busy_with),
            is_at_rest=is_at_rest,
        )
        if found:
            raise AssertionError('; '.join(map(str, found)))
