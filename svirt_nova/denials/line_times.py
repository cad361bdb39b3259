# SPDX-License-Identifier: Apache-2.0
"""When a line was written, as far as the line itself says it.

The kernel stamps a record with the seconds since 1970, and that is certain.
``ausearch -i`` writes the local time in the form of its locale (``%x %T``,
``output_interpreted_node`` in ``src/ausearch-report.c`` of audit), which may
be read in several ways; all of them are kept. This module does no I/O, beside
what the standard library asks the machine for its time zone.
"""

from __future__ import annotations

import dataclasses
import datetime
import re

_SECONDS = re.compile(r'(\d{1,12})(?:\.(\d{1,9}))?', re.ASCII)
_EVENT = re.compile(r'(.+?)(?::(\d{1,20}))?', re.ASCII)
_WRAPPED = re.compile(r'(?:msg=)?audit\(([^()]*)\):?', re.ASCII)
_LOCAL = re.compile(
    r'(\d{1,4})([/.-])(\d{1,2})\2(\d{1,4}) '
    r'(\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,6}))?',
    re.ASCII,
)
_ISO = re.compile(
    r'\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(?:[.,]\d{1,6})?'
    r'(?:Z|[+-]\d{2}:?\d{2})',
    re.ASCII,
)

_SECOND = datetime.timedelta(seconds=1)
_NO_TIME = datetime.timedelta(0)


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """When a line was written.

    :param moments: each moment that it may have been, in UTC, the earliest
        first; one, unless the text can be read in several ways
    :param span: how much later it may have been, because the text is cut off
        to whole seconds
    """

    moments: tuple[datetime.datetime, ...]
    span: datetime.timedelta = _NO_TIME


def read_seconds(text: str) -> Written | None:
    """Read seconds since 1970, such as ``1795404472.465``.

    :returns: None if it is something else, or no time of a calendar
    """
    match = _SECONDS.fullmatch(text)
    if match is None:
        return None
    fraction = (match[2] or '')[:6].ljust(6, '0')
    try:
        moment = datetime.datetime.fromtimestamp(
            int(match[1]), datetime.UTC
        ) + datetime.timedelta(microseconds=int(fraction))
    except (ValueError, OverflowError, OSError):
        return None
    return Written((moment,), _NO_TIME if match[2] else _SECOND)


def read_iso(text: str) -> Written | None:
    """Read ISO 8601 with a time zone, as journalctl and rsyslog write it.

    :returns: None if it is something else, or has no time zone
    """
    if _ISO.fullmatch(text) is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text.replace(',', '.'))
        is_cut = not re.search('[.,]', text)
        return Written(
            (moment.astimezone(datetime.UTC),),
            _SECOND if is_cut else _NO_TIME,
        )
    except (ValueError, OverflowError):
        return None


def read_local(text: str, zone: datetime.tzinfo | None) -> Written | None:
    """Read a local date and time, in each way that it can be meant.

    The month may stand before or after the day, and an hour comes twice when
    summer time ends.

    :param zone: of the machine that wrote it; None for this machine's
    :returns: None if it is something else
    """
    match = _LOCAL.fullmatch(text)
    if match is None:
        return None
    first, second, third = match[1], match[3], match[4]
    if len(first) == 4:
        dates = [(first, second, third)]
    elif len(third) in (2, 4):
        year = third if len(third) == 4 else f'20{third}'
        # The day comes first wherever dots part a date.
        dates = [(year, second, first)]
        if match[2] != '.':
            dates.append((year, first, second))
    else:
        return None
    clock = f'{match[5]}:{match[6]}:{match[7]}.{match[8] or 0}'
    found = set()
    for year, month, day in dates:
        for fold in (0, 1):
            try:
                local = datetime.datetime.strptime(
                    f'{year}-{month}-{day} {clock}', '%Y-%m-%d %H:%M:%S.%f'
                ).replace(tzinfo=zone, fold=fold)
                found.add(local.astimezone(datetime.UTC))
            except (ValueError, OverflowError, OSError):
                continue
    if not found:
        return None
    return Written(tuple(sorted(found)), _NO_TIME if match[8] else _SECOND)


def read_event(
    text: str, zone: datetime.tzinfo | None
) -> tuple[Written | None, bool]:
    """Read what stands in the brackets of ``audit(...)``.

    :param zone: see :func:`read_local`
    :returns: the time, None if it cannot be read; and whether the record is
        raw, that is, its time is not interpreted
    """
    match = _EVENT.fullmatch(text)
    if match is None:
        return None, False
    if _SECONDS.fullmatch(match[1]):
        return read_seconds(match[1]), True
    return read_local(match[1], zone), False


def parse_moment(text: str) -> datetime.datetime:
    """Read a time that a person gives.

    :param text: seconds since 1970, ``1795404472.465:1234`` and
        ``audit(1795404472.465:1234)`` as audit lines have it, or ISO 8601, in
        UTC where it names no time zone; the commands' tables write so with
        ``UTC`` at the end
    :raises ValueError: it is none of these
    """
    stripped = text.strip()
    wrapped = _WRAPPED.fullmatch(stripped)
    event = _EVENT.fullmatch(wrapped[1] if wrapped else stripped)
    if event and (found := read_seconds(event[1])):
        return found.moments[0]
    if wrapped is None and len(stripped) < 100:
        try:
            plain = stripped.removesuffix(' UTC')
            moment = datetime.datetime.fromisoformat(plain)
            if moment.tzinfo is None:
                return moment.replace(tzinfo=datetime.UTC)
            if plain == stripped:
                return moment.astimezone(datetime.UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError(
        f'{text[:100]!r} is no time: give seconds since 1970, '
        f'audit(1795404472.465:1234), or ISO 8601'
    )
