# SPDX-License-Identifier: Apache-2.0
"""Many processes on one store at once: killed, cut off, and judged.

Each process is a host with instances of its own, some of which it takes
over from others. It writes down what it is about to ask, and each answer
when it has it, with the time. In the end the store must have what they say:
no level held by two at any moment, none lost and, after hosts and reaper
have looked, none leaked.
"""

from __future__ import annotations

import collections
import itertools
import math
import os
import pathlib
import random
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

from oslo_config import cfg

from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels


class Host:
    """What one process does.

    :param allocator: its way to the store
    :param name: its name
    :param log: where it writes
    """

    def __init__(
        self, allocator: base.Allocator, name: str, log: pathlib.Path
    ) -> None:
        self._allocator = allocator
        self._name = name
        # Unbuffered: what is written stays when the process is killed.
        self._out = log.open('ab', buffering=0)
        self._mine: list[str] = []

    def _say(self, *words: object) -> None:
        # Of one clock for all processes.
        line = (*words, time.monotonic())
        self._out.write((' '.join(map(str, line)) + '\n').encode())

    def work(self, operations: int, shared: Sequence[str]) -> None:
        """Do so many operations, chosen by chance."""
        for _ in range(operations):
            chance = random.random()
            if chance < 0.05:
                self._say('sharing', *(instance := [random.choice(shared)]))
                self._answered(instance[0])
            elif self._mine and chance < 0.45:
                self._leave(self._mine.pop(random.randrange(len(self._mine))))
            elif self._mine and chance < 0.55:
                # A repeated call.
                self._answered(random.choice(self._mine))
            else:
                instance_uuid = str(uuid.UUID(int=random.getrandbits(128)))
                self._say('asking', instance_uuid)
                self._answered(instance_uuid)
                self._mine.append(instance_uuid)
        self._say('done')

    def _answered(self, instance: str) -> None:
        held = self._allocator.acquire(instance, 'project', self._name)
        self._say('got', instance, held.level)

    def _leave(self, instance: str) -> None:
        self._say('leaving', instance)
        if random.random() < 0.5:
            self._allocator.give_back(instance, self._name)
        else:
            self._allocator.unclaim(instance, self._name)
            self._allocator.retire(instance)
        self._say('left', instance)


def _views(
    names: Collection[str],
    has: Mapping[str, Collection[str]],
    answers: Mapping[str, Collection[str]],
) -> list[audit.HostView]:
    """What hosts have, each thing at the levels that they were answered.

    :param names: the hosts
    :param has: by instance, the hosts that have it
    """
    instances: dict[str, list[str]] = collections.defaultdict(list)
    for instance, hosts in has.items():
        for host in hosts:
            instances[host].append(instance)
    return [
        audit.HostView(
            name,
            frozenset(instances[name]),
            sights=tuple(
                audit.Sight(instance, 'the answer', levels.Level.parse(level))
                for instance in instances[name]
                for level in answers[instance]
            ),
            requires_claims=True,
        )
        for name in names
    ]


def _nova(
    alive: Collection[str], answers: Mapping[str, Collection[str]]
) -> dict[str, audit.InstanceView]:
    """The instances that live; all others are gone."""
    return {
        instance: audit.InstanceView(
            levels=frozenset(map(levels.Level.parse, answers[instance]))
        )
        for instance in alive
    }


def _assert_none(violations: Collection[audit.Violation]) -> None:
    assert not violations, '; '.join(map(str, violations))


class Storm:
    """Processes at work on a store.

    :param confs: how to reach it, by way of each of its nodes
    :param directory: where their logs are kept
    :param processes: how many work at once
    :param operations: how many all do together
    """

    def __init__(
        self,
        confs: Sequence[Callable[[], cfg.ConfigOpts]],
        directory: pathlib.Path,
        processes: int,
        operations: int,
    ) -> None:
        self._confs = confs
        self._directory = directory
        self._each = operations // processes
        self._processes = processes
        self._living: dict[int, str] = {}
        self._started = 0
        self.killed = 0
        self.seconds = 0.0
        # Instances that many hosts claim: all that may, but not more. Those
        # that replace killed ones share instances of their own.
        self._shared: list[list[str]] = []

    def _start(self) -> None:
        name = f'host-{self._started}'
        if self._started % types.MOST_CLAIMS == 0:
            self._shared.append([str(uuid.uuid4()) for _ in range(5)])
        conf = self._confs[self._started % len(self._confs)]
        self._started += 1
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            self._living[pid] = name
            return
        status = 1
        try:
            random.seed(name + str(time.time()))
            host = Host(
                sql_allocator.SqlAllocator(conf()),
                name,
                self._directory / name,
            )
            host.work(self._each, self._shared[-1])
            status = 0
        except BaseException:  # noqa: BLE001 - the child ends here
            (self._directory / f'{name}.error').write_text(
                traceback.format_exc()
            )
        finally:
            os._exit(status)

    def run(
        self,
        kills: int,
        events: Sequence[Callable[[], None]] = (),
        pause: float = 1.0,
    ) -> None:
        """Let them work until all are done.

        :param kills: how many are killed, and replaced, meanwhile
        :param events: what happens to the store meanwhile
        :param pause: seconds between two of these
        """
        begin = time.monotonic()
        for _ in range(self._processes):
            self._start()
        happening = [*events]
        due = begin + pause
        failed = []
        while self._living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                name = self._living.pop(pid, None)
                if name and not os.WIFSIGNALED(status) and status:
                    failed.append(
                        (self._directory / f'{name}.error').read_text()
                    )
                continue
            if time.monotonic() > due:
                due += pause
                if happening:
                    happening.pop(0)()
                for _ in range(min(kills - self.killed, self._processes // 8)):
                    self._kill_one()
            time.sleep(0.01)
        self.seconds = time.monotonic() - begin
        if failed:
            raise AssertionError(f'{len(failed)} failed: {failed[0]}')
        if happening or self.killed < kills:
            raise AssertionError(
                f'over before it was a storm: {self.killed} killed, '
                f'{len(happening)} events left'
            )

    def _kill_one(self) -> None:
        if self._living:
            os.kill(random.choice([*self._living]), signal.SIGKILL)
            self.killed += 1
            self._start()

    def judge(self, allocator: base.Allocator) -> dict[str, int]:
        """Compare the store with what the hosts wrote.

        :returns: what there was of it
        """
        answers: dict[str, set[str]] = collections.defaultdict(set)
        has: dict[str, set[str]] = collections.defaultdict(set)
        asked = set(itertools.chain(*self._shared))
        known = set()
        begun: dict[str, float] = {}
        ended: dict[str, float] = {}
        unsure = 0
        logs = [p for p in self._directory.glob('host-*') if not p.suffix]
        for log in logs:
            text = log.read_text()
            last = ''
            for line in text[: text.rfind('\n') + 1].splitlines():
                last, *words, text_of_time = line.split()
                moment = float(text_of_time)
                if last == 'asking':
                    asked.add(words[0])
                elif last == 'got':
                    answers[words[0]].add(words[1])
                    has[words[0]].add(log.name)
                    begun.setdefault(words[0], moment)
                elif last == 'leaving':
                    has[words[0]].discard(log.name)
                    ended[words[0]] = moment
                elif last == 'left':
                    known.add(words[0])
            unsure += last in ('asking', 'leaving', 'sharing')
        torn = {i: found for i, found in answers.items() if len(found) > 1}
        assert not torn, f'had two levels: {torn}'
        periods = sorted(
            (
                *given,
                begun[instance],
                math.inf if has[instance] else ended[instance],
            )
            for instance, given in answers.items()
        )
        for (one, _, until), (other, since, _) in itertools.pairwise(periods):
            assert one != other or until < since, f'{one} was held by two'
        allocations = allocator.list()
        held = {found.instance_uuid: found for found in allocations}
        assert held.keys() <= asked, 'a level for an instance of nobody'
        alive = {instance for instance, hosts in has.items() if hosts}
        views = _views([log.name for log in logs], has, answers)
        _assert_none(audit.audit(allocations, views, _nova(alive, answers)))
        for instance in known:
            left = held.get(instance)
            assert has[instance] or left is None or left.retired_at, instance
        leaks = self._settle(allocator, held, has)
        _assert_none(
            audit.audit(
                allocator.list(),
                views,
                _nova(alive, answers),
                is_at_rest=True,
            )
        )
        return {
            'answers': sum(map(len, answers.values())),
            'levels': len({level for level, *_ in periods}),
            'alive': len(alive),
            'killed': self.killed,
            'unanswered': unsure,
            'cleaned up': leaks,
        }

    @staticmethod
    def _settle(
        allocator: base.Allocator,
        held: dict[str | None, types.Allocation],
        has: dict[str, set[str]],
    ) -> int:
        """What reconcilers and reaper do; how much there was to do."""
        number = 0
        for instance, found in held.items():
            assert instance is not None
            for host in found.hosts - has.get(instance, set()):
                allocator.unclaim(instance, host)
                number += 1
            if not has.get(instance) and found.retired_at is None:
                allocator.retire(instance)
                number += 1
        return number
