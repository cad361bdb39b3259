# SPDX-License-Identifier: Apache-2.0
"""Asks the allocator whose levels a denial is about.

A thread does so, because an allocator may hang, and an alarm must not. A
compute that asks the allocator service may only ask for its own claims; one
that uses the store itself may ask for every level, and for its history.
"""

from __future__ import annotations

import dataclasses
import datetime
import queue
import threading
import time
from collections.abc import Callable

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.denials import holders
from svirt_nova.denials import level_lookup
from svirt_nova.denials import line_times
from svirt_nova.denials import sightings
from svirt_nova.denials import verdicts
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces

LOG = logs.get_logger(__name__)

_ONLY_OWN_CLAIMS = 'rpc'
_LEAST_PAUSE = 5.0
"""Seconds between two lists of the claims of this host."""

_LONGEST_USE = 300.0
"""The most seconds for which claims name somebody without being listed anew:
a level changes hands only after its cooling time."""

_MOST_QUESTIONS = 1000
_MOST_KEPT = 1000


class Question:
    """What is asked about a denial.

    :ivar judgement: the answer; None as long as there is none, and if none
        could be got
    :ivar problem: why it could not
    """

    def __init__(self, sighting: sightings.Sighting, deadline: float) -> None:
        self.sighting = sighting
        self.deadline = deadline
        self.judgement: verdicts.Judgement | None = None
        self.problem = ''
        self._answered = threading.Event()

    @property
    def is_answered(self) -> bool:
        """Whether there will be no other answer."""
        return self._answered.is_set()

    def answer(
        self, judgement: verdicts.Judgement | None, problem: str = ''
    ) -> None:
        """Give the answer."""
        self.judgement, self.problem = judgement, problem
        self._answered.set()


@dataclasses.dataclass(frozen=True, slots=True)
class _Known:
    record: holders.LevelRecord
    asked_at: datetime.datetime


class HolderNames:
    """Answers questions in a thread.

    :param conf: the configuration
    :param load: loads the allocator, which may fail and is tried again
    :param host: Nova's name for this host
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        load: Callable[[], base.Allocator],
        host: str,
    ) -> None:
        self._conf = conf
        self._load = load
        self._host = host
        self._can_find = conf.svirt.allocator != _ONLY_OWN_CLAIMS
        self._allocator: base.Allocator | None = None
        self._space: spaces.LevelSpace | None = None
        self._is_trusted = True
        self._claims: dict[levels.Level, types.Allocation] = {}
        self._listed_at: datetime.datetime | None = None
        self._next_list = 0.0
        self._found: dict[levels.Level, _Known] = {}
        self._problem = ''
        self._questions: queue.Queue[Question | None] = queue.Queue(
            _MOST_QUESTIONS
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin, with a first list of the claims of this host."""
        self._thread.start()

    def ask(self, sighting: sightings.Sighting, timeout: float) -> Question:
        """Ask about a denial; the answer comes later, if one comes.

        :param timeout: seconds after which nobody waits for it
        """
        question = Question(sighting, time.monotonic() + timeout)
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            question.answer(None, 'the allocator does not keep up')
        return question

    def _run(self) -> None:
        self._try_to_list()
        while True:
            question = self._questions.get()
            if question is None or time.monotonic() > question.deadline:
                continue
            try:
                question.answer(self._judge(question.sighting))
            except exception.SvirtError as error:
                question.answer(None, f'the allocator was asked: {error}')
            except Exception as error:
                # A library of the allocator's that fails must not end the
                # thread: later alarms can still have names.
                LOG.exception('The allocator could not be asked')
                question.answer(
                    None,
                    f'the allocator could not be asked: '
                    f'{type(error).__name__}',
                )

    def _judge(self, sighting: sightings.Sighting) -> verdicts.Judgement:
        found = [
            self._record(label, sighting.written)
            for label in (sighting.source, sighting.target)
        ]
        options = self._conf.svirt
        terms = holders.Terms(
            now=_now(),
            cooling=datetime.timedelta(seconds=options.cooling_time),
            kept=datetime.timedelta(seconds=options.history_time),
            is_trusted=self._is_trusted,
        )
        judgement = verdicts.judge(sighting, found[0], found[1], terms)
        if self._problem:
            notes = (*judgement.notes, self._problem)
            judgement = dataclasses.replace(judgement, notes=notes)
        return judgement

    def _record(
        self,
        label: sightings.Label | None,
        written: line_times.Written | None,
    ) -> holders.LevelRecord | None:
        """What is known of a level; None for one that no instance can have."""
        if label is None:
            return None
        level = label.level
        if not 0 < len(level.categories) <= ranking.MOST_CATEGORIES:
            return None
        claim = self._claim(level, written)
        if claim is not None and (
            not self._can_find or _is_of(claim, written)
        ):
            return self._make_record(level, claim)
        if self._can_find:
            return self._find(level, written)
        return self._make_record(level, None)

    def _claim(
        self, level: levels.Level, written: line_times.Written | None
    ) -> types.Allocation | None:
        """A claim of this host, from a list that is new enough."""
        moment = None if written is None else written.moments[-1]
        if level in self._claims and _is_new(self._listed_at, moment):
            return self._claims[level]
        self._try_to_list()
        if self._listed_at is None:
            return None
        age = (_now() - self._listed_at).total_seconds()
        longest = min(_LONGEST_USE, self._conf.svirt.cooling_time / 2)
        if not _is_new(self._listed_at, moment) and age > longest:
            return None
        return self._claims.get(level)

    def _try_to_list(self) -> None:
        """List the claims of this host, unless that was done just now."""
        if time.monotonic() < self._next_list:
            return
        asked_at = _now()
        try:
            self._list(asked_at)
        finally:
            # A call that waited long is not made again at once: what was
            # listed before names somebody for a while.
            self._next_list = time.monotonic() + _LEAST_PAUSE

    def _list(self, asked_at: datetime.datetime) -> None:
        try:
            allocator = self._opened()
            found = allocator.list(host=self._host)
            if self._space is None:
                self._space = allocator.space()
            if self._can_find:
                self._is_trusted = allocator.show_trust().is_trusted
        except exception.SvirtError as error:
            problem = f'the allocator does not tell the claims: {error}'
            if not self._problem:
                LOG.warning('Alarms may name nobody: %s', problem)
            self._problem = problem
            return
        except Exception as error:
            LOG.exception('The claims of this host could not be listed')
            self._problem = (
                f'the claims could not be listed: {type(error).__name__}'
            )
            return
        if self._problem:
            LOG.info('The allocator tells the claims of this host again')
        self._problem = ''
        self._claims = {each.level: each for each in found}
        self._listed_at = asked_at

    def _find(
        self, level: levels.Level, written: line_times.Written | None
    ) -> holders.LevelRecord:
        """Ask for a level that this host does not claim."""
        known = self._found.get(level)
        moment = None if written is None else written.moments[-1]
        if known is not None and _is_new(known.asked_at, moment):
            return known.record
        asked_at = _now()
        try:
            record = level_lookup.look_up(self._opened(), level, self._space)
        except exception.NotInSpace:
            record = holders.LevelRecord(level)
        if len(self._found) >= _MOST_KEPT:
            self._found.clear()
        self._found[level] = _Known(record, asked_at)
        return record

    def _make_record(
        self, level: levels.Level, present: types.Allocation | None
    ) -> holders.LevelRecord:
        """What the claims of this host alone say of a level."""
        space = self._space
        return holders.LevelRecord.of(
            level,
            present,
            (),
            space.project_part(level) if space and level in space else None,
            space is not None and space.has_part(level),
        )

    def _opened(self) -> base.Allocator:
        if self._allocator is None:
            self._allocator = self._load()
        return self._allocator


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _is_new(
    asked_at: datetime.datetime | None, moment: datetime.datetime | None
) -> bool:
    """Whether an answer is new enough to tell of a moment."""
    if asked_at is None:
        return False
    if moment is not None and moment <= asked_at:
        return True
    return (_now() - asked_at).total_seconds() <= _LEAST_PAUSE


def _is_of(
    claim: types.Allocation, written: line_times.Written | None
) -> bool:
    """Whether a claim had begun when a line was written, for certain."""
    return (
        written is not None
        and claim.created_at is not None
        and claim.created_at + holders.CLOCK_ERROR <= written.moments[0]
    )
