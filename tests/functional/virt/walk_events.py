# SPDX-License-Identifier: Apache-2.0
"""The part of a random walk that befalls it, and that operators do."""

from __future__ import annotations

import contextlib
import random
from types import SimpleNamespace

from svirt_nova import exception
from svirt_nova.lifecycle import reaper
from tests.fakes import level_stores
from tests.fakes import processes as fake_processes
from tests.functional.virt import walk
from tests.functional.virt import walk_users
from tests.functional.virt.walk import need


class Events(walk_users.Users):
    """What goes on, in any order."""

    def operations_go_on(self, chance: walk.Chance) -> None:
        need(any(task.can_go_on for task in self.processes.tasks))
        self.cloud.faults.next.extend(chance.trouble)
        order = random.Random(chance.n)
        left = 1 + chance.n // 7 % walk.LONGEST
        while left > 0:
            pending = [t for t in self.processes.tasks if t.can_go_on]
            if not pending:
                break
            task = order.choice(pending)
            for _ in range(order.randint(1, 8)):
                left -= 1
                self.processes.advance(task)
                if task.is_over or not task.can_go_on:
                    break
            self.check()

    def a_call_comes_late(self, chance: walk.Chance) -> None:
        need(self.cloud.faults.late)
        self.deliver(chance.n)

    def deliver(self, n: int) -> None:
        late = self.cloud.faults.late
        call = late.pop(n % len(late))
        with contextlib.suppress(exception.AllocatorError):
            call()

    def the_store_goes_away(self, chance: walk.Chance) -> None:
        need(not self.cloud.faults.is_away)
        self.cloud.faults.is_away = True

    def the_store_is_back(self, chance: walk.Chance) -> None:
        need(self.cloud.faults.is_away)
        self.cloud.faults.is_away = False

    def crash(self, chance: walk.Chance) -> None:
        need(self.cloud.is_up(chance.host))
        self.end(chance.host, loses_power=chance.one)

    def end(self, host: str, loses_power: bool) -> None:
        self.processes.crash(host)
        self.cloud.computes.pop(host, None)
        if loses_power:
            self.cloud.hosts[host].lose_power()

    def files_cannot_be_deleted(self, chance: walk.Chance) -> None:
        self.cloud.hosts[chance.host].cannot_delete = True

    def restart(self, chance: walk.Chance) -> None:
        if chance.one and self.cloud.is_up(chance.host):
            self.end(chance.host, loses_power=chance.two)
        self.start(chance.host)

    def start(self, host: str) -> None:
        """Begin to start nova-compute."""
        need(not self.cloud.is_up(host))
        need(all(task.host != host for task in self.processes.tasks))
        self.cloud.hosts[host].cannot_delete = False

        def work() -> None:
            self.cloud.restart(host)
            self.processes.down.discard(host)

        self.begin(work, host=host)

    def reconcile(self, chance: walk.Chance) -> None:
        host = self.up(chance)
        if chance.two:
            # What it finds stale now is stale for the grace time below.
            self.wait(walk.INTERVAL)
            self.begin(self.cloud.reconcile_if_due, host, host=host)
            self.run_to_end(self.processes.tasks[-1])
            self.wait(walk.GRACE)
        self.wait(walk.INTERVAL)
        need(self.cloud.is_up(host))
        self.begin(self.cloud.reconcile_if_due, host, host=host)

    def clean_up(self, chance: walk.Chance) -> None:
        host = self.up(chance)
        self.begin(self.cloud.clean, host, host=host)

    def run_to_end(self, task: fake_processes.Task) -> None:
        while not task.is_over and task.can_go_on:
            self.processes.advance(task)

    def an_operator_fences(self, chance: walk.Chance) -> None:
        self.end(chance.host, loses_power=True)
        self.cloud.fence(chance.host)

    def an_operator_tidies(self, chance: walk.Chance) -> None:
        self.cloud.tidy(chance.host, self.processes.is_busy_with)

    def an_operator_resets(self, chance: walk.Chance) -> None:
        stuck = [
            instance
            for instance in self.cloud.database.records()
            if instance.task_state is not None and self.is_stuck(instance)
        ]
        need(stuck)
        instance = stuck[chance.n % len(stuck)]
        self.cloud.reset(instance.uuid)
        if instance.queued_for_delete:
            self.ask('delete', instance.uuid)

    def is_stuck(self, instance: SimpleNamespace) -> bool:
        return not self.processes.is_busy_with(instance.uuid) and (
            instance.host is None or self.cloud.is_up(instance.host)
        )

    def the_reaper_asks(self, chance: walk.Chance) -> None:
        need(not self.reaps)
        client = self.cloud.client()
        # What crashes leave hides so many of few controls.
        needs_controls = chance.n % 3 == 0

        def work() -> None:
            try:
                if not needs_controls:
                    self.cloud.allocator.meet_cloud(self.cloud.check())
                found = reaper.find(
                    client,
                    self.cloud,
                    sleep=lambda seconds: self.sleep(),
                    needs_controls=needs_controls,
                )
                self.found = found or self.found
            finally:
                self.reaps = False

        self.reaps = True
        self.begin(work)

    def sleep(self) -> None:
        """Let others go on, for several steps."""
        for _ in range(3):
            self.processes.reach('the reaper sleeps')

    def the_reaper_retires(self, chance: walk.Chance) -> None:
        """What it found, maybe long ago and maybe not for the first time."""
        need(self.found)
        self.begin(reaper.retire, self.cloud.client(), self.found)

    def time_passes(self, chance: walk.Chance) -> None:
        self.wait((300, 700, level_stores.COOLING + 1)[chance.n % 3])
