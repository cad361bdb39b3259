# SPDX-License-Identifier: Apache-2.0
"""What service and client send each other: texts, numbers, lists, maps.

Pure. What comes from the other side is checked before it is used: it
makes a value of ours, or a refusal, and nothing else.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

VERSION = '1.1'
"""The version of the calls; a new minor only adds to them.

1.1: ``list`` and ``claims`` give a part, by ``after`` and ``limit``.
"""

FIRST_VERSION = '1.0'
"""What every service knows; calls that 1.1 did not change ask for it."""

PAGE = 5000
"""Allocations in one answer at most: about a megabyte."""

EXCHANGE = 'svirt-nova'
"""Where all topics are, on every bus.

Nova names its own exchange in the configuration of its programs
(``nova.config.parse_args``), others leave it at oslo.messaging's: without a
name of ours, a compute's calls would not reach the service.
"""

OPERATOR_TOPIC_SUFFIX = '-operator'
"""What is added to the topic of computes for that of operators."""

_SINCE = {'list': VERSION, 'claims': VERSION}


def version_of(name: str) -> str:
    """The version of the service that a call needs."""
    return _SINCE.get(name, FIRST_VERSION)


_ERRORS: Mapping[str, type[exception.SvirtError]] = {
    kind.__name__: kind
    for kind in (
        exception.InvalidLevel,
        exception.InvalidSpace,
        exception.NotInSpace,
        exception.UnknownInstance,
        exception.SpaceFull,
        exception.LevelTaken,
        exception.StoreUnreachable,
        exception.StoreUnusable,
        exception.StoreTooNew,
        exception.NotAllowed,
    )
}
_BAD_ARGUMENT = 'ValueError'

Value = TypeVar('Value')


def _moment(value: datetime.datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _level(value: levels.Level | None) -> str | None:
    return None if value is None else str(value)


def from_allocation(value: types.Allocation) -> dict[str, Any]:
    """Write an allocation."""
    return {
        'level': str(value.level),
        'instance_uuid': value.instance_uuid,
        'project_id': value.project_id,
        'hosts': sorted(value.hosts),
        'created_at': _moment(value.created_at),
        'retired_at': _moment(value.retired_at),
        'note': value.note,
        'project_level': _level(value.project_level),
    }


def from_holding(value: types.Holding) -> dict[str, Any]:
    """Write a line of history."""
    return {
        'instance_uuid': value.instance_uuid,
        'project_id': value.project_id,
        'since': _moment(value.since),
        'until': _moment(value.until),
    }


def from_usage(value: types.Usage) -> dict[str, Any]:
    """Write who uses the space."""
    return {
        'by_project': dict(value.by_project),
        'by_host': dict(value.by_host),
        'per_day': value.per_day,
        'full_at': _moment(value.full_at),
    }


def from_stats(value: types.Stats) -> dict[str, Any]:
    """Write how full the space is."""
    return {
        'size': value.size,
        'held': value.held,
        'retired': value.retired,
        'cooling': value.cooling,
        'reserved': value.reserved,
    }


def from_space(value: spaces.LevelSpace) -> dict[str, Any]:
    """Write a level space."""
    return {
        'categories': levels.format_categories(value.categories),
        'per_level': value.per_level,
        'project_categories': levels.format_categories(
            value.project_categories
        ),
        'per_project': value.per_project,
    }


class _Reader:
    """Takes the parts of a message; TypeError where one is not right."""

    def __init__(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise TypeError('not a map')
        self._message = message

    def take(self, name: str, kind: type[Value]) -> Value:
        value = self._message.get(name)
        if not isinstance(value, kind) or (
            kind is int and isinstance(value, bool)
        ):
            raise TypeError(f'{name} is no {kind.__name__}')
        return value

    def maybe(self, name: str, read: Callable[[str], Value]) -> Value | None:
        if self._message.get(name) is None:
            return None
        return read(self.take(name, str))

    def texts(self, name: str) -> list[str]:
        found = self.take(name, list)
        if not all(isinstance(each, str) for each in found):
            raise TypeError(f'{name} has what is no text')
        return found

    def counts(self, name: str) -> dict[str, int]:
        found = self.take(name, dict)
        if not all(
            isinstance(key, str) and isinstance(number, int)
            for key, number in found.items()
        ):
            raise TypeError(f'{name} has what is no count')
        return found


def _time(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise TypeError(f'{text} has no time zone')
    return moment


def to_allocation(message: Any) -> types.Allocation:
    """Read an allocation; TypeError or ValueError where it is none."""
    reader = _Reader(message)
    return types.Allocation(
        level=levels.Level.parse(reader.take('level', str)),
        instance_uuid=reader.maybe('instance_uuid', str),
        project_id=reader.maybe('project_id', str),
        hosts=frozenset(reader.texts('hosts')),
        created_at=reader.maybe('created_at', _time),
        retired_at=reader.maybe('retired_at', _time),
        note=reader.take('note', str),
        project_level=reader.maybe('project_level', levels.Level.parse),
    )


def to_holding(message: Any) -> types.Holding:
    """Read a line of history; TypeError or ValueError where it is none."""
    reader = _Reader(message)
    return types.Holding(
        instance_uuid=reader.take('instance_uuid', str),
        project_id=reader.take('project_id', str),
        since=_time(reader.take('since', str)),
        until=reader.maybe('until', _time),
    )


def to_usage(message: Any) -> types.Usage:
    """Read who uses the space; TypeError or ValueError where it is not."""
    reader = _Reader(message)
    per_day = None
    if message.get('per_day') is not None:
        per_day = float(reader.take('per_day', float))
    return types.Usage(
        by_project=reader.counts('by_project'),
        by_host=reader.counts('by_host'),
        per_day=per_day,
        full_at=reader.maybe('full_at', _time),
    )


def to_stats(message: Any) -> types.Stats:
    """Read how full the space is; TypeError where it is not."""
    reader = _Reader(message)
    return types.Stats(
        **{
            name: reader.take(name, int)
            for name in ('size', 'held', 'retired', 'cooling', 'reserved')
        }
    )


def to_space(message: Any) -> spaces.LevelSpace:
    """Read a level space; TypeError or ValueError where it is none."""
    reader = _Reader(message)
    return spaces.LevelSpace.parse(
        reader.take('categories', str),
        reader.take('per_level', int),
        '',
        reader.take('project_categories', str),
        reader.take('per_project', int),
    )


def to_none(message: Any) -> None:
    """Read that there is no answer but that it was done."""
    if message is not None:
        raise TypeError('an answer where none was asked')


def list_of(read: Callable[[Any], Value]) -> Callable[[Any], list[Value]]:
    """A reader of lists."""

    def read_all(message: Any) -> list[Value]:
        if not isinstance(message, list):
            raise TypeError('not a list')
        return [read(each) for each in message]

    return read_all


def from_error(error: Exception) -> dict[str, str]:
    """Write a refusal; what is none of ours is told without its text."""
    name = type(error).__name__
    if name in _ERRORS or type(error) is ValueError:
        return {'name': name, 'text': str(error)}
    return {
        'name': 'StoreUnusable',
        'text': 'the allocator service failed; its log says why',
    }


def to_error(message: Any) -> Exception:
    """Read a refusal; an error to raise, whatever the message is."""
    try:
        reader = _Reader(message)
        name, text = reader.take('name', str), reader.take('text', str)
    except TypeError as error:
        return exception.StoreUnusable(
            f'the allocator service sent a refusal without sense: {error}'
        )
    if name == _BAD_ARGUMENT:
        return ValueError(text)
    return _ERRORS.get(name, exception.StoreUnusable)(text)
