# SPDX-License-Identifier: Apache-2.0
"""A store with levels that changed hands, and how lines are judged by it."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import zoneinfo

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.denials import holders
from svirt_nova.denials import line_reader
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.unit.cmd import fake

SPACE = spaces.LevelSpace.parse('c0.c1023')


def moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


NOW = moment('2026-12-01T00:00:00')
TERMS = holders.Terms(
    now=NOW,
    cooling=datetime.timedelta(hours=1),
    kept=datetime.timedelta(days=365),
)

INSTANCES = {
    name: f'{number:08x}-0000-4000-8000-{number:012x}'
    for number, name in enumerate(
        (
            'ann-web',
            'ann-db',
            'bob-web',
            'bob-db',
            'eve-job',
            'dan-job',
            'fay-job',
            'gus-job',
        ),
        0xA0,
    )
}
"""The UUIDs of instances by their names."""

_PROJECTS = {'ann': 'p1', 'bob': 'p2', 'eve': 'p3', 'dan': 'p4'}


def _project(name: str) -> str:
    owner = name.partition('-')[0]
    return _PROJECTS.get(owner, f'project-of-{owner}')


def holding(
    name: str,
    since: str,
    until: str | None = None,
    claims: tuple[types.ClaimPeriod, ...] = (),
) -> types.Holding:
    return types.Holding(
        INSTANCES[name],
        _project(name),
        moment(since),
        until and moment(until),
        claims=claims,
    )


def claimed(
    host: str, since: str, until: str | None = None
) -> types.ClaimPeriod:
    return types.ClaimPeriod(host, moment(since), until and moment(until))


def row(
    level: str, name: str | None, since: str, retired: str | None = None
) -> types.Allocation:
    return types.Allocation(
        levels.Level.parse(f's0:{level}'),
        name and INSTANCES[name],
        name and _project(name),
        frozenset({'compute1'} if name and not retired else ()),
        moment(since),
        retired and moment(retired),
    )


PRESENT = (
    row('c134,c472', 'bob-web', '2026-07-01'),
    row('c419,c644', 'ann-db', '2026-02-01'),
    row('c12,c900', 'eve-job', '2026-01-15', '2026-11-30T23:30:00'),
    row('c100,c200', None, '2026-01-01'),
    row('c300,c301', 'bob-db', '2026-02-01'),
    row('c500,c600', 'gus-job', '2026-08-01'),
)

PAST = {
    'c134,c472': [
        holding(
            'ann-web',
            '2026-03-01',
            '2026-06-01',
            (
                claimed('compute6', '2026-03-01', '2026-04-01'),
                claimed('compute7', '2026-04-01', '2026-06-01'),
            ),
        )
    ],
    'c7,c8': [holding('dan-job', '2026-04-01', '2026-05-01')],
    # As after a restore: it overlaps with who has the level now.
    'c500,c600': [holding('fay-job', '2026-05-01', '2026-09-01')],
}


class Allocator(fake.Allocator):
    """The store of this world."""

    rows = PRESENT

    def find(self, level):
        SPACE.check(level)
        return next((row for row in self.rows if row.level == level), None)

    def space(self):
        return SPACE

    def history(self, level=None, **wanted):
        if len(level.categories) > 7:
            raise exception.NotInSpace(f'{level} has too many categories')
        past = [
            each
            for text, found in PAST.items()
            for each in found
            if levels.Level.parse(f's0:{text}') == level
        ]
        # The row of a level that cools is left out, as if it came free
        # between two questions.
        now = [
            each.holding
            for each in self.rows
            if each.level == level and each.state is types.State.HELD
        ]
        return [*past, *now]


def record(label: sightings.Label | None) -> holders.LevelRecord | None:
    if label is None or not 0 < len(label.level.categories) <= 7:
        return None
    store = Allocator(None)
    level = label.level
    present = store.find(level) if level in SPACE else None
    return holders.LevelRecord.of(level, present, store.history(level))


def judge(
    text: str, zone: str = 'UTC', terms: holders.Terms = TERMS
) -> list[tuple[sightings.Sighting, verdicts.Judgement]]:
    """What is made of a text of one or more lines."""
    reader = line_reader.LineReader(zoneinfo.ZoneInfo(zone))
    found = [
        *itertools.chain.from_iterable(map(reader.read, text.split('\n'))),
        *reader.finish(),
    ]
    answers = []
    for _, sighting in found:
        if sighting.written is None and None in (
            sighting.source,
            sighting.target,
        ):
            sighting = dataclasses.replace(
                sighting, written=line_times.Written((terms.now,))
            )
        answers.append(
            (
                sighting,
                verdicts.judge(
                    sighting,
                    record(sighting.source),
                    record(sighting.target),
                    terms,
                ),
            )
        )
    return answers
