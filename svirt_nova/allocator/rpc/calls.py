# SPDX-License-Identifier: Apache-2.0
"""The calls of the allocator service: the table of its interface.

The client makes the calls of this table, and the endpoints of the service
answer them. A call does what the method of its name does in
:class:`svirt_nova.allocator.base.Allocator`, unless an endpoint does it in
another way.

Releases with versions from 1.0 on are in the field, and in a rolling
upgrade the client and the service are of different releases. Hence a new
minor version only adds to the one before: a call, or an argument, that is
``since`` that version. The client asks for the version that a call needs, and
a service that has it not refuses the call.
"""

from __future__ import annotations

from typing import Any

from svirt_nova.allocator.rpc import call_definitions
from svirt_nova.allocator.rpc import codec

EXCHANGE = 'svirt-nova'
"""The exchange of all topics, on every bus.

Nova names its own exchange in the configuration of its programs
(``nova.config.parse_args``), and other programs leave it at the default of
oslo.messaging. Without a name of our own, a compute's calls would not reach
the service.
"""

_LONG = 600.0
"""Seconds that an operator's command waits for a change that takes long."""


# Callers find what describes a call where they find the calls.
Argument = call_definitions.Argument
Call = call_definitions.Call
Topic = call_definitions.Topic
HOST = call_definitions.HOST
FIRST_VERSION = call_definitions.FIRST_VERSION

_BOTH = (Topic.COMPUTES, Topic.OPERATORS)
_COMPUTES = (Topic.COMPUTES,)
_OPERATORS = (Topic.OPERATORS,)

_INSTANCE_UUID = Argument('instance_uuid', codec.TEXT)
_PROJECT_ID = Argument('project_id', codec.TEXT)
_LEVEL = Argument('level', codec.LEVEL)
# A client sends it only to a service that has told it a number.
_CLAIM_NUMBER = Argument('number', codec.optional(codec.NUMBER), '1.4', True)
_PART = (
    Argument('after', codec.optional(codec.LEVEL), since='1.1'),
    Argument('limit', codec.optional(codec.LIMIT), since='1.1'),
)
"""Which part of a list is asked for; without them, all of it."""

_RECENT = (
    Argument('begun_after', codec.optional(codec.TIME), '1.4', True),
    Argument('limit', codec.optional(codec.LIMIT), '1.4', True),
)
_SEARCH = (
    Argument('instance_uuid', codec.optional(codec.TEXT), '1.5', True),
    Argument('project_id', codec.optional(codec.TEXT), '1.5', True),
    Argument('at', codec.optional(codec.TIME), '1.5', True),
)
_MOST = Argument('most', codec.optional(codec.LIMIT), '1.4', True)

PING = Call(
    'ping',
    'Answer, and do nothing.',
    topics=_BOTH,
    arguments=(),
    result=codec.NOTHING,
    only_reads=True,
)
ACQUIRE = Call(
    'acquire',
    'Hold a level for an instance and claim it for a host.',
    topics=_COMPUTES,
    arguments=(
        _INSTANCE_UUID,
        _PROJECT_ID,
        HOST,
        Argument('seen', codec.optional(codec.GENERATION), '1.3', True),
        _CLAIM_NUMBER,
    ),
    result=codec.ALLOCATION,
)
ADOPT = Call(
    'adopt',
    'Hold the level that a running instance has, and claim it.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID, _PROJECT_ID, HOST, _LEVEL, _CLAIM_NUMBER),
    result=codec.ALLOCATION,
)
GET = Call(
    'get',
    'Give the level of an instance.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID,),
    result=codec.ALLOCATION,
    only_reads=True,
)
UNCLAIM = Call(
    'unclaim',
    'Drop the claim of a host: its own, or any as an operator.',
    topics=_BOTH,
    arguments=(_INSTANCE_UUID, HOST, _CLAIM_NUMBER),
    result=codec.NOTHING,
)
GIVE_BACK = Call(
    'give_back',
    'Drop the claim of a host, and retire the instance if it is the last.',
    topics=_COMPUTES,
    arguments=(_INSTANCE_UUID, HOST, _CLAIM_NUMBER),
    result=codec.NOTHING,
)
CLAIMS = Call(
    'claims',
    'List the levels that a host claims.',
    topics=_COMPUTES,
    arguments=(HOST, *_PART),
    result=codec.list_of(codec.ALLOCATION),
    only_reads=True,
)
SPACE = Call(
    'space',
    'Give the level space.',
    topics=_COMPUTES,
    arguments=(),
    result=codec.SPACE,
    only_reads=True,
)
IS_HELD = Call(
    'is_held',
    'Tell whether a level is in use, but not by whom.',
    topics=_COMPUTES,
    arguments=(_LEVEL,),
    result=codec.TRUTH,
    since='1.2',
    only_reads=True,
)
MEET = Call(
    'meet',
    'Compare the store with what a host has seen of it.',
    topics=_COMPUTES,
    arguments=(HOST, Argument('seen', codec.GENERATION)),
    result=codec.TRUST,
    since='1.3',
)
DOUBT = Call(
    'doubt',
    'Distrust the store if it has another level for an instance.',
    topics=_COMPUTES,
    arguments=(HOST, _INSTANCE_UUID, _LEVEL),
    result=codec.NOTHING,
    since='1.3',
)
REPORT = Call(
    'report',
    'Say that a host has adopted all levels that it has.',
    topics=_COMPUTES,
    arguments=(HOST, Argument('hosts', codec.TEXTS)),
    result=codec.TRUST,
    since='1.3',
)
FIND = Call(
    'find',
    'Give the allocation of a level, or null for a free level.',
    topics=_OPERATORS,
    arguments=(_LEVEL,),
    result=codec.optional(codec.ALLOCATION),
    only_reads=True,
)
RETIRE = Call(
    'retire',
    'Record that an instance is gone for good.',
    topics=_OPERATORS,
    arguments=(_INSTANCE_UUID, _CLAIM_NUMBER),
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
    only_reads=True,
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
    'List the instances that have, and had, a level; or the levels that an '
    'instance or a project has, and had.',
    topics=_OPERATORS,
    arguments=(
        Argument('level', codec.optional(codec.LEVEL)),
        *_RECENT,
        *_SEARCH,
    ),
    result=codec.list_of(codec.HOLDING),
    only_reads=True,
)
STATS = Call(
    'stats',
    'Tell how full the level space is.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.STATS,
    only_reads=True,
)
USAGE = Call(
    'usage',
    'Tell who uses the level space, and how fast it fills.',
    topics=_OPERATORS,
    arguments=(_MOST,),
    result=codec.USAGE,
    only_reads=True,
)
TIDY = Call(
    'tidy',
    'Free levels that have cooled, and forget old history.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.NOTHING,
    timeout=_LONG,
)
DISTRUST = Call(
    'distrust',
    'Give no level to new instances before all hosts have reported.',
    topics=_OPERATORS,
    arguments=(Argument('reason', codec.TEXT),),
    result=codec.NOTHING,
    since='1.3',
)
TRUST = Call(
    'trust',
    'Give levels to new instances again.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.NOTHING,
    since='1.3',
)
SHOW_TRUST = Call(
    'show_trust',
    'Tell whether the store is trusted, and who has not reported.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.TRUST,
    since='1.3',
    only_reads=True,
)

SHOW_CLOUD = Call(
    'show_cloud',
    'Give the cloud that the store belongs to.',
    topics=_OPERATORS,
    arguments=(),
    result=codec.KNOWN_CLOUD,
    since='1.4',
    only_reads=True,
)
MEET_CLOUD = Call(
    'meet_cloud',
    'Remember the cloud that the store belongs to.',
    topics=_OPERATORS,
    arguments=(
        Argument('cloud', codec.CLOUD),
        Argument('strangers', codec.TEXTS),
        Argument('replaces', codec.TRUTH),
    ),
    result=codec.KNOWN_CLOUD,
    since='1.4',
)

CALLS: tuple[Call[Any], ...] = tuple(
    each for each in globals().values() if isinstance(each, Call)
)
"""All calls above."""

READS = frozenset(each.name for each in CALLS if each.only_reads)
"""The names of the calls that change nothing."""

VERSION = call_definitions.newest(*(each.version for each in CALLS))
"""The version of the interface that the service answers."""
