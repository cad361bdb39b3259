# SPDX-License-Identifier: Apache-2.0
"""The allocator that asks the service svirt-nova-allocator."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import caller
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import comparison
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import parts
from svirt_nova.allocator.rpc import sizes
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

LOG = logs.get_logger(__name__)

Result = TypeVar('Result')


class RpcAllocator(base.Allocator):
    """Asks the allocator service, over Nova's own message bus.

    A method makes the call of its name, which the table
    :mod:`svirt_nova.allocator.rpc.calls` describes; ``list`` makes one of
    two.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        # Nova's programs have a name for their host; ours have none.
        self._host: str | None = conf.host if 'host' in conf else None
        self._caller = caller.Caller(conf)

    def close(self) -> None:
        """End the connections to the bus; the next call makes new ones."""
        self._caller.close()

    def _call(
        self,
        call: calls.Call[Result],
        topic: calls.Topic | None = None,
        /,
        **arguments: Any,
    ) -> Result:
        """Make a call of the service.

        :param topic: where it is to be answered; None for the first of the
            call's topics
        :param arguments: all arguments of the call
        """
        host = self._host
        if host is None and call.has_host:
            # Such a program speaks for the host that the call is about.
            host = arguments[calls.HOST.name]
        answer = self._caller.ask(
            call,
            topic or call.topics[0],
            host,
            call.write_arguments(arguments),
        )
        found = envelope.read(answer, call.result.read)
        comparison.check(call, host, arguments, found)
        return found

    def acquire(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        seen: int | None = None,
        number: int | None = None,
    ) -> types.Allocation:
        return self._call(
            calls.ACQUIRE,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            seen=seen,
            number=number,
        )

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
        number: int | None = None,
    ) -> types.Allocation:
        return self._call(
            calls.ADOPT,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            level=level,
            number=number,
        )

    def get(self, instance_uuid: str) -> types.Allocation:
        return self._call(calls.GET, instance_uuid=instance_uuid)

    def find(self, level: levels.Level) -> types.Allocation | None:
        return self._call(calls.FIND, level=level)

    def is_held(self, level: levels.Level) -> bool:
        return bool(self._call(calls.IS_HELD, level=level))

    def unclaim(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        is_own = host == self._host
        self._call(
            calls.UNCLAIM,
            calls.Topic.COMPUTES if is_own else calls.Topic.OPERATORS,
            instance_uuid=instance_uuid,
            host=host,
            number=number,
        )

    def retire(self, instance_uuid: str, number: int | None = None) -> None:
        self._call(calls.RETIRE, instance_uuid=instance_uuid, number=number)

    def give_back(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        self._call(
            calls.GIVE_BACK,
            instance_uuid=instance_uuid,
            host=host,
            number=number,
        )

    def give_back_last(
        self, instance_uuid: str, host: str, number: int | None = None
    ) -> None:
        # The service retires an instance only with its last claim.
        self.give_back(instance_uuid, host, number)

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        return self._call(calls.RESERVE, level=level, note=note)

    def release(self, level: levels.Level) -> None:
        self._call(calls.RELEASE, level=level)

    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[types.State] | None = None,
        after: levels.Level | None = None,
        limit: int | None = None,
    ) -> list[types.Allocation]:
        found: list[types.Allocation] = []
        if limit is not None and limit <= 0:
            return found
        for page in parts.ask_for(
            lambda last, size: self._list_page(
                host, project_id, states, last, size or sizes.PAGE
            ),
            after,
            sizes.PAGE,
            lambda each: each.level,
        ):
            # The call that lists a host's own claims has no filters.
            found += (
                each
                for each in page
                if project_id in (None, each.project_id)
                and (states is None or each.state in states)
            )
            if limit is not None and len(found) >= limit:
                break
        return found[:limit]

    def _list_page(
        self,
        host: str | None,
        project_id: str | None,
        states: frozenset[types.State] | None,
        after: levels.Level | None,
        size: int,
    ) -> Sequence[types.Allocation]:
        if host is not None and host == self._host:
            return self._call(calls.CLAIMS, host=host, after=after, limit=size)
        return self._call(
            calls.LIST,
            host=host,
            project_id=project_id,
            states=states,
            after=after,
            limit=size,
        )

    def space(self) -> spaces.LevelSpace:
        return self._call(calls.SPACE)

    def set_space(self, space: spaces.LevelSpace) -> None:
        self._call(calls.SET_SPACE, space=space)

    def history(
        self,
        level: levels.Level | None = None,
        begun_after: datetime.datetime | None = None,
        limit: int | None = None,
        instance_uuid: str | None = None,
        project_id: str | None = None,
        at: datetime.datetime | None = None,
    ) -> Sequence[types.Holding]:
        found: list[types.Holding] = []
        for page in parts.ask_for(
            lambda last, size: self._call(
                calls.HISTORY,
                level=level,
                begun_after=last,
                limit=size,
                instance_uuid=instance_uuid,
                project_id=project_id,
                at=at,
            ),
            begun_after,
            limit,
            lambda each: each.since,
        ):
            found += page
            if limit is not None and len(found) >= limit:
                break
        return types.first_holdings(found, limit)

    def stats(self) -> types.Stats:
        return self._call(calls.STATS)

    def usage(self, most: int | None = None) -> types.Usage:
        try:
            return self._call(calls.USAGE, most=most)
        except exception.AnswerTooLarge:
            if most is not None:
                raise
        LOG.warning(
            'There are so many projects or hosts that the service counts '
            'only the %d with the most levels',
            sizes.MOST_COUNTED,
        )
        return self._call(calls.USAGE, most=sizes.MOST_COUNTED)

    def tidy(self) -> None:
        self._call(calls.TIDY)

    def meet(self, host: str, seen: int) -> types.Trust:
        return self._call(calls.MEET, host=host, seen=seen)

    def doubt(
        self, host: str, instance_uuid: str, level: levels.Level
    ) -> None:
        self._call(
            calls.DOUBT, host=host, instance_uuid=instance_uuid, level=level
        )

    def report(self, host: str, hosts: Collection[str]) -> types.Trust:
        return self._call(calls.REPORT, host=host, hosts=hosts)

    def distrust(self, reason: str) -> None:
        self._call(calls.DISTRUST, reason=reason)

    def trust(self) -> None:
        self._call(calls.TRUST)

    def show_trust(self) -> types.Trust:
        return self._call(calls.SHOW_TRUST)

    def show_cloud(self) -> clouds.KnownCloud:
        return self._call(calls.SHOW_CLOUD)

    def meet_cloud(
        self,
        cloud: clouds.Cloud,
        strangers: Collection[str] = (),
        replaces: bool = False,
    ) -> clouds.KnownCloud:
        return self._call(
            calls.MEET_CLOUD,
            cloud=cloud,
            strangers=strangers,
            replaces=replaces,
        )
