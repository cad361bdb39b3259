# SPDX-License-Identifier: Apache-2.0
"""The calls of an allocator, and what befalls them on their way."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any
from typing import TYPE_CHECKING

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.mcs import levels

if TYPE_CHECKING:
    from tests.fakes import cloud as fake_cloud

FAULTS = (
    'none',
    'away',
    'lost',
    'twice',
    'late',
    'delayed',
    'crash',
    'done and crash',
)
"""What can befall a call: nothing; the store is away; the answer is lost; it
is repeated at once; it is repeated much later; it is done much later, when
nobody waits for it; its host crashes before it or after it."""

# Done after anything else.
_MAY_COME_LATE = ('acquire', 'adopt', 'unclaim', 'give_back', 'retire')

_READS = frozenset(
    ['get', 'find', 'list', 'space', 'stats', 'meet', 'show_cloud']
)


class Faults:
    """What befalls the next calls.

    :ivar next: the fault of each, first to last
    :ivar is_away: whether the store is away for all
    :ivar late: calls that are still under way
    :ivar levels: each level that an instance was given while it lived
    """

    def __init__(self) -> None:
        self.next: collections.deque[str] = collections.deque()
        self.is_away = False
        self.late: list[Callable[[], Any]] = []
        self.levels: dict[str, set[levels.Level]] = collections.defaultdict(
            set
        )

    def take(self) -> str:
        if self.is_away:
            return 'away'
        return self.next.popleft() if self.next else 'none'


class Calls:
    """The calls of one client: each is a step or two.

    :param allocator: what answers them
    """

    def __init__(
        self, allocator: base.Allocator, cloud: fake_cloud.Cloud
    ) -> None:
        self._allocator = allocator
        self._cloud = cloud

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in _READS:
                self._cloud.steps.reach(f'store {name}')
                return self._call(name, args, kwargs)
            with self._cloud.steps.changes(f'store {name}'):
                return self._call(name, args, kwargs)

        return call

    def _call(self, name: str, args: Any, kwargs: Any) -> Any:
        faults = self._cloud.faults
        fault = faults.take()
        if self._cloud.processes.host is None and 'crash' in fault:
            fault = 'away'
        if fault == 'crash':
            self._cloud.crash_here()
        if fault == 'away':
            raise exception.StoreUnreachable('away')
        if fault == 'delayed' and name in _MAY_COME_LATE:
            faults.late.append(lambda: self.answer(name, args, kwargs))
            raise exception.StoreUnreachable('nobody waits any more')
        answer = self.answer(name, args, kwargs)
        if fault == 'twice':
            answer = self.answer(name, args, kwargs)
        if fault == 'late' and name in _MAY_COME_LATE:
            faults.late.append(lambda: self.answer(name, args, kwargs))
        if fault == 'lost':
            raise exception.StoreUnreachable('the answer was lost')
        if fault == 'done and crash':
            self._cloud.crash_here()
        return answer

    def answer(self, name: str, args: Any, kwargs: Any) -> Any:
        """What the allocator itself answers."""
        answer = getattr(self._allocator, name)(*args, **kwargs)
        if name in ('acquire', 'adopt') and self._cloud.is_live(args[0]):
            self._cloud.faults.levels[args[0]].add(answer.level)
        return answer
