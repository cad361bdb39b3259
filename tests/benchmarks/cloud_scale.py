# SPDX-License-Identifier: Apache-2.0
"""The allocator at the size of a cloud: a full space, and a week of work.

Two parts, each with a new store, through the allocator's contract alone.

fill: instances are booted until every level is held; one more must be
refused, at once and by SpaceFull, while those that are there can still
reboot and migrate. Then all are deleted, and all levels are free again.

week: the instances of the cloud are booted: 500,000 are 95 % of the levels
there are. Then a week passes, as fast as the store can follow. Of all
instances 2 % a day are deleted and as many booted, 3 % are migrated, 1 %
rebooted; of ten that are deleted one was shelved before, so that its host
drops the claim and the reaper retires it. Each host asks once a day for
what it claims and compares: really it does so every 10 minutes, which
would be ten million calls. Once an hour the store is tidied, and nothing
waits for that.

The store compares cooling levels with its own clock, which knows nothing
of the simulated week. So they cool for as long as an hour of the week takes
here, rounded up to whole seconds: by the rate of the boots on the first
day, by what that day took on the others. About as many cool at once as
would in a cloud where they cool for an hour; the report has both numbers.

The hosts are shared out to client processes. Times are what a client
waits, with the others at work. Every answer is compared with what the
instance had before, and in the end the whole store with what is remembered
of each instance. The store's size is that of its files, with SQLite's log.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import spaces
from tests.benchmarks import simulated_cloud as cloud
from tests.functional.allocator import servers

DAYS = 7
A_DAY = {'delete': 0.02, 'boot': 0.02, 'migrate': 0.03, 'reboot': 0.01}
"""The share of the instances to which it happens in a day."""
AT_ONCE = 10.0
"""Seconds in which a full space must refuse."""

_WHEN_FULL = 100
_CLOCK_SLACK = 0.05


class Report:
    """What was found: printed at once, and kept for --json."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.failures: list[str] = []
        self.data: dict[str, Any] = {
            'options': vars(options),
            'cpus': os.cpu_count(),
            'sqlite': sqlite3.sqlite_version,
            'sqlalchemy': sa.__version__,
            'failures': self.failures,
        }

    def check(self, is_so: bool, text: str) -> None:
        """Note whether something is as it must be."""
        print(f'{"ok    " if is_so else "FAILED"}  {text}', flush=True)
        if not is_so:
            self.failures.append(text)

    def check_answers(self, hosts: Sequence[cloud.Hosts]) -> None:
        """Note whether each answer was as it must be."""
        faults = [fault for part in hosts for fault in part.faults]
        named = ''.join(f'; {fault}' for fault in faults[:10])
        self.check(not faults, f'{len(faults)} answers were wrong{named}')

    def note(self, part: str, name: str, value: Any) -> None:
        """Note a figure."""
        self.data.setdefault(part, {})[name] = value
        shown = format(value, {float: ',.2f', int: ','}.get(type(value), ''))
        print(f'{name.replace("_", " "):24} {shown}', flush=True)

    def table(
        self, part: str, name: str, times: dict[str, Sequence[float]]
    ) -> None:
        """Note times in seconds, a row for each kind of call."""
        found = {kind: _summary(each) for kind, each in times.items() if each}
        self.data.setdefault(part, {})[name] = found
        print(f'\n{name:24}     calls  median ms    p99 ms    max ms')
        for kind, row in found.items():
            print(
                f'{kind:24} {row["calls"]:9,} {row["median_ms"]:10.2f} '
                f'{row["p99_ms"]:9.2f} {row["max_ms"]:9.1f}'
            )
        print(flush=True)


def _summary(times: Sequence[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        'calls': len(ordered),
        'median_ms': ordered[len(ordered) // 2] * 1e3,
        'p99_ms': ordered[int(len(ordered) * 0.99)] * 1e3,
        'max_ms': ordered[-1] * 1e3,
    }


def _times(
    hosts: Sequence[cloud.Hosts], *others: cloud.Meter
) -> dict[str, Sequence[float]]:
    meter = cloud.Meter()
    for other in (*(each.meter for each in hosts), *others):
        meter.add(other)
    return dict(sorted(meter.times.items()))


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[cloud.Access]:
    """A new store, for as long as it is used."""
    durable = not options.not_durable
    if options.store == 'sqlite':
        with tempfile.TemporaryDirectory(dir=options.dir) as directory:
            url = f'sqlite:///{pathlib.Path(directory, "store.sqlite")}'
            yield cloud.Access(url, durable)
        return
    tempfile.tempdir = options.dir
    server = servers.PostgreSQL()
    try:
        yield cloud.Access(server.create_database(), durable)
    finally:
        server.remove()


def _boot(
    report: Report,
    part: str,
    access: cloud.Access,
    options: argparse.Namespace,
    number: int,
) -> list[cloud.Hosts]:
    """Boot instances on all hosts, and note what that took."""
    names = [f'compute-{n}.example.org' for n in range(options.hosts)]
    share, more = divmod(number, options.clients)
    calls = [
        (
            cloud.Hosts(names[n :: options.clients], options.seed + n),
            access,
            share + (n < more),
        )
        for n in range(options.clients)
    ]
    start = time.monotonic()
    hosts = cloud.run(cloud.boot, calls)
    took = time.monotonic() - start
    report.note(part, 'boots', number)
    report.note(part, 'boots_took_s', took)
    report.note(part, 'boots_a_second', number / took)
    report.note(part, 'store_when_booted_MB', access.size())
    report.table(part, 'boot: acquire', _tenths(hosts))
    for each in hosts:
        each.meter = cloud.Meter()
    return hosts


def _tenths(hosts: Sequence[cloud.Hosts]) -> dict[str, Sequence[float]]:
    """What an acquire took, for each tenth of the boots, as they ended."""
    curve = sorted(
        (instance.since, took)
        for part in hosts
        for instance, took in zip(
            part.instances, part.meter.times[cloud.BOOT], strict=True
        )
    )
    times = [took for _, took in curve]
    ends = [len(times) * n // 10 for n in range(11)]
    found: dict[str, Sequence[float]] = {
        f'{10 * n:3} to {10 * n + 10:3} %': times[ends[n] : ends[n + 1]]
        for n in range(10)
    }
    return {**found, 'the last 1,000': times[-1000:]}


def fill(options: argparse.Namespace, report: Report) -> None:
    """Hold every level, be refused one more, and give all back."""
    space = spaces.LevelSpace.parse(options.categories)
    print(f'\nfill: {space.size:,} levels, {options.clients} clients')
    with _opened(options) as access:
        access.make(space)
        hosts = _boot(report, 'fill', access, options, space.size)
        levels = {i.level for part in hosts for i in part.instances}
        report.check(
            len(levels) == space.size,
            f'{len(levels):,} of {space.size:,} levels are held, each once',
        )
        _refuse(report, access, hosts[0])
        start = time.monotonic()
        hosts = cloud.run(cloud.delete_all, [(each, access) for each in hosts])
        took = time.monotonic() - start
        report.note('fill', 'deletes_took_s', took)
        report.note('fill', 'deletes_a_second', space.size / took)
        reaper = _free_again(report, access, space.size)
        report.table('fill', 'when full, and back', _times(hosts, reaper))
        report.check_answers(hosts)


def _refuse(report: Report, access: cloud.Access, hosts: cloud.Hosts) -> None:
    """Ask a full space for more, once before its fill is known."""
    allocator = access.allocator()
    stats = allocator.stats()
    report.check(stats.free == 0, f'no level is free: {stats}')
    for name in ('first_refusal_s', 'second_refusal_s'):
        new = str(uuid.uuid4())
        refused = ''
        start = time.monotonic()
        try:
            allocator.acquire(new, cloud.PROJECTS[0], hosts.names[0])
        except exception.SpaceFull as error:
            refused = str(error)
        took = time.monotonic() - start
        report.note('fill', name, took)
        report.check(
            bool(refused) and took < AT_ONCE, f'one more is refused: {refused}'
        )
    for _ in range(_WHEN_FULL):
        hosts.reboot(allocator)
        hosts.migrate(allocator)


def _free_again(
    report: Report, access: cloud.Access, size: int
) -> cloud.Meter:
    meter = cloud.Meter()
    allocator = access.allocator()
    meter.time('reaper: tidy', allocator.tidy)
    stats = meter.time('operator: stats', allocator.stats)
    report.check(
        stats.free == stats.size == size, f'all levels are free: {stats}'
    )
    left = meter.time('operator: list', allocator.list)
    report.check(not left, f'{len(left)} levels are listed')
    report.note('fill', 'store_when_free_MB', access.size())
    given = allocator.acquire(
        str(uuid.uuid4()), cloud.PROJECTS[0], 'compute-0.example.org'
    )
    report.check(
        given.state is types.State.HELD, f'{given.level} is given out again'
    )
    return meter


def week(options: argparse.Namespace, report: Report) -> None:
    """Boot the instances of a cloud, and let a week pass."""
    space = spaces.LevelSpace.parse(options.categories)
    print(
        f'\nweek: {options.hosts:,} hosts, {options.instances:,} instances, '
        f'{options.instances / space.size:.1%} of {space.size:,} levels, '
        f'{options.clients} clients'
    )
    with _opened(options) as access:
        access.make(space)
        hosts = _boot(report, 'week', access, options, options.instances)
        hosts, meter, cooled = _days(options, report, access, hosts)
        allocator = cooled.allocator()
        stats = meter.time('operator: stats', allocator.stats)
        usage = meter.time('operator: usage', allocator.usage)
        found = meter.time('operator: list', allocator.list)
        report.table('week', 'calls', _times(hosts, meter))
    gone = sum(len(part.deleted) for part in hosts)
    claims = sum(usage.by_host.values())
    report.note('week', 'stats', str(stats))
    report.note('week', 'claims', claims)
    report.note('week', 'levels_freed', gone - (len(found) - stats.held))
    report.check(
        claims == stats.held == options.instances,
        f'{claims:,} claims, {stats.held:,} instances with a level',
    )
    for is_so, text in cloud.judge(hosts, found):
        report.check(is_so, text)
    report.check_answers(hosts)


def _days(
    options: argparse.Namespace,
    report: Report,
    access: cloud.Access,
    hosts: list[cloud.Hosts],
) -> tuple[list[cloud.Hosts], cloud.Meter, cloud.Access]:
    """Let the week pass.

    :returns: the hosts, what the reaper's calls took, and how the store is
        reached at the cooling time of the last days
    """
    a_day = {
        name: share * options.instances / options.clients
        for name, share in A_DAY.items()
    }
    a_day['reconcile'] = options.lists * options.hosts / options.clients
    expected = options.clients * sum(a_day.values()) / 24
    expected /= report.data['week']['boots_a_second']
    meter = cloud.Meter()
    took = 0.0
    coolings: list[int] = []
    seen: list[types.Stats] = []
    for hours in (range(24), range(24, 24 * DAYS)):
        coolings.append(math.ceil(expected))
        cooled = dataclasses.replace(access, cooling=coolings[-1])
        reaper = cloud.Reaper(cooled, hours)
        hosts = cloud.run(
            cloud.live,
            [(each, cooled, hours, a_day) for each in hosts],
            reaper,
        )
        expected = reaper.took / len(hours)
        took += reaper.took
        seen = reaper.seen
        meter.add(reaper.meter)
    calls = sum(map(len, _times(hosts, meter).values()))
    for name, value in {
        'took_s': took,
        'calls': calls,
        'calls_a_second': calls / took,
        'store_at_the_end_MB': access.size(),
        'cooling_time_s': coolings,
        'last_days_hour_s': expected,
        'deletes_an_hour': options.clients * a_day['delete'] / 24,
        'levels_cooling': statistics.mean(each.cooling for each in seen),
        'least_levels_free': min(each.free for each in seen),
    }.items():
        report.note('week', name, value)
    early = cloud.too_early(hosts, min(coolings) - _CLOCK_SLACK)
    report.check(not early, f'{early} levels were given before they cooled')
    return hosts, meter, cooled


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('part', nargs='?', choices=('fill', 'week'), help='default: both')
    add('--store', choices=('sqlite', 'postgresql'), default='sqlite')
    add('--dir', default='/var/tmp', help='where to make the store')
    add('--json', metavar='FILE', help='keep the figures')
    add('--hosts', type=int, default=10_000)
    add('--instances', type=int, default=500_000)
    add('--clients', type=int, default=4, help='processes that call')
    add('--lists', type=float, default=1.0, help='a day, of each host')
    add('--categories', default='c0.c1023', help='less, for a short try')
    add('--seed', type=int, default=1)
    add(
        '--not-durable',
        action='store_true',
        help='SQLite does not wait for the disk: no figure for a store that '
        'is to outlive a loss of power',
    )
    options = parser.parse_args(arguments)
    if options.not_durable and options.store != 'sqlite':
        parser.error('--not-durable is for SQLite')
    if options.hosts < 2 * options.clients:
        parser.error('each client needs two hosts, to migrate between')
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run, print and judge."""
    options = _parse(arguments)
    report = Report(options)
    for part in (fill, week):
        if options.part in (None, part.__name__):
            part(options, report)
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps(report.data, indent=2) + '\n', encoding='utf-8'
        )
    print(f'\n{len(report.failures)} checks failed')
    return 1 if report.failures else 0


if __name__ == '__main__':
    sys.exit(main())
