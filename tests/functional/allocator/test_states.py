# SPDX-License-Identifier: Apache-2.0

import contextlib
import os
import sqlite3

import hypothesis
import testtools
from hypothesis import stateful
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import sql_allocator
from tests.functional.allocator import fixture

# Few names, so that calls meet; fewer levels than instances.
UUIDS = [f'00000000-0000-4000-8000-{n:012}' for n in range(14)]
HOSTS = ['a', 'b', 'c']
COOLING = 3600

# Thousands of commits, of which none has to outlive a power cut.
MEMORY = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None

uuids = st.sampled_from(UUIDS)
hosts = st.sampled_from(HOSTS)


class AllocatorMachine(stateful.RuleBasedStateMachine):
    """The SQL driver against a model of dictionaries.

    Time passes by setting back the times in the store; the store's clock
    itself is the real one.
    """

    def __init__(self):
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.store = fixture.SqliteStore('c0.c4', root=MEMORY)
        self.store.setUp()
        self.stack.callback(self.store.cleanUp)
        self.allocators = [self.store.allocator(COOLING) for _ in range(2)]
        self.space = self.allocators[0].space()
        self.level = {}
        self.claims = {}
        self.retired = {}
        self.reserved = set()
        self.now = 0

    def teardown(self):
        for allocator in self.allocators:
            allocator._store._engine.dispose()
        self.stack.close()

    def is_free(self, uuid):
        return (
            uuid in self.retired
            and not self.claims[uuid]
            and self.now - self.retired[uuid] >= COOLING
        )

    def forget(self, uuid):
        for table in (self.level, self.claims, self.retired):
            table.pop(uuid, None)

    def in_use(self):
        return {
            level
            for uuid, level in self.level.items()
            if not self.is_free(uuid)
        } | self.reserved

    @stateful.rule(n=st.integers(0, 1), uuid=uuids, host=hosts)
    def acquire(self, n, uuid, host):
        taken = self.in_use()
        # What has cooled may come back to who held it, or not: both keep
        # the promise.
        kept = self.level.get(uuid)
        gone = kept is None or self.is_free(uuid)
        try:
            got = self.allocators[n].acquire(uuid, 'p', host)
        except exception.SpaceFull:
            assert gone
            assert len(taken) == self.space.size
            return
        assert host in got.hosts
        assert got.state is types.State.HELD
        if gone:
            assert got.level not in taken
            self.forget(uuid)
            for other in [u for u, v in self.level.items() if v == got.level]:
                assert self.is_free(other)
                self.forget(other)
        else:
            assert got.level == kept
        self.level[uuid] = got.level
        self.claims.setdefault(uuid, set()).add(host)
        self.retired.pop(uuid, None)

    @stateful.rule(n=st.integers(0, 1), uuid=uuids, host=hosts)
    def unclaim(self, n, uuid, host):
        self.allocators[n].unclaim(uuid, host)
        self.model_unclaim(uuid, host)

    def model_unclaim(self, uuid, host):
        if host in self.claims.get(uuid, ()):
            self.claims[uuid].discard(host)
            if uuid in self.retired:
                self.retired[uuid] = self.now

    @stateful.rule(n=st.integers(0, 1), uuid=uuids)
    def retire(self, n, uuid):
        self.allocators[n].retire(uuid)
        if uuid in self.level:
            self.retired.setdefault(uuid, self.now)

    @stateful.rule(n=st.integers(0, 1), uuid=uuids, host=hosts)
    def give_back(self, n, uuid, host):
        self.allocators[n].give_back(uuid, host)
        self.model_unclaim(uuid, host)
        if uuid in self.level:
            self.retired.setdefault(uuid, self.now)

    @stateful.rule(n=st.integers(0, 1), rank=st.integers(0, 9))
    def reserve(self, n, rank):
        level = list(self.space)[rank]
        taken = level in self.in_use() - self.reserved
        try:
            self.allocators[n].reserve(level, 'why')
        except exception.LevelTaken:
            assert taken
            return
        assert not taken
        self.reserved.add(level)
        for other in [u for u, v in self.level.items() if v == level]:
            self.forget(other)

    @stateful.rule(seconds=st.sampled_from([1000, 3000, 4000]))
    def time_passes(self, seconds):
        self.now += seconds
        connection = sqlite3.connect(self.store.path)
        with connection:
            connection.execute(
                'UPDATE allocation SET retired_at = strftime('
                "'%Y-%m-%d %H:%M:%f000', retired_at, ?) "
                'WHERE retired_at IS NOT NULL',
                (f'-{seconds} seconds',),
            )
        connection.close()

    @stateful.rule(n=st.integers(0, 1))
    def process_restarts(self, n):
        self.allocators[n]._store._engine.dispose()
        self.allocators[n] = sql_allocator.SqlAllocator(
            self.allocators[n].conf
        )
        # Opens the store, for the teardown.
        self.allocators[n].space()

    @stateful.invariant()
    def the_store_tells_the_same(self):
        listed = self.allocators[0].list()
        found = {
            (a.instance_uuid, a.level, a.hosts, a.state)
            for a in listed
            if a.instance_uuid is not None
        }
        expected = set()
        for uuid, level in self.level.items():
            if self.is_free(uuid):
                continue
            state = types.State.HELD
            if uuid in self.retired:
                state = types.State.COOLING
                if self.claims[uuid]:
                    state = types.State.RETIRED
            expected.add((uuid, level, frozenset(self.claims[uuid]), state))
        assert found == expected
        assert {
            a.level for a in listed if a.instance_uuid is None
        } == self.reserved

    @stateful.invariant()
    def no_level_contains_another(self):
        held = [a.level for a in self.allocators[1].list()]
        assert not any(
            a.is_comparable(b)
            for n, a in enumerate(held)
            for b in held[n + 1 :]
        )
        stats = self.allocators[1].stats()
        assert stats.size - stats.free == len(held)


class StatesTest(testtools.TestCase):
    """Random walks of calls: 80 walks of 50 calls."""

    time_limit = 600

    def test_random_walks(self):
        stateful.run_state_machine_as_test(
            AllocatorMachine,
            settings=hypothesis.settings(
                max_examples=80,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
