# SPDX-License-Identifier: Apache-2.0
"""The loop of the alarm: lines in, alarms out."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from collections.abc import Sequence

from svirt_nova import logs
from svirt_nova.alarm import attempts
from svirt_nova.alarm import audit_lines
from svirt_nova.alarm import counters
from svirt_nova.alarm import flood_control
from svirt_nova.alarm import holder_names
from svirt_nova.alarm import line_sources
from svirt_nova.alarm import notifications
from svirt_nova.alarm import resume_state
from svirt_nova.alarm import suspension
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts

LOG = logs.get_logger(__name__)

_TICK = 0.1
"""The most seconds that lines are waited for."""

_SAVE_INTERVAL = 1.0
_LONGEST_UNSAVED = 60.0
"""Seconds between two saves of a state that has not changed."""

_MOST_TAILS = 20_000
_MOST_PENDING = 1000
_MOST_PENDING_OF_ONE = 16
_LAST_WAIT = 1.0
"""Seconds for notifications at the end."""


def now() -> float:
    """The clock of the alarm: seconds, which only go on."""
    return time.monotonic()


@dataclasses.dataclass(slots=True)
class _Seen:
    """Lines of one end, of which the first was read in full.

    :param verdict: None as long as it is not known
    :param source: the level whose denials are counted; empty if only the
        verdict is
    :param count: how many came since they were counted the last time
    :param last: the last of them
    """

    verdict: verdicts.Verdict | None
    source: str = ''
    target: str = ''
    count: int = 0
    last: bytes = b''


@dataclasses.dataclass(frozen=True, slots=True)
class _Pending:
    """A denial that may be told when its names are known."""

    line: bytes
    seen: _Seen
    tail: bytes
    question: holder_names.Question


class Watch:
    """Reads lines and tells alarms, until it is ended.

    :param kind: the name of the source, which the state keeps
    :param source: of the lines
    :param names: names instances; has been started
    :param host: Nova's name for this host
    :param name_timeout: see the option
    :param suspensions: None to suspend nothing
    :param lost: how many audit records the kernel had lost by the last run
    :param clock: seconds, which only go on
    """

    def __init__(
        self,
        kind: str,
        source: line_sources.LineSource,
        state: resume_state.StateFile,
        floods: flood_control.FloodControl,
        names: holder_names.HolderNames,
        notes: notifications.Notifications,
        counts: counters.Counters,
        host: str,
        name_timeout: float,
        suspensions: suspension.Suspensions | None = None,
        lost: int | None = None,
        clock: Callable[[], float] = now,
    ) -> None:
        self._kind = kind
        self._source = source
        self._state = state
        self._floods = floods
        self._names = names
        self._notes = notes
        self._counts = counts
        self._host = host
        self._name_timeout = name_timeout
        self._suspensions = suspensions
        self._clock = clock
        self._tails: dict[bytes, _Seen] = {}
        self._touched: list[_Seen] = []
        self._pending: collections.deque[_Pending] = collections.deque()
        self._lost = lost
        self._saved_at = -_LONGEST_UNSAVED
        self._is_changed = False
        self._unsent = 0

    def run(self, ended: threading.Event) -> None:
        """Read and tell until the event is set, or no line can come.

        What is counted by then is told.
        """
        try:
            while not ended.is_set():
                self.process(self._source.read(_TICK))
                self.tick()
        except EOFError:
            LOG.info('No more lines come')
        finally:
            self._finish()

    def again(self, found: Sequence[tuple[bytes, int]]) -> None:
        """Judge denials whose names the last run was waiting for.

        :param found: the first line of each, and how many more there were
        """
        for line, more in found:
            if (tail := audit_lines.tail_of(line)) is None:
                continue
            self._read(line, tail)
            if more and (seen := self._tails.get(tail)) is not None:
                if not seen.count:
                    self._touched.append(seen)
                seen.count += more
                seen.last = line

    def process(self, lines: list[bytes]) -> None:
        """Take lines in."""
        tails = self._tails
        for line in lines:
            tail = audit_lines.tail_of(line)
            if tail is None:
                if (lost := audit_lines.lost(line)) is not None:
                    self._note_lost(lost)
                continue
            seen = tails.get(tail)
            if seen is None:
                self._read(line, tail)
                continue
            if not seen.count:
                self._touched.append(seen)
            seen.count += 1
            seen.last = line
        if lines:
            self._counts.lines.inc(len(lines))
            self._is_changed = True

    def tick(self) -> None:
        """Tell what is to be told now, and save the state from time to time.

        What was told is saved at once: after a crash, it is not told again.
        """
        self._settle()
        is_told = self._tell_answered(is_end=False)
        alarms, fresh = self._floods.due(self._clock())
        self._forget(fresh)
        for alarm in alarms:
            self._tell(alarm)
        is_changed = self._is_changed or len(self._notes) != self._unsent
        unsaved = self._clock() - self._saved_at
        if (
            is_told
            or alarms
            or unsaved >= _LONGEST_UNSAVED
            or (is_changed and unsaved >= _SAVE_INTERVAL)
        ):
            self._save()

    def _read(self, line: bytes, tail: bytes) -> None:
        """Read a denial in full."""
        sighting = audit_lines.read(line)
        if sighting.access is not None and (
            sighting.access.outcome is sightings.Outcome.GRANTED
        ):
            return
        verdict = attempts.by_labels(sighting)
        source = attempts.level_of(sighting.source)
        target = attempts.level_of(sighting.target)
        if verdict is not None:
            self._count(verdict, 1)
            self._remember(tail, _Seen(verdict))
            return
        access = sighting.access or sightings.Access()
        is_permissive = access.outcome is sightings.Outcome.PERMISSIVE
        if self._floods.can_count(source, is_permissive):
            # It cannot be worse than what was told of this level.
            seen = _Seen(attempts.ALARMING[-1], source, target, 1, line)
            self._touched.append(seen)
            self._remember(tail, seen)
            return
        seen = _Seen(None, source, target)
        timeout = self._name_timeout
        if not self._has_room(source):
            # Its answer is not waited for, nor is it remembered: the next
            # such line is judged.
            timeout = 0.0
        else:
            self._remember(tail, seen)
        question = (
            self._names.ask(sighting, timeout)
            if timeout
            else holder_names.Question(sighting, 0.0)
        )
        self._pending.append(_Pending(line, seen, tail, question))

    def _has_room(self, source: str) -> bool:
        if len(self._pending) < _MOST_PENDING_OF_ONE:
            return True
        if len(self._pending) >= _MOST_PENDING:
            return False
        own = sum(each.seen.source == source for each in self._pending)
        return own < _MOST_PENDING_OF_ONE

    def _remember(self, tail: bytes, seen: _Seen) -> None:
        if not tail:
            return
        if len(self._tails) >= _MOST_TAILS:
            self._settle()
            self._tails.clear()
        self._tails[tail] = seen

    def _forget(self, sources: list[str]) -> None:
        """Judge the next denial of some levels anew."""
        if not sources:
            return
        self._settle()
        gone = set(sources)
        self._tails = {
            tail: seen
            for tail, seen in self._tails.items()
            if seen.source not in gone or seen.verdict is None
        }

    def _settle(self) -> None:
        """Count what came since the last time."""
        waiting = []
        now = self._clock()
        for seen in self._touched:
            if seen.verdict is None:
                waiting.append(seen)
                continue
            count, seen.count = seen.count, 0
            self._count(seen.verdict, count)
            if seen.source:
                self._floods.count(
                    seen.source,
                    seen.target,
                    count,
                    audit_lines.event_of(seen.last),
                    now,
                )
        self._touched = waiting

    def _tell_answered(self, is_end: bool) -> bool:
        """Tell the denials whose names are known, or waited for too long.

        :param is_end: wait for none of them
        """
        is_told = False
        kept: collections.deque[_Pending] = collections.deque()
        now = time.monotonic()
        while self._pending:
            each = self._pending.popleft()
            question = each.question
            if not (
                question.is_answered or is_end or now >= question.deadline
            ):
                kept.append(each)
                continue
            is_told |= self._conclude(each)
        self._pending = kept
        self._settle()
        return is_told

    def _conclude(self, pending: _Pending) -> bool:
        question, seen = pending.question, pending.seen
        note = question.problem
        if not question.is_answered:
            note = 'the allocator did not answer in time'
        alarm = attempts.judged(
            question.sighting, question.judgement, self._host, note
        )
        if alarm is None:
            seen.verdict, seen.source = verdicts.Verdict.OWN, ''
            self._count(seen.verdict, 1)
            return False
        self._count(alarm.verdict, 1)
        # What is forgotten to make room must have been counted.
        self._settle()
        alarms, forgotten = self._floods.add(alarm, self._clock())
        seen.verdict = alarm.verdict
        self._forget(forgotten)
        for each in alarms:
            self._tell(each)
        return bool(alarms)

    def _tell(self, alarm: attempts.Alarm) -> None:
        log = LOG.critical if alarm.is_permissive else LOG.error
        log(
            'A guest %s what is not its own: %s',
            'HAD ACCESS to' if alarm.is_permissive else 'was refused',
            alarm.line(),
        )
        self._counts.alarms.labels(alarm.verdict.value).inc()
        if alarm.source.instance is None:
            self._counts.unnamed.inc()
        self._notes.put(alarm.payload())
        if self._suspensions is not None:
            self._suspensions.react(alarm)

    def _count(self, verdict: verdicts.Verdict, count: int) -> None:
        self._counts.denials.labels(verdict.value).inc(count)

    def _note_lost(self, lost: int) -> None:
        """Tell that the kernel has lost records, of which some may be ours."""
        before, self._lost = self._lost, lost
        more = lost if before is None or lost < before else lost - before
        self._counts.lost_records.inc(more)
        if more:
            LOG.warning(
                'The kernel has lost %d audit records since its start: '
                'denials may be missing. Raise the backlog limit of auditctl',
                lost,
            )

    def _save(self) -> None:
        now = self._clock()
        state = {
            'kind': self._kind,
            'source': self._source.position(),
            'floods': self._floods.to_json(now),
            'pending': [
                [each.line.decode('latin-1'), each.seen.count]
                for each in self._pending
            ],
            'unsent': self._notes.to_json(),
            'lost': self._lost,
        }
        self._saved_at = now
        self._is_changed = False
        self._unsent = len(self._notes)
        self._state.save(state)

    def _finish(self) -> None:
        """Tell what is counted, and save how far that was."""
        self._settle()
        self._tell_answered(is_end=True)
        self._settle()
        for alarm in self._floods.finish():
            self._tell(alarm)
        # After a crash here, nothing is told again.
        self._save()
        if not self._notes.wait(_LAST_WAIT):
            LOG.warning('Notifications wait for the bus, for the next start')
        self._save()
        self._source.close()
