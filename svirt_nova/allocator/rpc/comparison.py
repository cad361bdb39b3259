# SPDX-License-Identifier: Apache-2.0
"""Compares what the service answers with what it was asked for.

A bus that lets another program answer in place of the service, or a fault in
it, could give an instance the level of another one.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from oslo_utils import uuidutils

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls

LOG = logs.get_logger(__name__)

_Difference = tuple[str, object, object]
"""What differs, what was asked for, and what was answered."""


def check(
    call: calls.Call[Any],
    host: str | None,
    arguments: Mapping[str, Any],
    answer: Any,
) -> None:
    """Check that an answer is about what its call has named.

    :param host: that makes the call; None for an operator
    :param arguments: of the call
    :param answer: its result, read
    :raises WrongAnswer: it is about another instance, project, host or level
    """
    found = answer if isinstance(answer, list) else [answer]
    for each in found:
        if not isinstance(each, types.Allocation):
            continue
        for what, expected, got in _differences(call, arguments, each):
            instance = arguments.get('instance_uuid', each.instance_uuid)
            error = exception.WrongAnswer(
                f'the allocator service answered the call {call.name} of '
                f'host {host or "none"} about instance {instance} with '
                f'another {what}: expected {expected}, got {got}. The answer '
                f'is not used. '
                f'Somebody else may answer on the message bus in place of '
                f'the service; see "Keys of callers" in the guide'
            )
            LOG.error('%s', error)
            raise error


def _differences(
    call: calls.Call[Any],
    arguments: Mapping[str, Any],
    found: types.Allocation,
) -> Iterator[_Difference]:
    if call in (calls.ACQUIRE, calls.ADOPT, calls.GET):
        asked = arguments['instance_uuid']
        if uuidutils.is_uuid_like(asked):
            # The store has one spelling.
            asked = str(uuid.UUID(asked))
        if found.instance_uuid != asked:
            yield 'instance', asked, found.instance_uuid
    if call in (calls.ACQUIRE, calls.ADOPT):
        project = arguments['project_id']
        if found.project_id != project:
            yield 'project', project, found.project_id
    if call in (calls.ADOPT, calls.FIND, calls.RESERVE):
        level = arguments['level']
        if found.level != level:
            yield 'level', level, found.level
    if call in (calls.ACQUIRE, calls.ADOPT, calls.CLAIMS, calls.LIST):
        host = arguments['host']
        if host is not None and host not in found.hosts:
            hosts = ', '.join(sorted(found.hosts)) or 'no host'
            yield 'host', host, f'claims of {hosts}'
