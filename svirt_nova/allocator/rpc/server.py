# SPDX-License-Identifier: Apache-2.0
"""The service's side: what computes and operators may ask for.

oslo.messaging does not say who calls. A call names its host, and one that
names another host's claims is refused: that keeps a misconfigured compute
from harm, not one that lies about its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import messages

LOG = logging.getLogger(__name__)

Answer = dict[str, Any]


def _answer(work: Callable[[], Any]) -> Answer:
    try:
        return {'result': work()}
    except (exception.SvirtError, ValueError, TypeError) as error:
        LOG.info('Refused: %s', error)
        return {'error': messages.from_error(_for_caller(error))}
    except Exception as error:
        # The caller gets an answer, and not the inside of this process.
        LOG.exception('A call failed')
        return {'error': messages.from_error(error)}


def _for_caller(error: Exception) -> Exception:
    if isinstance(error, TypeError):
        return ValueError(f'the call makes no sense: {error}')
    return error


def _texts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f'{value!r} is no text')


class _Calls:
    target = oslo_messaging.Target(version=messages.VERSION)

    def __init__(self, allocator: base.Allocator) -> None:
        self._allocator = allocator

    def ping(self, context: Any) -> Answer:
        """Answer, and do nothing."""
        return {'result': None}


class ComputeCalls(_Calls):
    """What nova-compute needs, for its own host alone.

    :param allocator: who does the work
    """

    @staticmethod
    def _check(context: Any, host: Any) -> None:
        _texts(host)
        caller = context.get('host') if isinstance(context, dict) else None
        if caller != host:
            raise exception.NotAllowed(
                f'host {caller} asked for the claims of host {host}: a host '
                f'has to do with its own alone'
            )

    def acquire(
        self, context: Any, instance_uuid: Any, project_id: Any, host: Any
    ) -> Answer:
        """See :meth:`base.Allocator.acquire`."""

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid, project_id)
            return messages.from_allocation(
                self._allocator.acquire(instance_uuid, project_id, host)
            )

        return _answer(work)

    def adopt(
        self,
        context: Any,
        instance_uuid: Any,
        project_id: Any,
        host: Any,
        level: Any,
    ) -> Answer:
        """See :meth:`base.Allocator.adopt`."""

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid, project_id, level)
            return messages.from_allocation(
                self._allocator.adopt(
                    instance_uuid, project_id, host, levels.Level.parse(level)
                )
            )

        return _answer(work)

    def get(self, context: Any, instance_uuid: Any) -> Answer:
        """See :meth:`base.Allocator.get`."""

        def work() -> Any:
            _texts(instance_uuid)
            return messages.from_allocation(self._allocator.get(instance_uuid))

        return _answer(work)

    def unclaim(self, context: Any, instance_uuid: Any, host: Any) -> Answer:
        """See :meth:`base.Allocator.unclaim`."""

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid)
            self._allocator.unclaim(instance_uuid, host)

        return _answer(work)

    def give_back(self, context: Any, instance_uuid: Any, host: Any) -> Answer:
        """See :meth:`base.Allocator.give_back`.

        Only a host that claims an instance can say that it is gone. The
        answer to others is as if it were done: their call may be a
        repetition of one that was.
        """

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid)
            try:
                claims = self._allocator.get(instance_uuid).hosts
            except exception.UnknownInstance:
                claims = frozenset()
            if host in claims:
                self._allocator.give_back(instance_uuid, host)
            else:
                self._allocator.unclaim(instance_uuid, host)

        return _answer(work)

    def claims(self, context: Any, host: Any) -> Answer:
        """The levels that the calling host claims."""

        def work() -> Any:
            self._check(context, host)
            found = self._allocator.list(host=host)
            return [messages.from_allocation(each) for each in found]

        return _answer(work)

    def space(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.space`."""
        return _answer(lambda: messages.from_space(self._allocator.space()))


class OperatorCalls(_Calls):
    """What operators' commands need; a target that no compute has to reach.

    :param allocator: who does the work
    """

    def find(self, context: Any, level: Any) -> Answer:
        """See :meth:`base.Allocator.find`."""

        def work() -> Any:
            _texts(level)
            found = self._allocator.find(levels.Level.parse(level))
            return None if found is None else messages.from_allocation(found)

        return _answer(work)

    def unclaim(self, context: Any, instance_uuid: Any, host: Any) -> Answer:
        """See :meth:`base.Allocator.unclaim`; for any host."""

        def work() -> Any:
            _texts(instance_uuid, host)
            self._allocator.unclaim(instance_uuid, host)

        return _answer(work)

    def retire(self, context: Any, instance_uuid: Any) -> Answer:
        """See :meth:`base.Allocator.retire`."""

        def work() -> Any:
            _texts(instance_uuid)
            self._allocator.retire(instance_uuid)

        return _answer(work)

    def reserve(self, context: Any, level: Any, note: Any) -> Answer:
        """See :meth:`base.Allocator.reserve`."""

        def work() -> Any:
            _texts(level, note)
            return messages.from_allocation(
                self._allocator.reserve(levels.Level.parse(level), note)
            )

        return _answer(work)

    def release(self, context: Any, level: Any) -> Answer:
        """See :meth:`base.Allocator.release`."""

        def work() -> Any:
            _texts(level)
            self._allocator.release(levels.Level.parse(level))

        return _answer(work)

    def list(
        self, context: Any, host: Any, project_id: Any, states: Any
    ) -> Answer:
        """See :meth:`base.Allocator.list`."""

        def work() -> Any:
            _texts(*(v for v in (host, project_id) if v is not None))
            chosen = (
                None if states is None else frozenset(map(base.State, states))
            )
            found = self._allocator.list(
                host=host, project_id=project_id, states=chosen
            )
            return [messages.from_allocation(each) for each in found]

        return _answer(work)

    def set_space(self, context: Any, space: Any) -> Answer:
        """See :meth:`base.Allocator.set_space`."""
        return _answer(
            lambda: self._allocator.set_space(messages.to_space(space))
        )

    def history(self, context: Any, level: Any) -> Answer:
        """See :meth:`base.Allocator.history`."""

        def work() -> Any:
            _texts(level)
            found = self._allocator.history(levels.Level.parse(level))
            return [messages.from_holding(each) for each in found]

        return _answer(work)

    def stats(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.stats`."""
        return _answer(lambda: messages.from_stats(self._allocator.stats()))

    def usage(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.usage`."""
        return _answer(lambda: messages.from_usage(self._allocator.usage()))

    def tidy(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.tidy`."""
        return _answer(self._allocator.tidy)


def create(
    conf: cfg.ConfigOpts,
    transport: oslo_messaging.RPCTransport,
    name: str,
    calls: ComputeCalls | OperatorCalls,
) -> Any:
    """A server of calls; not started.

    :param name: of this process, unlike all others
    """
    topic = conf.svirt_nova_allocator.topic
    if isinstance(calls, OperatorCalls):
        topic += messages.OPERATOR_TOPIC_SUFFIX
    return oslo_messaging.get_rpc_server(
        transport,
        oslo_messaging.Target(topic=topic, server=name),
        [calls],
        executor='threading',
        # No methods whose names begin with an underscore.
        access_policy=oslo_messaging.DefaultRPCAccessPolicy,
    )
