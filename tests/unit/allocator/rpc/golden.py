# SPDX-License-Identifier: Apache-2.0
"""What releases in the field send and answer, message by message.

Each further line of ``golden.jsonl`` has a message that releases with the
versions 1.0 to 1.5 of the calls send, and what the other side answers. In a
rolling upgrade the client and the service are of different releases, so a
line may be added to the file, but a line that is there must never change.

``python -m tests.unit.allocator.rpc.golden`` prints the lines of the working
tree, from which those of new calls can be taken.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any
from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import client
from svirt_nova.allocator.rpc import sizes
from tests.unit.allocator.rpc import wire
from tests.unit.allocator.rpc.golden_values import ALONE
from tests.unit.allocator.rpc.golden_values import BORN
from tests.unit.allocator.rpc.golden_values import CLAIMED
from tests.unit.allocator.rpc.golden_values import CLOUD
from tests.unit.allocator.rpc.golden_values import COOLING
from tests.unit.allocator.rpc.golden_values import DISTRUST
from tests.unit.allocator.rpc.golden_values import GIVEN
from tests.unit.allocator.rpc.golden_values import GONE
from tests.unit.allocator.rpc.golden_values import INSTANCE_SPACE
from tests.unit.allocator.rpc.golden_values import KNOWN_CLOUD
from tests.unit.allocator.rpc.golden_values import LEVEL
from tests.unit.allocator.rpc.golden_values import NUMBERED
from tests.unit.allocator.rpc.golden_values import OTHER_UUID
from tests.unit.allocator.rpc.golden_values import PROJECT_SPACE
from tests.unit.allocator.rpc.golden_values import RESERVED
from tests.unit.allocator.rpc.golden_values import UUID
from tests.unit.allocator.rpc.golden_values import WITH_HOSTS

PATH = pathlib.Path(__file__).with_name('golden.jsonl')


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A call of the client, and how the service does it.

    :param ask: makes the call
    :param asked: what the service asks of the allocator behind it
    :param found: what that allocator answers, and the client gives out
    :param holder: what that allocator knows of the instance
    :param host: Nova's name for the client's host
    """

    ask: Callable[[base.Allocator], Any]
    asked: Any
    found: Any = None
    holder: types.Allocation = ALONE
    host: str | None = 'host1'


EXCHANGES = {
    'acquire': Exchange(
        lambda a: a.acquire(UUID, 'p1', 'host1'),
        mock.call.acquire(UUID, 'p1', 'host1'),
        GIVEN,
    ),
    'acquire by a program without a host': Exchange(
        lambda a: a.acquire(UUID, 'p1', 'host1'),
        mock.call.acquire(UUID, 'p1', 'host1'),
        GIVEN,
        host=None,
    ),
    'adopt': Exchange(
        lambda a: a.adopt(UUID, 'p1', 'host1', LEVEL),
        mock.call.adopt(UUID, 'p1', 'host1', LEVEL),
        CLAIMED,
    ),
    'adopt by a program without a host': Exchange(
        lambda a: a.adopt(UUID, 'p1', 'host1', LEVEL),
        mock.call.adopt(UUID, 'p1', 'host1', LEVEL),
        CLAIMED,
        host=None,
    ),
    'get': Exchange(
        lambda a: a.get(OTHER_UUID),
        mock.call.get(OTHER_UUID),
        COOLING,
        holder=COOLING,
    ),
    'unclaim of the own host': Exchange(
        lambda a: a.unclaim(UUID, 'host1'), mock.call.unclaim(UUID, 'host1')
    ),
    'unclaim of another host': Exchange(
        lambda a: a.unclaim(UUID, 'host2'), mock.call.unclaim(UUID, 'host2')
    ),
    'unclaim by a program without a host': Exchange(
        lambda a: a.unclaim(UUID, 'host2'),
        mock.call.unclaim(UUID, 'host2'),
        host=None,
    ),
    'give_back of the last claim': Exchange(
        lambda a: a.give_back(UUID, 'host1'),
        mock.call.give_back_last(UUID, 'host1'),
    ),
    'give_back with another claim': Exchange(
        lambda a: a.give_back(UUID, 'host1'),
        mock.call.give_back_last(UUID, 'host1'),
    ),
    'give_back by a program without a host': Exchange(
        lambda a: a.give_back(UUID, 'host1'),
        mock.call.give_back_last(UUID, 'host1'),
        host=None,
    ),
    'list of the own host': Exchange(
        lambda a: a.list(host='host1'),
        mock.call.list(host='host1', after=None, limit=5000),
        [CLAIMED, ALONE],
    ),
    'list of the own host from a level on': Exchange(
        lambda a: a.list(host='host1', after=LEVEL, limit=2),
        mock.call.list(host='host1', after=LEVEL, limit=5000),
        [CLAIMED],
    ),
    'space': Exchange(lambda a: a.space(), mock.call.space(), INSTANCE_SPACE),
    'space of projects': Exchange(
        lambda a: a.space(), mock.call.space(), PROJECT_SPACE, host=None
    ),
    'find': Exchange(
        lambda a: a.find(RESERVED.level),
        mock.call.find(RESERVED.level),
        RESERVED,
    ),
    'find a free level': Exchange(
        lambda a: a.find(LEVEL), mock.call.find(LEVEL), host=None
    ),
    'is_held': Exchange(
        lambda a: a.is_held(LEVEL), mock.call.is_held(LEVEL), True
    ),
    'retire': Exchange(
        lambda a: a.retire(UUID), mock.call.retire(UUID), host=None
    ),
    'reserve': Exchange(
        lambda a: a.reserve(RESERVED.level, RESERVED.note),
        mock.call.reserve(RESERVED.level, RESERVED.note),
        RESERVED,
    ),
    'release': Exchange(lambda a: a.release(LEVEL), mock.call.release(LEVEL)),
    'list': Exchange(
        lambda a: a.list(),
        mock.call.list(
            host=None, project_id=None, states=None, after=None, limit=5000
        ),
        [RESERVED, COOLING, CLAIMED],
        host=None,
    ),
    'list with every filter': Exchange(
        lambda a: a.list(
            host='host2',
            project_id='p1',
            states=frozenset({types.State.RETIRED, types.State.HELD}),
            after=LEVEL,
            limit=7,
        ),
        mock.call.list(
            host='host2',
            project_id='p1',
            states=frozenset({types.State.RETIRED, types.State.HELD}),
            after=LEVEL,
            limit=5000,
        ),
        [CLAIMED],
    ),
    'list with a host, by a program without one': Exchange(
        lambda a: a.list(host='host1'),
        mock.call.list(
            host='host1', project_id=None, states=None, after=None, limit=5000
        ),
        [],
        host=None,
    ),
    'set_space': Exchange(
        lambda a: a.set_space(INSTANCE_SPACE),
        mock.call.set_space(INSTANCE_SPACE),
    ),
    'set_space of projects': Exchange(
        lambda a: a.set_space(PROJECT_SPACE),
        mock.call.set_space(PROJECT_SPACE),
        host=None,
    ),
    'history': Exchange(
        lambda a: a.history(LEVEL),
        mock.call.history(LEVEL, limit=sizes.MOST_ENTRIES + 1),
        [
            types.Holding(OTHER_UUID, 'proj\u00e9t', BORN, GONE),
            types.Holding(UUID, 'p1', GONE, None),
        ],
    ),
    'stats': Exchange(
        lambda a: a.stats(), mock.call.stats(), types.Stats(45, 9, 8, 7, 6)
    ),
    'usage': Exchange(
        lambda a: a.usage(),
        mock.call.usage(),
        types.Usage({'p1': 2, 'p2': 1}, {'host1': 3}, 0.25, GONE),
    ),
    'usage of an empty store': Exchange(
        lambda a: a.usage(),
        mock.call.usage(),
        types.Usage({}, {}, None, None),
        host=None,
    ),
    'tidy': Exchange(lambda a: a.tidy(), mock.call.tidy()),
    'acquire by a host that has seen a generation': Exchange(
        lambda a: a.acquire(UUID, 'p1', 'host1', 41),
        mock.call.acquire(UUID, 'p1', 'host1', 41),
        dataclasses.replace(GIVEN, generation=42),
    ),
    'meet': Exchange(
        lambda a: a.meet('host1', 41),
        mock.call.meet('host1', 41),
        types.Trust(42),
    ),
    'meet of a store that is older': Exchange(
        lambda a: a.meet('host1', 41), mock.call.meet('host1', 41), DISTRUST
    ),
    'doubt': Exchange(
        lambda a: a.doubt('host1', UUID, LEVEL),
        mock.call.doubt('host1', UUID, LEVEL),
    ),
    'report': Exchange(
        lambda a: a.report('host1', ['host2', 'host1']),
        mock.call.report('host1', ['host1', 'host2']),
        DISTRUST,
    ),
    'distrust': Exchange(
        lambda a: a.distrust('why, \u00b5'),
        mock.call.distrust('why, \u00b5'),
    ),
    'trust': Exchange(lambda a: a.trust(), mock.call.trust(), host=None),
    'history in a part': Exchange(
        lambda a: a.history(LEVEL, BORN, 2),
        mock.call.history(LEVEL, BORN, 2),
        [types.Holding(UUID, 'p1', GONE, None)],
    ),
    'history of an instance, with its hosts': Exchange(
        lambda a: a.history(instance_uuid=UUID, at=GONE),
        mock.call.history(
            None,
            limit=sizes.MOST_ENTRIES + 1,
            instance_uuid=UUID,
            at=GONE,
        ),
        [WITH_HOSTS],
    ),
    'history of a project in a part': Exchange(
        lambda a: a.history(None, BORN, 2, project_id='p1'),
        mock.call.history(None, BORN, 2, project_id='p1'),
        [],
        host=None,
    ),
    'usage of those with the most levels': Exchange(
        lambda a: a.usage(2),
        mock.call.usage(2),
        types.Usage({'p1': 2, 'p2': 1}, {'host1': 3}, 0.25, GONE),
        host=None,
    ),
    'acquire with a number': Exchange(
        lambda a: a.acquire(UUID, 'p1', 'host1', number=7),
        mock.call.acquire(UUID, 'p1', 'host1', number=7),
        NUMBERED,
    ),
    'adopt with a number': Exchange(
        lambda a: a.adopt(UUID, 'p1', 'host1', LEVEL, 7),
        mock.call.adopt(UUID, 'p1', 'host1', LEVEL, 7),
        NUMBERED,
    ),
    'unclaim with a number': Exchange(
        lambda a: a.unclaim(UUID, 'host1', 7),
        mock.call.unclaim(UUID, 'host1', 7),
    ),
    'unclaim of another host with a number': Exchange(
        lambda a: a.unclaim(UUID, 'host2', 0),
        mock.call.unclaim(UUID, 'host2', 0),
    ),
    'give_back of the last claim with a number': Exchange(
        lambda a: a.give_back(UUID, 'host1', 7),
        mock.call.give_back_last(UUID, 'host1', 7),
        holder=NUMBERED,
    ),
    'retire with a number': Exchange(
        lambda a: a.retire(UUID, 7), mock.call.retire(UUID, 7), host=None
    ),
    'show_trust': Exchange(
        lambda a: a.show_trust(), mock.call.show_trust(), DISTRUST, host=None
    ),
    'show_cloud': Exchange(
        lambda a: a.show_cloud(),
        mock.call.show_cloud(),
        KNOWN_CLOUD,
        host=None,
    ),
    'show_cloud of a store that knows none': Exchange(
        lambda a: a.show_cloud(), mock.call.show_cloud(), clouds.KnownCloud()
    ),
    'meet_cloud': Exchange(
        lambda a: a.meet_cloud(CLOUD, ['host4', 'host3'], True),
        mock.call.meet_cloud(CLOUD, ['host3', 'host4'], True),
        KNOWN_CLOUD,
        host=None,
    ),
}
"""Calls that succeed, by what they are about."""

REFUSALS = {
    kind.__name__: kind(f'why, \u00b5: {kind.__name__}')
    for kind in (
        exception.InvalidLevel,
        exception.InvalidSpace,
        exception.NotInSpace,
        exception.UnknownInstance,
        exception.SpaceFull,
        exception.LevelTaken,
        exception.NotAllowed,
        exception.LimitReached,
        exception.AnswerTooLarge,
        exception.StoreUnreachable,
        exception.StoreUnusable,
        exception.StoreTooNew,
        exception.StoreDistrusted,
        exception.OtherCloud,
        exception.ClaimOutdated,
        exception.InvalidOption,
        ValueError,
        KeyError,
        RuntimeError,
    )
}
"""What the allocator behind the service raises, by its name."""


def make_allocator(exchange: Exchange) -> mock.Mock:
    """The allocator behind the service."""
    allocator = mock.create_autospec(base.Allocator, instance=True)
    allocator.get.return_value = exchange.holder
    name, *_ = exchange.asked
    getattr(allocator, name).return_value = exchange.found
    return allocator


def make_refusing_allocator(error: Exception) -> mock.Mock:
    """An allocator behind the service that raises an error."""
    allocator = mock.create_autospec(base.Allocator, instance=True)
    allocator.get.side_effect = error
    return allocator


def make_patient_allocator() -> mock.Mock:
    """An allocator behind the service that does what it is asked."""
    allocator = mock.create_autospec(base.Allocator, instance=True)
    allocator.list.return_value = [CLAIMED, COOLING]
    return allocator


def load(kind: str) -> dict[str, dict[str, Any]]:
    """The lines of the file of a kind, by their names.

    :param kind: ``exchange`` for a call that succeeds, ``refusal`` for one
        that the allocator behind the service refuses, or ``request`` for a
        message that clients of this release do not send
    """
    lines = map(json.loads, PATH.read_text().splitlines())
    return {line['name']: line for line in lines if line['kind'] == kind}


def _record(exchange: Exchange) -> dict[str, Any]:
    replies = []

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        replies.append(wire.serve(make_allocator(exchange), request)['reply'])
        return replies[-1]

    with wire.Bus(answer) as bus:
        exchange.ask(client.RpcAllocator(wire.make_conf(exchange.host)))
    ping, request = bus.requests
    return {'ping': ping, 'request': request, 'reply': replies[0]}


if __name__ == '__main__':
    for name, exchange in EXCHANGES.items():
        line = {'kind': 'exchange', 'name': name, **_record(exchange)}
        print(json.dumps(line))
