# SPDX-License-Identifier: Apache-2.0
"""The allocator that asks the service svirt-nova-allocator.

Every call can be repeated, so a call whose answer is lost is made again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import exceptions as messaging_exceptions

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import transport
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

Result = TypeVar('Result')


class RpcAllocator(base.Allocator):
    """Asks the allocator service, over Nova's own message bus.

    A method makes the call of its name, which the table
    :mod:`svirt_nova.allocator.rpc.calls` describes; ``list`` makes one of
    two.
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._options = conf.svirt_nova_allocator
        # Nova's programs have a name for their host; ours have none.
        self._host: str | None = conf.host if 'host' in conf else None
        self._opening = threading.Lock()
        self._clients: dict[calls.Topic, transport.Client] = {}

    def close(self) -> None:
        """End the connections to the bus; the next call makes new ones."""
        with self._opening:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, topic: calls.Topic) -> transport.Client:
        with self._opening:
            if topic not in self._clients:
                self._clients[topic] = transport.Client(self.conf, topic)
            return self._clients[topic]

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
        seconds = call.timeout or self._options.call_timeout
        tries = 1 if call.timeout else 1 + self._options.call_retries
        answer = self._ask(
            call,
            topic or call.topics[0],
            {'host': host, 'timeout': seconds},
            call.write_arguments(arguments),
            tries,
        )
        return envelope.read(answer, call.result.read)

    def _ask(
        self,
        call: calls.Call[Any],
        topic: calls.Topic,
        context: dict[str, Any],
        arguments: dict[str, Any],
        tries: int,
    ) -> Any:
        """Send a call until it is answered, so many times at most."""
        seconds: float = context['timeout']
        silence = oslo_messaging.MessagingTimeout()
        client = self._client(topic)
        for _ in range(tries):
            try:
                return client.call(call, context, arguments, seconds)
            except oslo_messaging.MessagingTimeout as error:
                silence = error
            except oslo_messaging.RemoteError as error:
                raise exception.StoreUnusable(
                    f'the allocator service does not understand the call '
                    f'{call.name} ({error.exc_type}): upgrade it before '
                    f'computes'
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
            except Exception as error:
                # oslo.messaging raises built-in exceptions by the names
                # that the other side sent.
                raise exception.StoreUnusable(
                    f'the allocator service failed at the call {call.name} '
                    f'({type(error).__name__}); its log says why'
                ) from error
        raise exception.StoreUnreachable(
            f'the allocator service did not answer the call {call.name} in '
            f'{seconds * tries:g} s; check that svirt-nova-allocator runs '
            f'and has the same message bus'
        ) from silence

    def acquire(
        self, instance_uuid: str, project_id: str, host: str
    ) -> types.Allocation:
        return self._call(
            calls.ACQUIRE,
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
        return self._call(
            calls.ADOPT,
            instance_uuid=instance_uuid,
            project_id=project_id,
            host=host,
            level=level,
        )

    def get(self, instance_uuid: str) -> types.Allocation:
        return self._call(calls.GET, instance_uuid=instance_uuid)

    def find(self, level: levels.Level) -> types.Allocation | None:
        return self._call(calls.FIND, level=level)

    def is_held(self, level: levels.Level) -> bool:
        held: bool = self._call(calls.IS_HELD, level=level)
        return held

    def unclaim(self, instance_uuid: str, host: str) -> None:
        is_own = host == self._host
        self._call(
            calls.UNCLAIM,
            calls.Topic.COMPUTES if is_own else calls.Topic.OPERATORS,
            instance_uuid=instance_uuid,
            host=host,
        )

    def retire(self, instance_uuid: str) -> None:
        self._call(calls.RETIRE, instance_uuid=instance_uuid)

    def give_back(self, instance_uuid: str, host: str) -> None:
        self._call(calls.GIVE_BACK, instance_uuid=instance_uuid, host=host)

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
        while limit is None or len(found) < limit:
            page = self._list_page(host, project_id, states, after)
            # The call that lists a host's own claims has no filters.
            found += (
                each
                for each in page
                if project_id in (None, each.project_id)
                and (states is None or each.state in states)
            )
            if len(page) < calls.PAGE:
                break
            after = page[-1].level
        return found[:limit]

    def _list_page(
        self,
        host: str | None,
        project_id: str | None,
        states: frozenset[types.State] | None,
        after: levels.Level | None,
    ) -> Sequence[types.Allocation]:
        if host is not None and host == self._host:
            return self._call(
                calls.CLAIMS, host=host, after=after, limit=calls.PAGE
            )
        return self._call(
            calls.LIST,
            host=host,
            project_id=project_id,
            states=states,
            after=after,
            limit=calls.PAGE,
        )

    def space(self) -> spaces.LevelSpace:
        return self._call(calls.SPACE)

    def set_space(self, space: spaces.LevelSpace) -> None:
        self._call(calls.SET_SPACE, space=space)

    def history(self, level: levels.Level) -> Sequence[types.Holding]:
        return self._call(calls.HISTORY, level=level)

    def stats(self) -> types.Stats:
        return self._call(calls.STATS)

    def usage(self) -> types.Usage:
        return self._call(calls.USAGE)

    def tidy(self) -> None:
        self._call(calls.TIDY)
