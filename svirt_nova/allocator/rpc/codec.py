# SPDX-License-Identifier: Apache-2.0
"""How values are written in messages, and read from them.

A message consists of what JSON has: texts, numbers, lists, maps and null.
This module does no I/O. What the other side sent is checked before it is
used: reading gives a value of ours or raises TypeError or ValueError.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any
from typing import Generic
from typing import TypeVar

from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

Value = TypeVar('Value')


@dataclasses.dataclass(frozen=True, slots=True)
class Codec(Generic[Value]):
    """How values of one kind travel.

    :param write: gives what a message has for a value
    :param read: gives the value that a message has; it raises TypeError
        or ValueError when the message has no such value
    """

    write: Callable[[Value], Any]
    read: Callable[[Any], Value]


def optional(codec: Codec[Value]) -> Codec[Value | None]:
    """A codec of the same values and of None, which travels as null."""
    return Codec(
        lambda value: None if value is None else codec.write(value),
        lambda message: None if message is None else codec.read(message),
    )


def list_of(codec: Codec[Value]) -> Codec[list[Value]]:
    """A codec of lists of the same values."""

    def read(message: Any) -> list[Value]:
        if not isinstance(message, list):
            raise TypeError('not a list')
        return [codec.read(each) for each in message]

    return Codec(lambda values: [codec.write(each) for each in values], read)


class Record:
    """Reads the entries of a map.

    :raises TypeError: the message is no map. The methods raise it when an
        entry is missing or is of another kind.
    """

    def __init__(self, message: Any) -> None:
        if not isinstance(message, dict):
            raise TypeError('not a map')
        self._message = message

    def take(self, name: str, kind: type[Value]) -> Value:
        """An entry of a kind that JSON has."""
        value = self._message.get(name)
        if not isinstance(value, kind) or (
            # In Python, True is an int.
            kind is int and isinstance(value, bool)
        ):
            raise TypeError(f'{name} is no {kind.__name__}')
        return value

    def maybe(
        self,
        name: str,
        read: Callable[[Any], Value],
        kind: type[Any] = str,
    ) -> Value | None:
        """What is read from an entry; None if it is null or missing."""
        if self._message.get(name) is None:
            return None
        return read(self.take(name, kind))

    def texts(self, name: str) -> list[str]:
        """An entry that is a list of texts."""
        found = self.take(name, list)
        if not all(isinstance(each, str) for each in found):
            raise TypeError(f'{name} has what is no text')
        return found

    def counts(self, name: str) -> dict[str, int]:
        """An entry that is a map of numbers."""
        found = self.take(name, dict)
        if not all(
            isinstance(key, str) and isinstance(number, int)
            for key, number in found.items()
        ):
            raise TypeError(f'{name} has what is no count')
        return found


def _write_as_it_is(value: Value) -> Value:
    # The other side refuses a value that is of another kind.
    return value


def _read_text(message: Any) -> str:
    if not isinstance(message, str):
        raise TypeError(f'{message!r} is no text')
    return message


def _read_limit(message: Any) -> int:
    # In Python, True is an int.
    if type(message) is not int or message < 1:
        raise TypeError(f'{message!r} is no limit')
    return message


def _read_truth(message: Any) -> bool:
    if not isinstance(message, bool):
        raise TypeError(f'{message!r} is neither true nor false')
    return message


def _read_nothing(message: Any) -> None:
    if message is not None:
        raise TypeError('an answer where none was asked')


def _write_states(value: frozenset[types.State]) -> list[types.State]:
    return sorted(value)


def _read_states(message: Any) -> frozenset[types.State]:
    return frozenset(map(types.State, message))


def _write_time(value: datetime.datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _read_time(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise TypeError(f'{text} has no time zone')
    return moment


def _write_allocation(value: types.Allocation) -> dict[str, Any]:
    project_level = value.project_level
    return {
        'level': str(value.level),
        'instance_uuid': value.instance_uuid,
        'project_id': value.project_id,
        'hosts': sorted(value.hosts),
        'created_at': _write_time(value.created_at),
        'retired_at': _write_time(value.retired_at),
        'note': value.note,
        'project_level': None if project_level is None else str(project_level),
    }


def _read_allocation(message: Any) -> types.Allocation:
    record = Record(message)
    return types.Allocation(
        level=levels.Level.parse(record.take('level', str)),
        instance_uuid=record.maybe('instance_uuid', str),
        project_id=record.maybe('project_id', str),
        hosts=frozenset(record.texts('hosts')),
        created_at=record.maybe('created_at', _read_time),
        retired_at=record.maybe('retired_at', _read_time),
        note=record.take('note', str),
        project_level=record.maybe('project_level', levels.Level.parse),
    )


def _write_holding(value: types.Holding) -> dict[str, Any]:
    return {
        'instance_uuid': value.instance_uuid,
        'project_id': value.project_id,
        'since': _write_time(value.since),
        'until': _write_time(value.until),
    }


def _read_holding(message: Any) -> types.Holding:
    record = Record(message)
    return types.Holding(
        instance_uuid=record.take('instance_uuid', str),
        project_id=record.take('project_id', str),
        since=_read_time(record.take('since', str)),
        until=record.maybe('until', _read_time),
    )


def _write_usage(value: types.Usage) -> dict[str, Any]:
    return {
        'by_project': dict(value.by_project),
        'by_host': dict(value.by_host),
        'per_day': value.per_day,
        'full_at': _write_time(value.full_at),
    }


def _read_usage(message: Any) -> types.Usage:
    record = Record(message)
    return types.Usage(
        by_project=record.counts('by_project'),
        by_host=record.counts('by_host'),
        per_day=record.maybe('per_day', float, float),
        full_at=record.maybe('full_at', _read_time),
    )


_STATS = ('size', 'held', 'retired', 'cooling', 'reserved')


def _write_stats(value: types.Stats) -> dict[str, int]:
    return {name: getattr(value, name) for name in _STATS}


def _read_stats(message: Any) -> types.Stats:
    record = Record(message)
    return types.Stats(**{name: record.take(name, int) for name in _STATS})


def _write_space(value: spaces.LevelSpace) -> dict[str, Any]:
    return {
        'categories': levels.format_categories(value.categories),
        'per_level': value.per_level,
        'project_categories': levels.format_categories(
            value.project_categories
        ),
        'per_project': value.per_project,
    }


def _read_space(message: Any) -> spaces.LevelSpace:
    record = Record(message)
    return spaces.LevelSpace.parse(
        record.take('categories', str),
        record.take('per_level', int),
        '',
        record.take('project_categories', str),
        record.take('per_project', int),
    )


NOTHING: Codec[None] = Codec(lambda _: None, _read_nothing)
"""The result of calls that only change something."""

TRUTH = Codec(_write_as_it_is, _read_truth)
TEXT = Codec(_write_as_it_is, _read_text)
LEVEL = Codec(str, lambda message: levels.Level.parse(_read_text(message)))
LIMIT = Codec(_write_as_it_is, _read_limit)
STATES = Codec(_write_states, _read_states)
ALLOCATION = Codec(_write_allocation, _read_allocation)
HOLDING = Codec(_write_holding, _read_holding)
USAGE = Codec(_write_usage, _read_usage)
STATS = Codec(_write_stats, _read_stats)
SPACE = Codec(_write_space, _read_space)
