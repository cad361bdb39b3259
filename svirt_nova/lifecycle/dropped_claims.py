# SPDX-License-Identifier: Apache-2.0
"""Asks Nova at once about instances whose last claim was dropped.

A host drops its claim when it has deleted an instance, and also when it has
shelved it, or when a build has failed: the claims do not tell which. Nova
does, once it has noted the deletion, which it does after its driver has
ended. So it is asked soon, and again after growing pauses. What it says is
believed as little as :mod:`svirt_nova.lifecycle.reaper` believes it.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.lifecycle import reaper
from svirt_nova.mcs import levels

LOG = logs.get_logger(__name__)

PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 3600.0)
"""Seconds before the first question about an instance, and between two of
them. The last one is repeated."""

_FIRST_OF_OLD = PAUSES.index(120.0)
"""The pause for instances that had no claim when the process started: most
have been shelved for long."""

BATCH = 200
"""About how many instances Nova is asked at a time."""

NUMBER_OF_CONTROLS = 20
"""How many instances that hosts claim Nova must show in each pass. None may
be missing."""

_PLACES = 10
"""From how many places of the level space a sample is taken."""

_LEVELS = 50
"""How many levels are taken at each place: a store that has no more is known
as a whole."""

_INTERVAL = 1.0
"""Seconds between two passes."""

_LEAST_PAUSE = 2.0
"""The fewest seconds between two looks at the store."""

_SHARE = 20
"""One of so many seconds is spent on reading the store."""

_MOST_FAILURES = 7
"""How often the pause between two looks is doubled: to 256 s at most."""

_MOST_PROBLEMS = 3
"""After so many questions without an answer, no more are asked."""

_Key = tuple[str | None, int | None]
"""An instance, and the highest number that a claim on it had: whoever claims
and drops it once more is to be asked for anew."""


@dataclasses.dataclass(slots=True)
class _Entry:
    """When Nova is asked about an instance.

    :param pause: which of the pauses is the present one
    :param due: a time of the clock, in seconds
    """

    pause: int
    due: float


class DroppedClaims:
    """The instances that no host claims, and when to ask Nova about each.

    :param chance: draws controls
    :param clock: gives a monotonic time in seconds
    :param sleep: waits between two passes
    :ivar pause: seconds until the next look
    """

    def __init__(
        self,
        allocator: base.Allocator,
        servers: reaper.Servers,
        *,
        chance: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._allocator = allocator
        self._servers = servers
        self._chance = chance or random.SystemRandom()
        self._clock = clock
        self._sleep = sleep
        self._entries: dict[_Key, _Entry] | None = None
        self._failures = 0
        self.pause = _LEAST_PAUSE

    def look(self) -> int:
        """Retire the levels of instances that are gone.

        As long as it fails, the next look is later each time.

        :returns: how many were retired
        :raises ComputeApiError: Nova gave no certain answer, or does not
            show what it must; it is asked again later
        :raises OtherCloud: the store belongs to another cloud
        :raises AllocatorError: the allocator did not answer
        """
        try:
            retired = self._look()
        except exception.SvirtError:
            self._failures = min(self._failures + 1, _MOST_FAILURES)
            self.pause = max(self.pause, _LEAST_PAUSE * 2**self._failures)
            raise
        self._failures = 0
        return retired

    def _look(self) -> int:
        begun = self._clock()
        unclaimed = {
            _key(each): each for each in self._allocator.list_unclaimed()
        }
        now = self._clock()
        self.pause = max(_LEAST_PAUSE, _SHARE * (now - begun))
        entries = self._update(unclaimed, now)
        due = sorted(
            (key for key in unclaimed if entries[key].due <= now),
            key=lambda key: entries[key].due,
        )[:BATCH]
        for key in due:
            entry = entries[key]
            entry.pause = min(entry.pause + 1, len(PAUSES) - 1)
            entry.due = now + PAUSES[entry.pause]
        absent = self._absent(unclaimed[key] for key in due)
        if not absent:
            return 0
        gone = reaper.find(
            self._allocator,
            self._servers,
            interval=_INTERVAL,
            sleep=self._sleep,
            chance=self._chance,
            number_of_controls=NUMBER_OF_CONTROLS,
            look=lambda _: self._look_at(absent),
        )
        reaper.retire(self._allocator, gone)
        return len(gone)

    def _update(
        self, unclaimed: Iterable[_Key], now: float
    ) -> dict[_Key, _Entry]:
        """Note new instances without a claim, and forget the others."""
        first = _FIRST_OF_OLD if self._entries is None else 0
        known = self._entries or {}
        self._entries = {
            key: known.get(key) or _Entry(first, now + PAUSES[first])
            for key in unclaimed
        }
        return self._entries

    def _absent(self, due: Iterable[types.Allocation]) -> frozenset[_Key]:
        """Those that Nova does not show; nothing is believed yet.

        :raises ComputeApiError: Nova does not answer
        """
        found = []
        problems: list[exception.ComputeApiError] = []
        for each in due:
            assert each.instance_uuid is not None
            try:
                if not self._servers.exists(each.instance_uuid):
                    found.append(_key(each))
            except exception.ComputeApiError as error:
                problems.append(error)
                if len(problems) == _MOST_PROBLEMS:
                    raise
        if problems and not found:
            raise problems[0]
        return frozenset(found)

    def _look_at(self, suspects: frozenset[_Key]) -> reaper.Read:
        """Read some of what is claimed, and which suspects are unclaimed.

        A store that does not know its cloud yet must be read as a whole: it
        may have claims of another cloud's hosts.
        """
        if self._allocator.show_cloud().is_known:
            held: Sequence[types.Allocation]
            held = _sample(self._allocator, self._chance)
            found = self._allocator.list_unclaimed()
        else:
            held, found = reaper.look_at_all(self._allocator)
        return held, [each for each in found if _key(each) in suspects]


def _key(allocation: types.Allocation) -> _Key:
    return allocation.instance_uuid, allocation.last_claim


def _sample(
    allocator: base.Allocator, chance: random.Random
) -> list[types.Allocation]:
    """Some held levels, without reading all of them.

    Which level an instance has is chance, so that those that follow a random
    level are a random sample of instances.

    :param chance: draws the places in the level space
    :raises AllocatorError: the allocator did not answer
    """
    space = allocator.space()
    held = frozenset([types.State.HELD])
    found: dict[levels.Level, types.Allocation] = {}
    for _ in range(_PLACES):
        place = levels.Level(
            frozenset(
                chance.sample(sorted(space.categories), space.per_level)
                + chance.sample(
                    sorted(space.project_categories), space.per_project
                )
            )
        )
        here = allocator.list(states=held, after=place, limit=_LEVELS)
        if len(here) < _LEVELS:
            # The space ends here, and goes on at its beginning.
            here += allocator.list(states=held, limit=_LEVELS - len(here))
        found.update((each.level, each) for each in here)
    return [*found.values()]
