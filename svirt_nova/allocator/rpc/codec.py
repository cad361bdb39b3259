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
from collections.abc import Collection
from typing import Any
from typing import Generic
from typing import TypeVar

from svirt_nova import printing
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import records
from svirt_nova.allocator.rpc import sizes
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


def _write_as_it_is(value: Value) -> Value:
    # The other side refuses a value that is of another kind.
    return value


def _read_text(message: Any) -> str:
    if not isinstance(message, str):
        raise TypeError(f'{printing.quote(message)} is no text')
    if len(message) > sizes.LONGEST_TEXT:
        raise ValueError(f'{printing.quote(message)} is too long')
    return message


def _read_limit(message: Any) -> int:
    # In Python, True is an int.
    if type(message) is not int or message < 1:
        raise TypeError(f'{printing.quote(message)} is no limit')
    return message


def _read_truth(message: Any) -> bool:
    if not isinstance(message, bool):
        raise TypeError(f'{printing.quote(message)} is neither true nor false')
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
        raise TypeError(f'{printing.quote(text)} has no time zone')
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
        # Clients of former releases do not expect it.
        **(
            {}
            if value.generation is None
            else {'generation': value.generation}
        ),
        **({'claims': dict(value.claims)} if value.claims else {}),
        **(
            {}
            if value.last_claim is None
            else {'last_claim': value.last_claim}
        ),
    }


def _read_allocation(message: Any) -> types.Allocation:
    record = records.Record(message)
    return types.Allocation(
        level=levels.Level.parse(record.take('level', str)),
        instance_uuid=record.maybe('instance_uuid', str),
        project_id=record.maybe('project_id', str),
        hosts=frozenset(record.texts('hosts')),
        created_at=record.maybe('created_at', _read_time),
        retired_at=record.maybe('retired_at', _read_time),
        note=record.take('note', str),
        project_level=record.maybe('project_level', levels.Level.parse),
        generation=record.maybe('generation', int, int),
        claims=record.maybe('claims', _read_numbers, dict) or {},
        last_claim=record.maybe('last_claim', _read_number, int),
    )


def _read_number(message: Any) -> int:
    # In Python, True is an int.
    if type(message) is not int or message < claim_numbers.UNNUMBERED:
        raise TypeError(
            f'{printing.quote(message)} is not the number of a claim'
        )
    return message


def _read_numbers(message: dict[Any, Any]) -> dict[str, int]:
    return {
        _read_text(host): _read_number(number)
        for host, number in message.items()
    }


def _write_holding(value: types.Holding) -> dict[str, Any]:
    return {
        'instance_uuid': value.instance_uuid,
        'project_id': value.project_id,
        'since': _write_time(value.since),
        'until': _write_time(value.until),
        # Clients of former releases do not expect it.
        **({} if value.level is None else {'level': str(value.level)}),
        **(
            {'claims': [*map(_write_period, value.claims)]}
            if value.claims
            else {}
        ),
    }


def _write_period(value: types.ClaimPeriod) -> dict[str, Any]:
    return {
        'host': value.host,
        'since': _write_time(value.since),
        'until': _write_time(value.until),
    }


def _read_period(message: Any) -> types.ClaimPeriod:
    record = records.Record(message)
    return types.ClaimPeriod(
        host=record.take('host', str),
        since=record.maybe('since', _read_time),
        until=record.maybe('until', _read_time),
    )


def _read_holding(message: Any) -> types.Holding:
    record = records.Record(message)
    return types.Holding(
        instance_uuid=record.take('instance_uuid', str),
        project_id=record.take('project_id', str),
        since=_read_time(record.take('since', str)),
        until=record.maybe('until', _read_time),
        level=record.maybe('level', levels.Level.parse),
        claims=tuple(
            map(_read_period, record.maybe('claims', list, list) or ())
        ),
    )


def _write_usage(value: types.Usage) -> dict[str, Any]:
    return {
        'by_project': dict(value.by_project),
        'by_host': dict(value.by_host),
        'per_day': value.per_day,
        'full_at': _write_time(value.full_at),
    }


def _read_usage(message: Any) -> types.Usage:
    record = records.Record(message)
    return types.Usage(
        by_project=record.counts('by_project'),
        by_host=record.counts('by_host'),
        per_day=record.maybe('per_day', float, float),
        full_at=record.maybe('full_at', _read_time),
    )


def _write_trust(value: types.Trust) -> dict[str, Any]:
    return {
        'generation': value.generation,
        'distrusted_at': _write_time(value.distrusted_at),
        'reason': value.reason,
        'awaited': [*value.awaited],
    }


def _read_trust(message: Any) -> types.Trust:
    record = records.Record(message)
    return types.Trust(
        generation=record.take('generation', int),
        distrusted_at=record.maybe('distrusted_at', _read_time),
        reason=record.take('reason', str),
        awaited=tuple(record.texts('awaited')),
    )


def _write_cloud(value: clouds.Cloud) -> dict[str, Any]:
    return {
        'name': value.name,
        'services': [
            {'host': each.host, 'uuid': each.uuid, 'is_up': each.is_up}
            for each in value.services
        ],
    }


def _read_cloud(message: Any) -> clouds.Cloud:
    record = records.Record(message)
    return clouds.Cloud(
        record.take('name', str),
        tuple(
            clouds.ComputeService(
                each.take('host', str),
                each.take('uuid', str),
                each.take('is_up', bool),
            )
            for each in map(records.Record, record.take('services', list))
        ),
    )


def _write_known_cloud(value: clouds.KnownCloud) -> dict[str, Any]:
    asked_at = _write_time(value.asked_at)
    return {
        'name': value.name,
        **({} if asked_at is None else {'asked_at': asked_at}),
        'hosts': [
            {
                'name': each.name,
                'service_uuid': each.service_uuid,
                'missing_since': _write_time(each.missing_since),
            }
            for each in value.hosts
        ],
    }


def _read_known_cloud(message: Any) -> clouds.KnownCloud:
    record = records.Record(message)
    return clouds.KnownCloud(
        record.take('name', str),
        tuple(
            clouds.KnownHost(
                each.take('name', str),
                each.maybe('service_uuid', str),
                each.maybe('missing_since', _read_time),
            )
            for each in map(records.Record, record.take('hosts', list))
        ),
        record.maybe('asked_at', _read_time),
    )


def _read_texts(message: Any) -> list[str]:
    if not isinstance(message, list):
        raise TypeError('not a list')
    if len(message) > sizes.MOST_TEXTS:
        raise ValueError(f'a list of more than {sizes.MOST_TEXTS} texts')
    return [_read_text(each) for each in message]


def _read_generation(message: Any) -> int:
    # In Python, True is an int.
    if type(message) is not int or message < 0:
        raise TypeError(f'{printing.quote(message)} is no generation')
    return message


_STATS = ('size', 'held', 'retired', 'cooling', 'reserved')


def _write_stats(value: types.Stats) -> dict[str, int]:
    return {name: getattr(value, name) for name in _STATS}


def _read_stats(message: Any) -> types.Stats:
    record = records.Record(message)
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
    record = records.Record(message)
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
TEXTS: Codec[Collection[str]] = Codec(sorted, _read_texts)
TIME = Codec(
    datetime.datetime.isoformat,
    lambda message: _read_time(_read_text(message)),
)
GENERATION = Codec(_write_as_it_is, _read_generation)
NUMBER = Codec(_write_as_it_is, _read_number)
TRUST = Codec(_write_trust, _read_trust)
CLOUD = Codec(_write_cloud, _read_cloud)
KNOWN_CLOUD = Codec(_write_known_cloud, _read_known_cloud)
