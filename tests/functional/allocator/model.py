# SPDX-License-Identifier: Apache-2.0
"""The SQL driver and the allocator of dictionaries, asked the same."""

import collections
import contextlib
import dataclasses
import datetime
import itertools

from hypothesis import stateful
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import memory
from svirt_nova.allocator import memory_store
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests import quick_store

# Few names, so that calls meet; and fewer levels than instances.
UUIDS = [f'00000000-0000-4000-8000-{n:012}' for n in range(12)]
HOSTS = ['a', 'b']
PROJECTS = ['p', 'q', 'r', 's']
SPACES = [
    spaces.LevelSpace.parse('c0.c4'),
    spaces.LevelSpace.parse('c3.c7'),
    spaces.LevelSpace.parse('c0.c2', 2, '', 'c10.c12'),
    spaces.LevelSpace.parse('c0.c2', 2, '', 'c11.c13'),
    spaces.LevelSpace.parse('c0.c2,c10.c12', 4),
    spaces.LevelSpace.parse('c20.c23', 3),
]
LEVELS = sorted(
    {level for space in SPACES for level in space}
    | {levels.Level.parse(text) for text in ('s0', 's0:c0', 's0:c0.c7')},
    key=str,
)
MOST_RESERVED = 2
"""Less than a project has levels: all of them cannot be reserved."""

COOLING = 3600
KEPT = 20_700
WAITS = [1000, 3000, 4000, 200_000]
"""Seconds. No sum of these and of the seconds that a walk's steps take comes
near to a time after which something is decided: both clocks decide alike."""

MOST_FILLS = 5  # of a walk: each takes many seconds

CLOSE = datetime.timedelta(seconds=60)
"""How far the two clocks may be apart: as long as a walk may take."""

BORN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

# By how often it is tried.
ACTIONS = {
    'acquire': 8,
    'come_back': 4,
    'fill': 1,
    'empty': 2,
    'adopt': 4,
    'unclaim': 3,
    'retire': 3,
    'give_back': 6,
    'reserve': 3,
    'release': 3,
    'set_space': 2,
    'tidy': 1,
    'time_passes': 6,
    'process_restarts': 1,
    'look': 4,
    'history': 4,
    'filter': 3,
    'usage': 3,
}


@dataclasses.dataclass(frozen=True)
class Chance:
    """What a step draws.

    :param n: picks among whatever there is at that moment
    :param process: which of the two is asked
    :param uuid: an instance
    :param project: its project
    :param host: who claims it
    """

    n: int
    process: int
    uuid: str
    project: str
    host: str


chances = st.builds(
    Chance,
    n=st.integers(0, 2**16),
    process=st.integers(0, 1),
    uuid=st.sampled_from(UUIDS),
    project=st.sampled_from(PROJECTS),
    host=st.sampled_from(HOSTS),
)
filters = st.fixed_dictionaries(
    {},
    optional={
        'host': st.sampled_from(HOSTS),
        'project_id': st.sampled_from(PROJECTS),
        'states': st.frozensets(st.sampled_from(types.State)),
        'after': st.sampled_from(LEVELS),
        'limit': st.integers(0, 5),
    },
)


class Outcome:
    """What a call answered, or the kind of error that it raised."""

    def __init__(self, call):
        self.answer = self.error = None
        try:
            self.answer = call()
        except (exception.SvirtError, ValueError) as error:
            self.error = type(error)


class ModelMachine(stateful.RuleBasedStateMachine):
    """Two processes on an SQLite store, and a model of dictionaries.

    The SQL driver chooses levels by chance, and the model adopts them. Time
    passes by setting back the times in the store, whose clock is the real
    one.
    """

    seen = collections.Counter()
    """How often each thing happened."""

    @stateful.initialize(space=st.sampled_from(SPACES))
    def begin(self, space):
        self.stack = contextlib.ExitStack()
        self.quick = self.stack.enter_context(quick_store.QuickStore(space))
        self.processes = [self.make() for _ in range(2)]
        self.fills = 0
        self.now = BORN
        self.store = memory_store.MemoryStore(space, now=lambda: self.now)
        self.model = memory.MemoryAllocator(self.processes[0].conf, self.store)
        # What to add to the times in the SQL store.
        self.offset = BORN - datetime.datetime.now(datetime.UTC)

    def make(self):
        return self.quick.make(COOLING, history_time=KEPT)

    def teardown(self):
        if hasattr(self, 'stack'):
            self.stack.close()

    # What is the same of both

    def same_time(self, sql, model):
        if sql is None or model is None:
            assert sql is model, (sql, model)
        else:
            assert abs(sql + self.offset - model) < CLOSE, (sql, model)

    def same_allocation(self, sql, model):
        """Check that two allocations are the same, but for the clocks."""
        self.same_time(sql.retired_at, model.retired_at)
        plain = dataclasses.replace(sql, retired_at=model.retired_at)
        assert plain == model, (sql, model)

    def same_list(self, sql, model):
        assert len(sql) == len(model), (sql, model)
        for one, other in zip(sql, model, strict=True):
            self.same_allocation(one, other)

    def both(self, name, *arguments, **options):
        """Make a call of both; what each answered."""
        sql, model = (
            Outcome(lambda a=a: getattr(a, name)(*arguments, **options))
            for a in (self.process, self.model)
        )
        assert sql.error is model.error, (name, sql.error, model.error)
        self.seen[name, sql.error and sql.error.__name__] += 1
        return sql.answer, model.answer

    @stateful.rule(
        action=st.sampled_from(
            [name for name, often in ACTIONS.items() for _ in range(often)]
        ),
        chance=chances,
        chosen=filters,
    )
    def step(self, action, chance, chosen):
        self.process = self.processes[chance.process]
        if action == 'filter':
            self.filter(chosen)
        else:
            getattr(self, action)(chance)
        # No two changes happen at the same time.
        self.wait(1)
        self.check()

    def level(self, chance):
        """A level: of the space, or in use, or any."""
        chosen = (
            [*self.store.space],
            [*self.store.allocations],
            LEVELS,
        )[(0, 0, 1, 1, 2)[chance.n % 5]]
        return (chosen or LEVELS)[chance.n // 5 % len(chosen or LEVELS)]

    def wait(self, seconds):
        passed = datetime.timedelta(seconds=seconds)
        self.now += passed
        self.offset += passed
        self.quick.pass_time(seconds)

    # Calls that change something

    def acquire(self, chance):
        uuid, project, host = chance.uuid, chance.project, chance.host
        known = Outcome(lambda: self.model.get(uuid)).answer
        if known is not None and chance.n % 4:
            project = known.project_id
        sql = Outcome(lambda: self.process.acquire(uuid, project, host))
        if sql.error is not None:
            model = Outcome(lambda: self.model.acquire(uuid, project, host))
            assert sql.error is model.error, (sql.error, model.answer)
            scheme = self.store.space.scheme
            self.seen['acquire', sql.error.__name__, scheme] += 1
            return
        if known is not None:
            self.seen['acquire', 'known'] += 1
            model = self.model.acquire(uuid, project, host)
        elif self.is_revived(found := self.process.get(uuid)):
            self.seen['acquire', 'revived'] += 1
            model = self.revive(found)
        else:
            self.seen['acquire', 'new'] += 1
            model = self.model.adopt(uuid, project, host, sql.answer.level)
        self.same_allocation(sql.answer, model)

    def come_back(self, chance):
        """Acquire for an instance whose level has cooled."""
        gone = [
            past.instance_uuid
            for past in self.store.past
            if self.store.find(past.instance_uuid) is None
        ]
        if gone:
            uuid = gone[-1 - chance.n % 3 % len(gone)]
            self.acquire(dataclasses.replace(chance, uuid=uuid))

    def fill(self, chance):
        """Acquire for all instances: more than most spaces have levels."""
        self.fills += 1
        if self.fills <= MOST_FILLS:
            for uuid in UUIDS:
                self.acquire(dataclasses.replace(chance, uuid=uuid))
                self.wait(1)

    def empty(self, chance):
        """Give back the levels of half of the instances, and let them cool."""
        for uuid in UUIDS[chance.n % 2 :: 2]:
            for host in HOSTS:
                self.both('give_back', uuid, host)
        self.wait(COOLING + 400)
        follow = self.usage if chance.n % 4 < 2 else self.come_back
        follow(chance)

    def is_revived(self, allocation):
        """Whether an instance got the level back that it had before.

        The SQL driver frees a level that has cooled when somebody needs it,
        and the model does at once.
        """
        return allocation.created_at + self.offset < self.now - CLOSE

    def revive(self, allocation):
        """Let the model take back that the level of an instance was freed."""
        assert allocation.level not in self.store.allocations
        uuid = allocation.instance_uuid
        past = [p for p in self.store.past if p.instance_uuid == uuid][-1]
        assert past.level == allocation.level, (past, allocation)
        self.store.past.remove(past)
        self.same_time(allocation.created_at, past.since)
        for host in allocation.hosts:
            self.store.claimed_at[uuid, host] = self.now
        return self.store.put(allocation, created_at=past.since)

    def adopt(self, chance):
        sql, model = self.both(
            'adopt',
            chance.uuid,
            chance.project,
            chance.host,
            self.level(chance),
        )
        if sql is not None:
            self.same_allocation(sql, model)

    def unclaim(self, chance):
        self.both('unclaim', chance.uuid, chance.host)

    def retire(self, chance):
        self.both('retire', chance.uuid)

    def give_back(self, chance):
        self.both('give_back', chance.uuid, chance.host)

    def reserve(self, chance):
        reserved = self.model.list(states=frozenset({types.State.RESERVED}))
        if len(reserved) < MOST_RESERVED:
            sql, model = self.both('reserve', self.level(chance), 'why')
            if sql is not None:
                self.same_allocation(sql, model)

    def release(self, chance):
        reserved = self.model.list(states=frozenset({types.State.RESERVED}))
        level = self.level(chance)
        if reserved and chance.n % 2:
            level = reserved[0].level
        self.both('release', level)

    def set_space(self, chance):
        self.both('set_space', SPACES[chance.n % len(SPACES)])

    def tidy(self, _chance):
        self.both('tidy')

    def time_passes(self, chance):
        self.wait(WAITS[chance.n % len(WAITS)])

    def process_restarts(self, chance):
        self.processes[chance.process] = self.make()

    # Calls that tell something

    def look(self, chance):
        for name, argument in (
            ('get', chance.uuid),
            ('find', self.level(chance)),
        ):
            sql, model = self.both(name, argument)
            if sql is None:
                assert model is None, model
            else:
                self.same_allocation(sql, model)
                self.same_time(sql.created_at, model.created_at)
        for name in ('stats', 'space'):
            sql, model = self.both(name)
            assert sql == model, (sql, model)

    def history(self, chance):
        level = self.level(chance)
        if self.store.past and chance.n % 2:
            level = self.store.past[chance.n // 2 % len(self.store.past)].level
        sql, model = self.both('history', level)
        if sql is None:
            return
        assert len(sql) == len(model), (sql, model)
        for one, other in zip(sql, model, strict=True):
            self.seen['history', 'has ended', one.until is not None] += 1
            for name in ('instance_uuid', 'project_id', 'level', 'hosts'):
                assert getattr(one, name) == getattr(other, name), (one, other)
            self.same_time(one.since, other.since)
            self.same_time(one.until, other.until)

    def filter(self, chosen):
        sql, model = self.both('list', **chosen)
        if sql is not None:
            self.same_list(sql, model)

    def usage(self, chance):
        # A level that has cooled counts as the oldest until it is freed.
        self.tidy(chance)
        sql, model = self.both('usage')
        assert sql.by_project == model.by_project
        assert sql.by_host == model.by_host
        assert (sql.per_day is None) == (model.per_day is None), (sql, model)
        if model.per_day is not None:
            self.seen['usage', 'grows', model.per_day > 0] += 1
            difference = abs(sql.per_day - model.per_day)
            assert difference <= 0.05 * abs(model.per_day), (sql, model)
        assert (sql.full_at is None) == (model.full_at is None)

    # What must always hold

    def check(self):
        held = self.model.list()
        self.same_list(self.process.list(), held)
        for one, other in itertools.permutations(held, 2):
            assert not one.level.is_comparable(other.level)
            if one.project_level is not None and other.project_id is not None:
                # What a project shares is open to no other project.
                assert (one.project_id == other.project_id) or not (
                    one.project_level.categories <= other.level.categories
                ), (one, other)
