# SPDX-License-Identifier: Apache-2.0
"""Which denials are told at once, and which are counted and told as one.

The first denial of a level is told at once. Further ones are counted, and told
when they end or at intervals that grow while they go on. What is worse than
all that was told of the level is told at once. This module does no I/O, and
is given the time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from svirt_nova.alarm import attempts
from svirt_nova.denials import verdicts

LONGEST_INTERVAL = 3600.0
"""The most seconds between two alarms of a level that goes on."""

MOST_SOURCES = 4096
"""The most levels that are remembered: more than guests of a host."""

MOST_TARGETS = 100
"""So many different targets of a level are told apart, and more are not."""

FIRST_TARGETS = 5
"""So many of them are named in an alarm."""

_RANKS = {verdict: rank for rank, verdict in enumerate(attempts.ALARMING)}


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """How bad a denial is.

    :param is_permissive: whether the access took place
    :param verdict: one of :data:`attempts.ALARMING`
    """

    is_permissive: bool
    verdict: verdicts.Verdict

    def covers(self, other: Kind) -> bool:
        """Whether another one is no worse in any respect."""
        return (
            self.is_permissive >= other.is_permissive
            and _RANKS[self.verdict] >= _RANKS[other.verdict]
        )


def kind_of(alarm: attempts.Alarm) -> Kind:
    """How bad an alarm is."""
    return Kind(alarm.is_permissive, alarm.verdict)


@dataclasses.dataclass(slots=True)
class _Source:
    """What is remembered of a level.

    :param interval: seconds between the last alarm and the next
    :param next_at: when that is
    :param last_at: when the last denial was seen
    :param worst: the worst alarm that was told, to tell the next like it
    :param told: what was told
    :param count: denials since the last alarm
    :param targets: their targets
    :param event: when the last of them was written, and its number
    :param kept: what the state file keeps of the worst alarm
    """

    interval: float
    next_at: float
    last_at: float
    worst: attempts.Alarm
    told: set[Kind] = dataclasses.field(default_factory=set)
    count: int = 0
    targets: dict[str, None] = dataclasses.field(default_factory=dict)
    event: tuple[str, str] = ('', '')
    kept: dict[str, Any] = dataclasses.field(default_factory=dict)

    def add(
        self, target: str, count: int, event: tuple[str, str], now: float
    ) -> None:
        self.count += count
        self.event = event
        self.last_at = now
        if len(self.targets) < MOST_TARGETS:
            self.targets[target] = None

    def worst_to_json(self) -> dict[str, Any]:
        """What the state file keeps, which is written after each alarm."""
        if self.kept.get('id') != self.worst.id:
            self.kept = self.worst.to_json()
        return self.kept

    def summary(self) -> attempts.Alarm:
        """Tell what was counted, and count anew."""
        many = ' or more' if len(self.targets) >= MOST_TARGETS else ''
        made = dataclasses.replace(
            self.worst,
            id=attempts.id_of(self.worst.id, self.event, self.count),
            written=self.event[0],
            event=self.event[1],
            count=self.count,
            targets=len(self.targets),
            first_targets=tuple(self.targets)[:FIRST_TARGETS],
            notes=(
                f'further denials of this level, at {len(self.targets)}{many} '
                f'levels. The time is that of the last one, and the rest is '
                f'that of an earlier alarm',
            ),
        )
        self.count = 0
        self.targets.clear()
        return made


class FloodControl:
    """Counts denials, by the level of the process.

    :param quiet_time: see the option
    """

    def __init__(self, quiet_time: float) -> None:
        self._quiet_time = quiet_time
        self._sources: dict[str, _Source] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def can_count(self, source: str, is_permissive: bool) -> bool:
        """Whether a denial can be no worse than what was told already."""
        found = self._sources.get(source)
        worst = Kind(is_permissive, attempts.ALARMING[-1])
        return found is not None and any(
            told.covers(worst) for told in found.told
        )

    def add(
        self, alarm: attempts.Alarm, now: float
    ) -> tuple[list[attempts.Alarm], list[str]]:
        """Take a denial in.

        :param alarm: what would be told of it
        :param now: in seconds, of a clock that only goes on
        :returns: what is to be told at once, and levels that were forgotten
            to make room
        """
        name = alarm.source.level
        found = self._sources.get(name)
        kind = kind_of(alarm)
        if found is not None:
            if any(told.covers(kind) for told in found.told):
                event = (alarm.written, alarm.event)
                found.add(alarm.target.level, 1, event, now)
                return [], []
            found.told.add(kind)
            found.last_at = now
            if kind.covers(kind_of(found.worst)):
                found.worst = alarm
            return [alarm], []
        made, forgotten = self._make_room()
        self._sources[name] = _Source(
            interval=self._quiet_time,
            next_at=now + self._quiet_time,
            last_at=now,
            worst=alarm,
            told={kind},
        )
        return [alarm, *made], forgotten

    def count(
        self,
        source: str,
        target: str,
        count: int,
        event: tuple[str, str],
        now: float,
    ) -> None:
        """Count further denials of a level of which something was told.

        :param event: when the last of them was written, and its number
        """
        self._sources[source].add(target, count, event, now)

    def due(self, now: float) -> tuple[list[attempts.Alarm], list[str]]:
        """What is to be told now.

        :returns: alarms, and the levels whose next denial is to be judged
            anew
        """
        alarms, fresh = [], []
        for name, found in [*self._sources.items()]:
            is_over = now - found.last_at >= self._quiet_time
            if not is_over and now < found.next_at:
                continue
            if found.count:
                alarms.append(found.summary())
                fresh.append(name)
            if is_over:
                del self._sources[name]
                fresh.append(name)
            elif now >= found.next_at:
                found.interval = min(2 * found.interval, LONGEST_INTERVAL)
                found.next_at = now + found.interval
        return alarms, fresh

    def finish(self) -> list[attempts.Alarm]:
        """What was counted and not told yet."""
        return [
            each.summary() for each in self._sources.values() if each.count
        ]

    def to_json(self, now: float) -> list[dict[str, Any]]:
        """What the state file keeps."""
        return [
            {
                'interval': each.interval,
                'next_in': each.next_at - now,
                'worst': each.worst_to_json(),
                'told': [[k.is_permissive, k.verdict] for k in each.told],
                'count': each.count,
                'targets': [*each.targets],
                'event': [*each.event],
            }
            for each in self._sources.values()
        ]

    def load(self, found: Sequence[Mapping[str, Any]], now: float) -> None:
        """Read what :meth:`to_json` gave.

        :raises ValueError, TypeError, KeyError: it is something else
        """
        made = {}
        for each in found[:MOST_SOURCES]:
            worst = attempts.Alarm.from_json(each['worst'])
            interval = float(each['interval'])
            next_in, count = float(each['next_in']), int(each['count'])
            if not (
                0 < interval <= LONGEST_INTERVAL
                and math.isfinite(next_in)
                and count >= 0
            ):
                raise ValueError('an interval or a count is impossible')
            told = {
                Kind(bool(is_permissive), verdicts.Verdict(verdict))
                for is_permissive, verdict in each['told']
            }
            if not all(kind.verdict in attempts.ALARMING for kind in told):
                raise ValueError('a verdict raises no alarm')
            made[worst.source.level] = _Source(
                interval=interval,
                next_at=now + min(max(next_in, 0.0), interval),
                last_at=now,
                worst=worst,
                told=told,
                count=count,
                targets=dict.fromkeys(
                    map(str, each['targets'][:MOST_TARGETS])
                ),
                event=(str(each['event'][0]), str(each['event'][1])),
            )
        self._sources = made

    def _make_room(self) -> tuple[list[attempts.Alarm], list[str]]:
        """Forget the level that was silent for longest, if there are many."""
        if len(self._sources) < MOST_SOURCES:
            return [], []
        name = min(self._sources, key=lambda each: self._sources[each].last_at)
        found = self._sources.pop(name)
        return [found.summary()] if found.count else [], [name]
