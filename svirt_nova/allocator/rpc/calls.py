# SPDX-License-Identifier: Apache-2.0
"""The calls of the allocator service: the table of its interface.

The client makes the calls of this table, and the endpoints of the service
answer them. A call does what the method of its name does in
:class:`svirt_nova.allocator.base.Allocator`, unless an endpoint does it in
another way.

Releases with the versions 1.0 and 1.1 are in the field, and in a rolling
upgrade the client and the service are of different releases. Hence a new
minor version only adds to the one before: a call, or an argument, that is
``since`` that version. The client asks for the version that a call needs, and
a service that has it not refuses the call.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Generic
from typing import TypeVar

from oslo_utils import versionutils

from svirt_nova.allocator.rpc import codec

Result = TypeVar('Result')

EXCHANGE = 'svirt-nova'
"""The exchange of all topics, on every bus.

Nova names its own exchange in the configuration of its programs
(``nova.config.parse_args``), and other programs leave it at the default of
oslo.messaging. Without a name of our own, a compute's calls would not reach
the service.
"""

FIRST_VERSION = '1.0'
"""The version of the interface that every service answers."""

PAGE = 5000
"""The most allocations that the client asks for in one call.

So many make an answer of about a megabyte.
"""

_LONG = 600.0
"""Seconds that an operator's command waits for a change that takes long."""


class Topic(enum.Enum):
    """Where a call is answered.

    The name of a topic on the bus is the option ``[svirt_nova_allocator]
    topic`` and this value. Operators' calls have a topic of their own, which
    can be on a bus that no compute reaches.
    """

    COMPUTES = ''
    OPERATORS = '-operator'


@dataclasses.dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a call.

    :param name: its name in the message
    :param kind: the codec of its values
    :param since: the version of the interface that brought it, if that is
        not the call's. Clients of a version before do not send it; the
        service reads None then.
    """

    name: str
    kind: codec.Codec[Any]
    since: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Call(Generic[Result]):
    """A call of the service.

    :param name: its name in the message
    :param summary: what it does, in a sentence
    :param topics: where it is answered; the client prefers the first
    :param arguments: its arguments, in the order of the parameters of the
        allocator's method
    :param result: the codec of its result
    :param since: the version of the interface that brought it
    :param timeout: seconds that the client waits for the answer, once;
        None for the options ``call_timeout`` and ``call_retries``
    """

    name: str
    summary: str
    topics: tuple[Topic, ...]
    arguments: tuple[Argument, ...]
    result: codec.Codec[Result]
    since: str = FIRST_VERSION
    timeout: float | None = None

    @property
    def version(self) -> str:
        """The version of the interface that has all of the call."""
        return _newest(
            self.since,
            *(each.since for each in self.arguments if each.since),
        )

    @property
    def has_host(self) -> bool:
        """Whether the call is about what one host claims.

        The caller is that host then, unless it is an operator.
        """
        return HOST in self.arguments

    def write_arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Write all arguments, as the client does.

        :raises TypeError: the values are not those of the arguments
        """
        self._check_names(values, self.arguments)
        return {
            each.name: each.kind.write(values[each.name])
            for each in self.arguments
        }

    def read_arguments(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Read the arguments, as the service does.

        :raises TypeError: an argument is missing, is unknown, or is not of
            its kind
        :raises ValueError: an argument has no sense
        """
        self._check_names(
            message,
            [each for each in self.arguments if each.since is None],
        )
        return {
            each.name: each.kind.read(message[each.name])
            if each.name in message
            else None
            for each in self.arguments
        }

    def _check_names(
        self, given: Mapping[str, Any], required: Iterable[Argument]
    ) -> None:
        for each in required:
            if each.name not in given:
                raise TypeError(f'{self.name} needs the argument {each.name}')
        unknown = given.keys() - {each.name for each in self.arguments}
        if unknown:
            raise TypeError(f'{self.name} has no argument {min(unknown)!r}')


def _newest(*versions: str) -> str:
    return max(versions, key=versionutils.convert_version_to_tuple)


_BOTH = (Topic.COMPUTES, Topic.OPERATORS)
_COMPUTES = (Topic.COMPUTES,)
_OPERATORS = (Topic.OPERATORS,)

_INSTANCE_UUID = Argument('instance_uuid', codec.TEXT)
_PROJECT_ID = Argument('project_id', codec.TEXT)
_LEVEL = Argument('level', codec.LEVEL)
_PART = (
    Argument('after', codec.optional(codec.LEVEL), since='1.1'),
    Argument('limit', codec.optional(codec.LIMIT), since='1.1'),
)
"""Which part of a list is asked for; without them, all of it."""

HOST = Argument('host', codec.TEXT)
"""The host whose claims a call is about."""

PING = Call(
    'ping',
    'Answer, and do nothing.',
    topics=_BOTH,
    arguments=(),
    result=codec.NOTHING,
)
ACQUIRE = Call(
    'acquire',
    'Hold a level for an instance and claim it for a host.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID, _PROJECT_ID, HOST),
    result=codec.ALLOCATION,
)
ADOPT = Call(
    'adopt',
    'Hold the level that a running instance has, and claim it.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID, _PROJECT_ID, HOST, _LEVEL),
    result=codec.ALLOCATION,
)
GET = Call(
    'get',
    'Give the level of an instance.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID,),
    result=codec.ALLOCATION,
)
UNCLAIM = Call(
    'unclaim',
    'Drop the claim of a host: its own, or any as an operator.',
    topics=_BOTH,
    arguments=(_INSTANCE_UUID, HOST),
    result=codec.NOTHING,
)
GIVE_BACK = Call(
    'give_back',
    'Drop the claim of a host, and retire the instance if it is the last.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID, HOST),
    result=codec.NOTHING,
)
CLAIMS = Call(
    'claims',
    'List the levels that a host claims.',
    topics=_COMPUTES,
    arguments=(HOST, *_PART),
    result=codec.list_of(codec.ALLOCATION),
)
SPACE = Call(
    'space',
    'Give the level space.',
    topics=_COMPUTES,
    arguments=(),
    result=codec.SPACE,
)
IS_HELD = Call(
    'is_held',
    'Tell whether a level is in use, but not by whom.',
    topics=_COMPUTES,
    arguments=(_LEVEL,),
    result=codec.TRUTH,
    since='1.2',
)
FIND = Call(
    'find',
    'Give the allocation of a level, or null for a free level.',
    topics=_OPERATORS,
    arguments=(_LEVEL,),
    result=codec.optional(codec.ALLOCATION),
)
RETIRE = Call(
    'retire',
    'Record that an instance is gone for good.',
    topics=_OPERATORS,
    arguments=(_INSTANCE_UUID,),
    result=codec.NOTHING,
)
RESERVE = Call(
    'reserve',
    'Keep a level from being given out.',
    topics=_OPERATORS,
    arguments=(_LEVEL, Argument('note', codec.TEXT)),
    result=codec.ALLOCATION,
)
RELEASE = Call(
    'release',
    'Let a reserved level be given out again.',
    topics=_OPERATORS,
    arguments=(_LEVEL,),
    result=codec.NOTHING,
)
LIST = Call(
    'list',
    'List the levels that are not free.',
    topics=_OPERATORS,
    arguments=(
        Argument('host', codec.optional(codec.TEXT)),
        Argument('project_id', codec.optional(codec.TEXT)),
        Argument('states', codec.optional(codec.STATES)),
        *_PART,
    ),
    result=codec.list_of(codec.ALLOCATION),
)
SET_SPACE = Call(
    'set_space',
    'Change the level space.',
    topics=_OPERATORS,
    arguments=(Argument('space', codec.SPACE),),
    result=codec.NOTHING,
    timeout=_LONG,
)
HISTORY = Call(
    'history',
    'List the instances that have, and had, a level.',
    topics=_OPERATORS,
    arguments=(_LEVEL,),
    result=codec.list_of(codec.HOLDING),
)
STATS = Call(
    'stats',
    'Tell how full the level space is.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.STATS,
)
USAGE = Call(
    'usage',
    'Tell who uses the level space, and how fast it fills.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.USAGE,
)
TIDY = Call(
    'tidy',
    'Free levels that have cooled, and forget old history.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.NOTHING,
    timeout=_LONG,
)

CALLS: tuple[Call[Any], ...] = tuple(
    each for each in globals().values() if isinstance(each, Call)
)
"""All calls above."""

VERSION = _newest(*(each.version for each in CALLS))
"""The version of the interface that the service answers."""
