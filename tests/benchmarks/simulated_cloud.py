# SPDX-License-Identifier: Apache-2.0
"""A simulated cloud: what its hosts ask, and what they should get.

Each call is timed. Each answer is compared with what is remembered here,
which knows nothing of how the store came to it.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import itertools
import multiprocessing
import pathlib
import random
import threading
import time
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
from multiprocessing import synchronize
from typing import Any
from typing import TypeVar

import sqlalchemy as sa
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces

Result = TypeVar('Result')

BOOT = 'boot: acquire'
PROJECTS = [f'{number:032x}' for number in range(1000)]

_REAPED = 0.1
_PATIENCE = 600
_HOURS_SEEN = 6

# Of a client process: what it waits at for the others.
_barrier: synchronize.Barrier


class Meter:
    """How long calls took, in seconds, by their kind."""

    def __init__(self) -> None:
        self.times: dict[str, array.array[float]] = {}

    def time(self, kind: str, call: Callable[[], Result]) -> Result:
        """Make a call and note how long it took."""
        start = time.perf_counter()
        result = call()
        took = time.perf_counter() - start
        self.times.setdefault(kind, array.array('d')).append(took)
        return result

    def add(self, other: Meter) -> None:
        """Take in what another one noted."""
        for kind, times in other.times.items():
            self.times.setdefault(kind, array.array('d')).extend(times)


@dataclasses.dataclass(slots=True)
class Instance:
    """What an instance should have.

    :param level: the rank of the level that it got at first
    :param since: when it had it, by the clock that all processes share
    """

    uuid: str
    project: str
    host: str
    level: int
    since: float


class Hosts:
    """Some hosts of the cloud, and the instances that they run.

    It goes from process to process, and therefore has no allocator.

    :param names: of the hosts
    :param seed: of what they do; the levels are not chosen by it
    """

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self.names = names
        self.instances: list[Instance] = []
        self.deleted: list[str] = []
        self.past: list[tuple[int, float, float]] = []
        """The level, begin and end of what deleted instances had."""
        self.meter = Meter()
        self.faults: list[str] = []
        self._random = random.Random(seed)
        self._running: dict[str, set[str]] = {name: set() for name in names}

    def boot(self, allocator: base.Allocator) -> None:
        """Start a new instance on some host."""
        new = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        project = self._random.choice(PROJECTS)
        host = self._random.choice(self.names)
        call = functools.partial(allocator.acquire, new, project, host)
        given = self.meter.time(BOOT, call)
        rank = ranking.rank(given.level.categories)
        now = time.monotonic()
        self.instances.append(Instance(new, project, host, rank, now))
        self._running[host].add(new)

    def delete(self, allocator: base.Allocator) -> None:
        """Delete some instance: on its host, or by way of the reaper."""
        place = self._random.randrange(len(self.instances))
        found = self.instances[place]
        self.instances[place] = self.instances[-1]
        self.instances.pop()
        is_reaped = self._random.random() < _REAPED
        if is_reaped:
            self._unclaim(allocator, 'shelve: unclaim', found)
        # Its level cools from here on, or from a little later.
        end = time.monotonic()
        call = functools.partial(allocator.give_back, found.uuid, found.host)
        if is_reaped:
            call = functools.partial(allocator.retire, found.uuid)
        self.meter.time(
            'reap: retire' if is_reaped else 'delete: give_back', call
        )
        self._running[found.host].discard(found.uuid)
        self.deleted.append(found.uuid)
        self.past.append((found.level, found.since, end))

    def _unclaim(
        self, allocator: base.Allocator, kind: str, found: Instance
    ) -> None:
        call = functools.partial(allocator.unclaim, found.uuid, found.host)
        self.meter.time(kind, call)
        self._running[found.host].discard(found.uuid)

    def migrate(self, allocator: base.Allocator) -> None:
        """Move some instance to another host."""
        found = self._random.choice(self.instances)
        target = self._random.choice(self.names)
        if target == found.host:
            target = self.names[self.names.index(target) - 1]
        self._acquire_again(allocator, 'migrate: acquire', found, target)
        self._unclaim(allocator, 'migrate: unclaim', found)
        found.host = target
        self._running[target].add(found.uuid)

    def reboot(self, allocator: base.Allocator) -> None:
        """Start some instance again where it is."""
        found = self._random.choice(self.instances)
        self._acquire_again(allocator, 'reboot: acquire', found, found.host)

    def _acquire_again(
        self, allocator: base.Allocator, kind: str, found: Instance, host: str
    ) -> None:
        call = functools.partial(
            allocator.acquire, found.uuid, found.project, host
        )
        given = self.meter.time(kind, call)
        if ranking.rank(given.level.categories) != found.level:
            self.faults.append(f'{found.uuid}: another level, at {kind}')
        if {host, found.host} - given.hosts:
            self.faults.append(f'{found.uuid}: a claim is missing, at {kind}')

    def reconcile(self, allocator: base.Allocator) -> None:
        """Compare what some host claims with what it runs."""
        name = self._random.choice(self.names)
        call = functools.partial(allocator.list, host=name)
        claimed = self.meter.time('reconcile: list', call)
        if {each.instance_uuid for each in claimed} != self._running[name]:
            self.faults.append(f'{name}: claims other instances than it runs')

    def events(
        self, hour: int, a_day: Mapping[str, float]
    ) -> Sequence[Callable[[base.Allocator], None]]:
        """What happens in an hour, in an order made by chance.

        :param a_day: how often each of these methods is called in a day
        """
        found: list[Callable[[base.Allocator], None]] = []
        for name, number in a_day.items():
            times = int((hour + 1) * number / 24) - int(hour * number / 24)
            found += [getattr(self, name)] * times
        self._random.shuffle(found)
        return found


@dataclasses.dataclass(frozen=True)
class Access:
    """How a store is reached.

    :param cooling: seconds for which levels cool
    """

    url: str
    durable: bool
    cooling: int = 0

    def _conf(self) -> cfg.ConfigOpts:
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf([], default_config_files=[])
        for group, name, value in (
            ('svirt_database', 'connection', self.url),
            ('svirt_database', 'sqlite_synchronous', self.durable),
            ('svirt', 'cooling_time', self.cooling),
            # Each client would warn that the space fills.
            ('svirt', 'fill_marks', []),
        ):
            conf.set_override(name, value, group)
        return conf

    def make(self, space: spaces.LevelSpace) -> None:
        """Make the store."""
        stores.sync(self._conf(), space)

    def allocator(self) -> base.Allocator:
        """A new client of the store, which knows nothing of it yet."""
        return sql_allocator.SqlAllocator(self._conf())

    def size(self) -> float:
        """How large the store is, in MB."""
        url = sa.make_url(self.url)
        if url.get_backend_name() == 'sqlite':
            files = pathlib.Path(f'{url.database}').parent.iterdir()
            return sum(each.stat().st_size for each in files) / 1e6
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        asked = sa.select(sa.func.pg_database_size(url.database) / 1e6)
        with engine.connect() as connection:
            return float(connection.execute(asked).scalar_one())


def boot(hosts: Hosts, access: Access, number: int) -> Hosts:
    """Boot instances, one after the other."""
    allocator = access.allocator()
    for _ in range(number):
        hosts.boot(allocator)
    return hosts


def delete_all(hosts: Hosts, access: Access) -> Hosts:
    """Delete all instances, one after the other."""
    allocator = access.allocator()
    while hosts.instances:
        hosts.delete(allocator)
    return hosts


def live(
    hosts: Hosts, access: Access, hours: range, a_day: Mapping[str, float]
) -> Hosts:
    """Let hours pass, each when all others have come to it."""
    allocator = access.allocator()
    for hour in hours:
        events = hosts.events(hour, a_day)
        _barrier.wait(_PATIENCE)
        for happen in events:
            happen(allocator)
    _barrier.wait(_PATIENCE)
    return hosts


class Reaper:
    """The service that tidies the store, once in each hour."""

    def __init__(self, access: Access, hours: range) -> None:
        self.took = 0.0
        self.seen: list[types.Stats] = []
        self.meter = Meter()
        self._access = access
        self._hours = hours

    def __call__(self, barrier: synchronize.Barrier) -> None:
        """Let hours pass, as the clients do."""
        allocator = self._access.allocator()
        barrier.wait(_PATIENCE)
        start = time.monotonic()
        for hour in self._hours:
            self.meter.time('reaper: tidy', allocator.tidy)
            barrier.wait(_PATIENCE)
            self.took = time.monotonic() - start
            if hour % _HOURS_SEEN == 0:
                self.seen.append(
                    self.meter.time('operator: stats', allocator.stats)
                )


def _set_barrier(barrier: synchronize.Barrier) -> None:
    global _barrier
    _barrier = barrier


def _guarded(work: Callable[..., Hosts], *arguments: Any) -> Hosts:
    try:
        return work(*arguments)
    except BaseException:
        # Nobody waits for one that has failed.
        _barrier.abort()
        raise


def run(
    work: Callable[..., Hosts],
    calls: Sequence[tuple[Any, ...]],
    beside: Callable[[synchronize.Barrier], None] | None = None,
) -> list[Hosts]:
    """Run something in processes of its own; what it returns.

    :param work: done once for each of the calls, with its arguments
    :param beside: done in this process meanwhile
    """
    # Not by fork: SQLite's locks on a file that is open here would be
    # missing there, and commits would be lost.
    context = multiprocessing.get_context('spawn')
    barrier = context.Barrier(len(calls) + 1)
    with futures.ProcessPoolExecutor(
        len(calls), context, _set_barrier, (barrier,)
    ) as pool:
        running = [pool.submit(_guarded, work, *call) for call in calls]
        try:
            if beside is not None:
                beside(barrier)
        except BaseException as error:
            barrier.abort()
            if not isinstance(error, threading.BrokenBarrierError):
                raise
        # The cause first: the others fail because nobody waits for them.
        for each in sorted(running, key=_is_broken_off):
            each.result()
        return [each.result() for each in running]


def _is_broken_off(one: futures.Future[Hosts]) -> bool:
    return isinstance(one.exception(), threading.BrokenBarrierError)


def too_early(parts: Sequence[Hosts], cooling: float) -> int:
    """How many levels were given again before they had cooled.

    :param cooling: seconds that each must have cooled at least
    """
    holdings: list[tuple[int, float, float]] = []
    for part in parts:
        holdings += part.past
        holdings += [(i.level, i.since, float('inf')) for i in part.instances]
    holdings.sort()
    return sum(
        level == after and since < end + cooling
        for (level, _, end), (after, since, _) in itertools.pairwise(holdings)
    )


def judge(
    parts: Sequence[Hosts], found: Sequence[types.Allocation]
) -> Iterator[tuple[bool, str]]:
    """Compare all that a store has with all that it should have.

    :returns: of each thing whether it is so, and what it is
    """
    should = {
        each.uuid: (each.level, frozenset((each.host,)))
        for part in parts
        for each in part.instances
    }
    levels = [ranking.rank(each.level.categories) for each in found]
    has = {
        each.instance_uuid: (level, each.hosts)
        for each, level in zip(found, levels, strict=True)
        if each.state is types.State.HELD
    }
    yield (
        len(set(levels)) == len(levels),
        f'{len(levels):,} levels are not free, each of them once',
    )
    yield (
        has.keys() == should.keys(),
        f'{len(has):,} instances hold a level, {len(should):,} should',
    )
    wrong = sum(has.get(name) != its for name, its in should.items())
    yield not wrong, f'{wrong} have another level or other claims than theirs'
    deleted = {name for part in parts for name in part.deleted}
    cooling = types.State.COOLING
    cool = {e.instance_uuid for e in found if e.state is cooling}
    yield (
        len(cool) + len(has) == len(found) and cool <= deleted,
        f'{len(cool):,} of {len(deleted):,} deleted ones cool, none holds',
    )
