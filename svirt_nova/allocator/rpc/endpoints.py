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
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_messaging.rpc import server as rpc_server

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import codec
from svirt_nova.mcs import levels

LOG = logging.getLogger(__name__)

Answer = dict[str, Any]


def _answer(work: Callable[[], Any]) -> Answer:
    try:
        return {'result': work()}
    except (exception.SvirtError, ValueError, TypeError) as error:
        LOG.info('Refused: %s', error)
        return {'error': codec.from_error(_for_caller(error))}
    except Exception as error:
        # The caller gets an answer, and not the inside of this process.
        LOG.exception('A call failed')
        return {'error': codec.from_error(error)}


def _for_caller(error: Exception) -> Exception:
    if isinstance(error, TypeError):
        return ValueError(f'the call makes no sense: {error}')
    return error


def _texts(*values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f'{value!r} is no text')


def _page(
    allocator: base.Allocator, after: Any, limit: Any, **filters: Any
) -> list[Answer]:
    """A part of what is listed; all of it for a client that knows no parts."""
    if after is not None:
        _texts(after)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise TypeError(f'{limit!r} is no limit')
    found = allocator.list(
        **filters,
        after=None if after is None else levels.Level.parse(after),
        limit=limit,
    )
    return [codec.from_allocation(each) for each in found]


class _Calls:
    target = oslo_messaging.Target(version=codec.VERSION)

    def __init__(self, allocator: base.Allocator) -> None:
        self._allocator = allocator

    def ping(self, context: Any) -> Answer:
        """Answer, and do nothing."""
        return {'result': None}


class ComputeCalls(_Calls):
    """What nova-compute needs, for its own host alone.

    :param allocator: who does the work
    :param retires: whether a host may say that an instance is gone
    """

    def __init__(
        self, allocator: base.Allocator, *, retires: bool = True
    ) -> None:
        super().__init__(allocator)
        self._retires = retires

    @staticmethod
    def _claimed(call: str, host: str, found: types.Allocation) -> Any:
        LOG.info(
            '%s: host %s claims instance %s, level %s',
            call,
            host,
            found.instance_uuid,
            found.level,
        )
        return codec.from_allocation(found)

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
            found = self._allocator.acquire(instance_uuid, project_id, host)
            return self._claimed('acquire', host, found)

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
            found = self._allocator.adopt(
                instance_uuid, project_id, host, levels.Level.parse(level)
            )
            return self._claimed('adopt', host, found)

        return _answer(work)

    def get(self, context: Any, instance_uuid: Any) -> Answer:
        """See :meth:`base.Allocator.get`."""

        def work() -> Any:
            _texts(instance_uuid)
            return codec.from_allocation(self._allocator.get(instance_uuid))

        return _answer(work)

    def unclaim(self, context: Any, instance_uuid: Any, host: Any) -> Answer:
        """See :meth:`base.Allocator.unclaim`."""

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid)
            self._allocator.unclaim(instance_uuid, host)
            LOG.info(
                'unclaim: host %s has nothing of instance %r',
                host,
                instance_uuid,
            )

        return _answer(work)

    def give_back(self, context: Any, instance_uuid: Any, host: Any) -> Answer:
        """See :meth:`base.Allocator.give_back`.

        Only the one host that claims an instance can say that it is gone:
        where another does, the reaper decides. The answer is as if it
        were done: the call may be a repetition of one that was.
        """

        def work() -> Any:
            self._check(context, host)
            _texts(instance_uuid)
            try:
                claims = self._allocator.get(instance_uuid).hosts
            except exception.UnknownInstance:
                claims = frozenset()
            is_last = self._retires and claims == {host}
            if is_last:
                self._allocator.give_back(instance_uuid, host)
            else:
                self._allocator.unclaim(instance_uuid, host)
            LOG.info(
                'give_back: host %s has nothing of instance %r, which is %s',
                host,
                instance_uuid,
                'retired' if is_last else 'not retired',
            )

        return _answer(work)

    def claims(
        self, context: Any, host: Any, after: Any = None, limit: Any = None
    ) -> Answer:
        """The levels that the calling host claims."""

        def work() -> Any:
            self._check(context, host)
            return _page(self._allocator, after, limit, host=host)

        return _answer(work)

    def space(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.space`."""
        return _answer(lambda: codec.from_space(self._allocator.space()))


class OperatorCalls(_Calls):
    """What operators' commands need; a target that no compute has to reach.

    :param allocator: who does the work
    """

    def find(self, context: Any, level: Any) -> Answer:
        """See :meth:`base.Allocator.find`."""

        def work() -> Any:
            _texts(level)
            found = self._allocator.find(levels.Level.parse(level))
            return None if found is None else codec.from_allocation(found)

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
            return codec.from_allocation(
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
        self,
        context: Any,
        host: Any,
        project_id: Any,
        states: Any,
        after: Any = None,
        limit: Any = None,
    ) -> Answer:
        """See :meth:`base.Allocator.list`."""

        def work() -> Any:
            _texts(*(v for v in (host, project_id) if v is not None))
            chosen = (
                None if states is None else frozenset(map(types.State, states))
            )
            return _page(
                self._allocator,
                after,
                limit,
                host=host,
                project_id=project_id,
                states=chosen,
            )

        return _answer(work)

    def set_space(self, context: Any, space: Any) -> Answer:
        """See :meth:`base.Allocator.set_space`."""
        return _answer(
            lambda: self._allocator.set_space(codec.to_space(space))
        )

    def history(self, context: Any, level: Any) -> Answer:
        """See :meth:`base.Allocator.history`."""

        def work() -> Any:
            _texts(level)
            found = self._allocator.history(levels.Level.parse(level))
            return [codec.from_holding(each) for each in found]

        return _answer(work)

    def stats(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.stats`."""
        return _answer(lambda: codec.from_stats(self._allocator.stats()))

    def usage(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.usage`."""
        return _answer(lambda: codec.from_usage(self._allocator.usage()))

    def tidy(self, context: Any) -> Answer:
        """See :meth:`base.Allocator.tidy`."""
        return _answer(self._allocator.tidy)


class _Dispatcher(rpc_dispatcher.RPCDispatcher):  # type: ignore[misc]
    """Refuses what has waited for so long that its caller may be gone.

    The bus drops a message that nobody took in its caller's time. One that
    was taken waits here for a thread: an unclaim that is done then, when
    the host has claimed the instance again, would take that claim away.
    """

    def dispatch(self, incoming: Any) -> Any:
        """Do a call, or refuse it."""
        if _is_late(incoming):
            error = exception.StoreUnreachable(
                'the allocator service is overloaded: the call waited for '
                'too long and was not done'
            )
            LOG.warning('Refused: %s', error)
            return {'error': codec.from_error(error)}
        return super().dispatch(incoming)


def _is_late(incoming: Any) -> bool:
    """Whether more than half of the caller's time went by in this process.

    The other half is for the call itself.
    """
    context = incoming.ctxt
    timeout = context.get('timeout') if isinstance(context, dict) else None
    # Started when the message arrived; drivers for tests have none.
    watch = getattr(incoming, 'stopwatch', None)
    if watch is None or not isinstance(timeout, int | float):
        return False
    return bool(watch.elapsed() > timeout / 2)


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
        topic += codec.OPERATOR_TOPIC_SUFFIX
    if 'oslo_messaging_rabbit' in conf:
        # What waits for a thread waits on the bus, which drops it in time
        # and has other processes to give it to.
        conf.set_override(
            'rabbit_qos_prefetch_count', 1, 'oslo_messaging_rabbit'
        )
    dispatcher = _Dispatcher(
        [calls],
        None,
        # No methods whose names begin with an underscore.
        oslo_messaging.DefaultRPCAccessPolicy,
    )
    return rpc_server.RPCServer(
        transport,
        oslo_messaging.Target(
            exchange=codec.EXCHANGE, topic=topic, server=name
        ),
        dispatcher,
        'threading',
    )
