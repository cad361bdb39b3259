# SPDX-License-Identifier: Apache-2.0
"""Whether the processes of the service answer, for the one that systemd asks.

Each process writes into its place of a board, which they all share, and the
process that started them reads it. A board has no locks: a process that is
stopped or killed keeps nobody waiting.
"""

from __future__ import annotations

import dataclasses
import enum
import mmap
import threading
import time
from collections.abc import Callable

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.cmd import supervision

LOG = logs.get_logger(__name__)

_BEAT_PERIOD = 0.5
"""Seconds between two signs of life of a process."""

_FRESH = 10.0
"""Seconds for which a sign of life says that a process answers calls."""

_STORE_PERIOD = 5.0
_UNUSABLE_PERIOD = 1.0
"""Seconds between two looks of a process whether the store can be used, and
while it cannot."""

_LOOK_PERIOD = 0.25
"""Seconds between two looks at the board."""

_FIELDS = 3
_BEAT, _ANSWERS, _STORE = range(_FIELDS)


class Store(enum.IntEnum):
    """What a process knows of the store."""

    UNKNOWN = 0
    USABLE = 1
    UNUSABLE = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """What a process has written.

    :param beat: the monotonic time of its last sign of life; 0 for none
    :param answers: whether it answers calls
    :param store: what it knows of the store
    """

    beat: float
    answers: bool
    store: Store


class Board:
    """A place for each process, in memory that survives a fork as shared.

    :param processes: how many there are
    """

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._cells = memoryview(mmap.mmap(-1, processes * _FIELDS * 8)).cast(
            'd'
        )

    def write(self, index: int, reading: Reading) -> None:
        """Write what a process says; the sign of life comes last."""
        first = index * _FIELDS
        self._cells[first + _STORE] = float(reading.store)
        self._cells[first + _ANSWERS] = float(reading.answers)
        self._cells[first + _BEAT] = reading.beat

    def note_death(self, index: int) -> None:
        """Remember that a process has died; another one takes its place."""
        found = self.read(index)
        self.write(index, dataclasses.replace(found, answers=False))

    def read(self, index: int) -> Reading:
        """What a process has written last."""
        first = index * _FIELDS
        return Reading(
            self._cells[first + _BEAT],
            bool(self._cells[first + _ANSWERS]),
            Store(int(self._cells[first + _STORE])),
        )


class Pulse:
    """Writes what a process is, in threads of its own.

    That a thread can write shows that the process is not stopped and that no
    other thread keeps all from running.

    :param index: its place on the board
    :param allocator: whose store it looks at
    """

    def __init__(
        self, board: Board, index: int, allocator: base.Allocator
    ) -> None:
        self._board = board
        self._index = index
        self._allocator = allocator
        self._answers = False
        self._store = Store.UNKNOWN
        self._write()
        for target in (self._beat, self._look):
            threading.Thread(target=target, daemon=True).start()

    def answers(self, whether: bool) -> None:
        """Say whether the process answers calls."""
        self._answers = whether
        self._write()

    def _write(self) -> None:
        self._board.write(
            self._index, Reading(time.monotonic(), self._answers, self._store)
        )

    def _beat(self) -> None:
        while True:
            self._write()
            time.sleep(_BEAT_PERIOD)

    def _look(self) -> None:
        while True:
            found = self._ask()
            if Store.UNUSABLE is self._store is not found:
                LOG.info('The store can be used again')
            self._store = found
            time.sleep(
                _UNUSABLE_PERIOD if found is Store.UNUSABLE else _STORE_PERIOD
            )

    def _ask(self) -> Store:
        try:
            self._allocator.show_trust()
        except exception.SvirtError as error:
            if self._store is not Store.UNUSABLE:
                LOG.warning('Calls are refused until this ends: %s', error)
            return Store.UNUSABLE
        except Exception:
            LOG.exception('The store could not be looked at')
            return Store.UNUSABLE
        return Store.USABLE


class Watch:
    """Tells systemd, and the log, what the processes are.

    :param board: where they write
    :param clock: gives monotonic seconds
    """

    def __init__(
        self, board: Board, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._board = board
        self._clock = clock
        self._told = ''
        self._is_ready = False
        self._is_ending = False
        self._watchdog = supervision.watchdog()
        self._alive_at = -_FRESH

    def start(self) -> None:
        """Look again and again, in a thread."""
        threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        """Say that the service ends, and nothing more."""
        self._is_ending = True
        supervision.stopping('Calls in work are answered, then it ends')

    def _run(self) -> None:
        while not self._is_ending:
            self.look()
            time.sleep(_LOOK_PERIOD)

    def look(self) -> None:
        """Read the board once, and tell what has changed."""
        now = self._clock()
        found = [self._board.read(i) for i in range(self._board.processes)]
        answering = sum(
            each.answers and now < each.beat + _FRESH for each in found
        )
        states = {each.store for each in found}
        text = (
            f'{answering} of {len(found)} processes answer calls, '
            + {
                True: 'the store cannot be used',
                False: 'the store can be used',
            }[Store.UNUSABLE in states]
        )
        is_well = answering == len(found) and states == {Store.USABLE}
        if is_well and not self._is_ready:
            self._is_ready = True
            supervision.ready(text)
            LOG.info('The allocator service is ready: %s', text)
        elif text != self._told:
            supervision.status(text)
            if self._is_ready:
                (LOG.info if is_well else LOG.warning)('%s', text)
        self._told = text
        self._tell_alive(found, now)

    def _tell_alive(self, found: list[Reading], now: float) -> None:
        """Let systemd know that no process is stuck, if it wants to know.

        A process that has not begun yet may wait for the message bus.
        """
        if self._watchdog is None or now < self._alive_at + self._watchdog / 4:
            return
        if all(
            not each.beat or now < each.beat + self._watchdog / 2
            for each in found
        ):
            self._alive_at = now
            supervision.alive()
