# SPDX-License-Identifier: Apache-2.0
"""The service's side of the calls: what computes and operators are answered.

oslo.messaging does not say who calls. A call names its host, and one that
names another host's claims is refused. That protects against a misconfigured
compute, but not against one that lies about its name.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any
from typing import ClassVar

import oslo_messaging
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import envelope

LOG = logging.getLogger(__name__)


class Endpoint(abc.ABC):
    """Answers the calls of a topic.

    oslo.messaging's dispatcher looks for a method that has the name of the
    call. A subclass gets such a method for each call that the table has for
    its topic, and exposes no other.

    :param allocator: does what the calls ask for
    """

    target = oslo_messaging.Target(version=calls.VERSION)
    topic: ClassVar[calls.Topic]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for call in calls.CALLS:
            if cls.topic in call.topics:
                setattr(cls, call.name, _method_of(call))

    def __init__(self, allocator: base.Allocator) -> None:
        self._allocator = allocator

    def _answer(
        self, call: calls.Call[Any], context: Any, message: dict[str, Any]
    ) -> envelope.Answer:
        try:
            arguments = _read_arguments(call, message)
            self._authorize(call, context, arguments)
            result = call.result.write(self._perform(call, arguments))
            return envelope.write_result(result)
        except (exception.SvirtError, ValueError) as error:
            # Quoted: the text may hold line ends that the caller sent, which
            # would look like another line of the log.
            LOG.info('Refused: %r', str(error))
            return envelope.write_refusal(error)
        except Exception as error:
            # The caller gets an answer, but no traceback of this process.
            LOG.exception('A call failed')
            return envelope.write_refusal(error)

    @abc.abstractmethod
    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        """Check that the caller may make a call.

        :param context: what the caller says of itself
        :raises NotAllowed: it may not
        """

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        """Do what a call asks for, and give its result."""
        if call is calls.PING:
            return None
        # The table has them in the order of the method's parameters.
        return getattr(self._allocator, call.name)(*arguments.values())


def _method_of(call: calls.Call[Any]) -> Callable[..., envelope.Answer]:
    def method(
        self: Endpoint, context: Any, /, **message: Any
    ) -> envelope.Answer:
        return self._answer(call, context, message)

    method.__name__ = call.name
    method.__doc__ = call.summary
    exposed: Callable[..., envelope.Answer] = oslo_messaging.expose(method)
    return exposed


def _read_arguments(
    call: calls.Call[Any], message: dict[str, Any]
) -> dict[str, Any]:
    try:
        return call.read_arguments(message)
    except TypeError as error:
        raise ValueError(f'the call makes no sense: {error}') from error


class ComputeEndpoint(Endpoint):
    """Answers nova-compute, about the claims of its own host alone.

    :param retires: whether a host may say that an instance is gone for good
    """

    topic = calls.Topic.COMPUTES

    def __init__(
        self, allocator: base.Allocator, *, retires: bool = True
    ) -> None:
        super().__init__(allocator)
        self._retires = retires

    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        if not call.has_host:
            return
        host = arguments[calls.HOST.name]
        caller = context.get('host') if isinstance(context, dict) else None
        if caller != host:
            raise exception.NotAllowed(
                f'host {caller} asked for the claims of host {host}: a host '
                f'has to do with its own alone'
            )

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        if call is calls.CLAIMS:
            return self._allocator.list(**arguments)
        if call is calls.GIVE_BACK:
            return self._give_back(**arguments)
        result = super()._perform(call, arguments)
        if call is calls.UNCLAIM:
            LOG.info(
                'unclaim: host %s has nothing of instance %r',
                arguments['host'],
                arguments['instance_uuid'],
            )
        elif call in (calls.ACQUIRE, calls.ADOPT):
            _log_claim(call, arguments['host'], result)
        return result

    def _give_back(self, instance_uuid: str, host: str) -> None:
        """Unclaim, and retire the instance if the claim was the last one.

        Where another host claims the instance too, the reaper decides
        whether it is gone. The answer is the same in both cases, because
        the call may repeat one that was done and whose answer was lost.
        """
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


def _log_claim(
    call: calls.Call[Any], host: str, found: types.Allocation
) -> None:
    LOG.info(
        '%s: host %s claims instance %s, level %s',
        call.name,
        host,
        found.instance_uuid,
        found.level,
    )


class OperatorEndpoint(Endpoint):
    """Answers operators' commands, about all hosts.

    It needs a topic that no compute has to reach.
    """

    topic = calls.Topic.OPERATORS

    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        """Allow every call: whoever reaches the topic is an operator."""

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        if call is calls.LIST:
            return self._allocator.list(**arguments)
        return super()._perform(call, arguments)
