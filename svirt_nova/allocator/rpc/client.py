# SPDX-License-Identifier: Apache-2.0
"""The allocator that asks the service svirt-nova-allocator.

Every call can be repeated, so one whose answer is lost is asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import exceptions as messaging_exceptions

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import codec
from svirt_nova.allocator.rpc import transport
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

Value = TypeVar('Value')

_LONG = 600.0
"""Seconds for what an operator waits for: a change of the space."""


class RpcAllocator(base.Allocator):
    """Keeps levels with the service, over Nova's own message bus."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._options = conf.svirt_nova_allocator
        # Nova's name for this host; operators' commands have none.
        self._host = conf.host if 'host' in conf else None
        self._opening = threading.Lock()
        self._clients: dict[str, transport.Client] = {}

    def _client(self, suffix: str) -> transport.Client:
        with self._opening:
            if suffix not in self._clients:
                self._clients[suffix] = self._connect(suffix)
            return self._clients[suffix]

    def _connect(self, suffix: str) -> transport.Client:
        url = self._options.transport_url
        if suffix == codec.OPERATOR_TOPIC_SUFFIX:
            url = self._options.operator_transport_url or url
        return transport.Client(self.conf, url, self._options.topic + suffix)

    def close(self) -> None:
        """End its connections; the next call makes new ones."""
        with self._opening:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _call(
        self,
        name: str,
        read: Callable[[Any], Value],
        *,
        timeout: float | None = None,
        caller: str | None = None,
        is_operators: bool = False,
        **arguments: Any,
    ) -> Value:
        """Ask the service.

        :param read: makes a value of the answer
        :param timeout: seconds for one try; once, if given
        :param caller: the host that asks
        :param is_operators: whether it is asked as an operator
        """
        suffix = codec.OPERATOR_TOPIC_SUFFIX if is_operators else ''
        tries = 1 if timeout else 1 + self._options.call_retries
        seconds = timeout or self._options.call_timeout
        context = {'host': self._host or caller, 'timeout': seconds}
        while True:
            tries -= 1
            try:
                answer = self._client(suffix).call(
                    context,
                    name,
                    seconds,
                    arguments,
                )
                break
            except oslo_messaging.MessagingTimeout as error:
                if not tries:
                    raise self._silent(name, seconds, timeout) from error
            except oslo_messaging.RemoteError as error:
                raise exception.StoreUnusable(
                    f'the allocator service does not understand the call '
                    f'{name} ({error.exc_type}): upgrade it before computes'
                ) from error
            except (
                oslo_messaging.MessageDeliveryFailure,
                messaging_exceptions.MessagingException,
                OSError,
            ) as error:
                raise exception.StoreUnreachable(
                    f'the message bus cannot be reached: '
                    f'{type(error).__name__}; check that it runs, and '
                    f'[svirt_nova_allocator] transport_url'
                ) from error
        return _read(answer, read)

    def _silent(
        self, name: str, seconds: float, timeout: float | None
    ) -> exception.StoreUnreachable:
        if timeout is None:
            seconds *= 1 + self._options.call_retries
        return exception.StoreUnreachable(
            f'the allocator service did not answer the call {name} in '
            f'{seconds:g} s; check that svirt-nova-allocator runs and has '
            f'the same message bus'
        )

    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> types.Allocation:
        """Hold a level for an instance and claim it for a host."""
        return self._call(
            'acquire',
            codec.to_allocation,
            caller=host,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
        )

    def adopt(
        self,
        instance_uuid: str,
        project_id: str,
        host: str,
        level: levels.Level,
    ) -> types.Allocation:
        """Hold the level that a running instance has, and claim it."""
        return self._call(
            'adopt',
            codec.to_allocation,
            caller=host,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            level=str(level),
        )

    def get(self, instance_uuid: str) -> types.Allocation:
        """The level of an instance."""
        return self._call(
            'get', codec.to_allocation, instance_uuid=instance_uuid
        )

    def find(self, level: levels.Level) -> types.Allocation | None:
        """Who has a level; None when it is free."""

        def read(message: Any) -> types.Allocation | None:
            return None if message is None else codec.to_allocation(message)

        return self._call('find', read, is_operators=True, level=str(level))

    def unclaim(self, instance_uuid: str, host: str) -> None:
        """Say that a host has nothing of an instance any more."""
        self._call(
            'unclaim',
            codec.to_none,
            caller=host,
            is_operators=host != self._host,
            instance_uuid=instance_uuid,
            host=host,
        )

    def retire(self, instance_uuid: str) -> None:
        """Say that an instance is gone for good."""
        self._call(
            'retire',
            codec.to_none,
            is_operators=True,
            instance_uuid=instance_uuid,
        )

    def give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim and retire in one transaction."""
        self._call(
            'give_back',
            codec.to_none,
            caller=host,
            instance_uuid=instance_uuid,
            host=host,
        )

    def reserve(self, level: levels.Level, note: str) -> types.Allocation:
        """Keep a level that is used elsewhere from being given out."""
        return self._call(
            'reserve',
            codec.to_allocation,
            is_operators=True,
            level=str(level),
            note=note,
        )

    def release(self, level: levels.Level) -> None:
        """Let a reserved level be given out again."""
        self._call(
            'release', codec.to_none, is_operators=True, level=str(level)
        )

    def list(
        self,
        *,
        host: str | None = None,
        project_id: str | None = None,
        states: frozenset[types.State] | None = None,
        after: levels.Level | None = None,
        limit: int | None = None,
    ) -> list[types.Allocation]:
        """The levels that are not free, sorted by their rank."""
        read = codec.list_of(codec.to_allocation)

        def ask(
            after: levels.Level | None, size: int
        ) -> Sequence[types.Allocation]:
            part: dict[str, Any] = {
                'after': None if after is None else str(after),
                'limit': size,
            }
            if host is not None and host == self._host:
                return self._call(
                    'claims', read, caller=host, host=host, **part
                )
            return self._call(
                'list',
                read,
                is_operators=True,
                host=host,
                project_id=project_id,
                states=None if states is None else sorted(states),
                **part,
            )

        found: list[types.Allocation] = []
        while limit is None or len(found) < limit:
            page = ask(after, codec.PAGE)
            # The service does not filter what a host claims.
            found += (
                each
                for each in page
                if project_id in (None, each.project_id)
                and (states is None or each.state in states)
            )
            if len(page) < codec.PAGE:
                break
            after = page[-1].level
        return found[:limit]

    def space(self) -> spaces.LevelSpace:
        """The level space, as the store has it."""
        return self._call('space', codec.to_space)

    def set_space(self, space: spaces.LevelSpace) -> None:
        """Change the level space; instances keep the levels they have."""
        self._call(
            'set_space',
            codec.to_none,
            is_operators=True,
            timeout=_LONG,
            space=codec.from_space(space),
        )

    def history(self, level: levels.Level) -> Sequence[types.Holding]:
        """Who has, and had, a level, oldest first."""
        return self._call(
            'history',
            codec.list_of(codec.to_holding),
            is_operators=True,
            level=str(level),
        )

    def stats(self) -> types.Stats:
        """How full the space is."""
        return self._call('stats', codec.to_stats, is_operators=True)

    def usage(self) -> types.Usage:
        """Who uses the space, and how fast it fills."""
        return self._call('usage', codec.to_usage, is_operators=True)

    def tidy(self) -> None:
        """Free levels that have cooled, and forget old history."""
        self._call('tidy', codec.to_none, is_operators=True, timeout=_LONG)


def _read(answer: Any, read: Callable[[Any], Value]) -> Value:
    if not isinstance(answer, dict) or answer.keys() not in (
        {'result'},
        {'error'},
    ):
        raise exception.StoreUnusable(
            'the allocator service sent an answer without sense'
        )
    if 'error' in answer:
        raise codec.to_error(answer['error'])
    try:
        return read(answer['result'])
    except (TypeError, ValueError) as error:
        raise exception.StoreUnusable(
            f'the allocator service sent an answer without sense: {error}'
        ) from error
