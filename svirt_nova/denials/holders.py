# SPDX-License-Identifier: Apache-2.0
"""Who had a level at a moment, as the history of the store tells it.

The moment counts, and never who has the level now. Where more than one
instance comes into question, or nobody is known, no instance is named. This
module does no I/O.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from svirt_nova.allocator import types
from svirt_nova.denials import line_times
from svirt_nova.mcs import levels

CLOCK_ERROR = datetime.timedelta(seconds=1)
"""How far the clocks of hosts and that of the store may be apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """What the answers rest on.

    :param now: when the store was asked, in UTC
    :param cooling: how long a level cools before it is free again
    :param kept: how long the store remembers former holders
    :param clock_error: see :data:`CLOCK_ERROR`
    :param is_trusted: whether the store knows all levels in use
    """

    now: datetime.datetime
    cooling: datetime.timedelta
    kept: datetime.timedelta
    clock_error: datetime.timedelta = CLOCK_ERROR
    is_trusted: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class LevelRecord:
    """What the store says of a level.

    :param present: its row; None if it is free
    :param holdings: who had it, and who has it, oldest first
    :param project_part: the part of its project that the level has, in the
        scheme ``project``
    :param is_part: whether the level is such a part: that of files that the
        instances of a project share
    """

    level: levels.Level
    present: types.Allocation | None = None
    holdings: Sequence[types.Holding] = ()
    project_part: levels.Level | None = None
    is_part: bool = False

    @classmethod
    def of(
        cls,
        level: levels.Level,
        present: types.Allocation | None,
        history: Sequence[types.Holding],
        project_part: levels.Level | None = None,
        is_part: bool = False,
    ) -> LevelRecord:
        """Join the row and the history, so that there is no hole.

        The row tells of a level that cools who had it. If it comes free
        between the two questions, the history has it, too.
        """
        found = list(history)
        if present is not None and (own := present.holding) is not None:
            known = {(each.instance_uuid, each.since) for each in found}
            if (own.instance_uuid, own.since) not in known:
                found.append(own)
        found.sort(key=lambda each: each.since)
        return cls(level, present, tuple(found), project_part, is_part)

    def is_cooling(self, holding: types.Holding) -> bool:
        """Whether the level cools now, and this was its holder."""
        return (
            self.present is not None
            and self.present.state is types.State.COOLING
            and self.present.holding == holding
        )

    @property
    def former(self) -> types.Holding | None:
        """The last holding of another instance than the level has now."""
        uuid = self.present and self.present.instance_uuid
        for each in reversed(self.holdings):
            if each.instance_uuid != uuid and each.until is not None:
                return each
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Who had a level at a moment.

    :param holding: the one that had it, or whose level cooled; None if no
        instance had it, or nobody can be named
    :param is_cooling: whether the instance was gone, and its level cooled
    :param doubt: why nobody can be named; empty if all is certain
    """

    holding: types.Holding | None = None
    is_cooling: bool = False
    doubt: str = ''


def find(
    record: LevelRecord, written: line_times.Written | None, terms: Terms
) -> Finding:
    """Find who had a level when a line was written.

    :param written: None if the line does not say when
    """
    if not record.holdings and record.is_part:
        return Finding()
    if not terms.is_trusted:
        return Finding(
            doubt='the store is not trusted: it may have forgotten who had '
            'the level (see "svirt-nova store show")'
        )
    if written is None:
        return Finding(
            doubt='the line has no time that can be read: give it with --at, '
            'or take the line from audit.log or from "ausearch --raw"'
        )
    # What lies ahead is one of the ways to read a date, and not the right one.
    moments = [
        each
        for each in written.moments
        if each <= terms.now + terms.clock_error
    ]
    if not moments:
        return Finding(doubt='the time of the line lies ahead')
    found = [_at(record, each, written.span, terms) for each in moments]
    first = found[0]
    if any(each.doubt for each in found):
        return next(each for each in found if each.doubt)
    if any(_owner(each) != _owner(first) for each in found):
        return Finding(
            doubt=f'the date of the line can be read in {len(moments)} ways, '
            f'and the level was not of the same instance at all of them'
        )
    return first


def _owner(finding: Finding) -> tuple[str, str] | None:
    held = finding.holding
    return None if held is None else (held.instance_uuid, held.project_id)


def _at(
    record: LevelRecord,
    moment: datetime.datetime,
    span: datetime.timedelta,
    terms: Terms,
) -> Finding:
    holdings = record.holdings
    if not holdings:
        if moment < terms.now - terms.kept:
            return Finding(doubt='the line is older than the history')
        return Finding()
    # Each holder from its first moment to the end of its cooling time. Of a
    # level that cools now, the store knows better when that is.
    near: list[tuple[types.Holding, datetime.datetime | None]] = []
    begin, end = moment - terms.clock_error, moment + span + terms.clock_error
    for number, each in enumerate(holdings):
        last = _end(each, holdings[number + 1 :], terms.cooling)
        if record.is_cooling(each):
            last = None
        if each.since <= end and (last is None or begin < last):
            near.append((each, last))
    if len({(h.instance_uuid, h.project_id) for h, _ in near}) > 1:
        return Finding(
            doubt='the level changed hands at that time, or the store has '
            'two holders of it'
        )
    for each, last in near:
        if each.since <= moment and (last is None or moment + span < last):
            is_cooling = each.until is not None and each.until <= moment
            return Finding(each, is_cooling)
    if moment < holdings[0].since:
        return Finding(
            doubt='the line is older than what the store knows of the level'
        )
    return Finding(doubt='no instance had the level at that time')


def _end(
    held: types.Holding,
    later: Sequence[types.Holding],
    cooling: datetime.timedelta,
) -> datetime.datetime | None:
    """When a level was no longer that of a holder, nor cooled after it."""
    if held.until is None:
        return None
    # Another one can have been adopted with a level that cooled.
    end = held.until + cooling
    nexts = [each.since for each in later if each.since >= held.until]
    return min([end, *nexts])
