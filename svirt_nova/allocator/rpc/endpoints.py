# SPDX-License-Identifier: Apache-2.0
"""The service's side of the calls: what computes and operators are answered.

A signed call is that of the owner of its key. A call that is not signed names
its host; one that names another host's claims is refused, which protects
against a misconfigured compute, but not against one that lies about its name.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import ClassVar

import oslo_messaging

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator import host_flows
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import admission
from svirt_nova.allocator.rpc import call_counts
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import quotas
from svirt_nova.allocator.rpc import sizes
from svirt_nova.mcs import levels

LOG = logs.get_logger(__name__)

_FLOWS = {
    calls.ACQUIRE.name: host_flows.Flow.ACQUIRED,
    calls.ADOPT.name: host_flows.Flow.ADOPTED,
}
"""How a call takes a level, by the names of those that claim an instance."""


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
        begun = time.monotonic()
        problem: Exception | None = None
        try:
            arguments = _read_arguments(call, message)
            self._authorize(call, context, arguments)
            found = self._perform(call, arguments)
            sizes.check_entries(call.name, found)
            result = call.result.write(found)
            sizes.check_answer(call.name, result)
            return envelope.write_result(result)
        except (exception.SvirtError, ValueError) as error:
            LOG.info('Refused: %s', error)
            problem = error
            return envelope.write_refusal(error)
        except Exception as error:
            # The caller gets an answer, but no traceback of this process.
            LOG.exception('A call failed')
            problem = error
            return envelope.write_refusal(error)
        finally:
            call_counts.answered(call.name, problem, time.monotonic() - begun)

    @abc.abstractmethod
    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        """Check that the caller may make a call.

        :param context: the key of the caller, or what a caller that has not
            signed the call says of itself
        :raises NotAllowed: it may not
        """

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        """Do what a call asks for, and give its result."""
        if call is calls.PING:
            return None
        given = call.thin_out(arguments)
        return getattr(self._allocator, call.name)(**given)

    def _list(
        self, *, limit: int | None, **filters: Any
    ) -> list[types.Allocation]:
        """List allocations, but no more than a message can have."""
        most = sizes.MOST_ENTRIES + 1
        return self._allocator.list(
            **filters, limit=most if limit is None else min(limit, most)
        )


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


def _who(context: Any) -> str:
    """A caller, for an error."""
    if isinstance(context, enrolled_keys.EnrolledKey):
        return f'the {context.role} {context.owner}'
    return f'host {printing.name(_host_of(context))}'


def _host_of(context: Any) -> Any:
    """The host that makes a call; None if it is none."""
    if isinstance(context, enrolled_keys.EnrolledKey):
        is_host = context.role is enrolled_keys.Role.HOST
        return context.owner if is_host else None
    return context.get('host') if isinstance(context, dict) else None


class ComputeEndpoint(Endpoint):
    """Answers nova-compute, about the claims of its own host alone.

    :param retires: whether a host may say that an instance is gone for good
    :param limits: what a host can take; None for as much as it likes
    :param check_host: raises an error for hosts that may claim nothing
    :param admits: checks for which instances it may have levels; None
        checks nothing
    """

    topic = calls.Topic.COMPUTES

    def __init__(
        self,
        allocator: base.Allocator,
        *,
        retires: bool = True,
        limits: quotas.HostQuotas | None = None,
        check_host: Callable[[str], None] | None = None,
        admits: admission.Admission | None = None,
    ) -> None:
        super().__init__(allocator)
        self._retires = retires
        self._limits = limits
        self._check_host = check_host
        self._admits = admits

    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        if not call.has_host:
            return
        host = arguments[calls.HOST.name]
        caller = _host_of(context)
        if caller != host:
            raise exception.NotAllowed(
                f'{_who(context)} asked for the claims of host '
                f'{printing.name(host)}: a host has to do with its own alone'
            )

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        if call is calls.CLAIMS:
            return self._list(**arguments)
        if call is calls.GIVE_BACK:
            return self._give_back(**arguments)
        if call.name in _FLOWS:
            return self._claim(call, arguments)
        result = super()._perform(call, arguments)
        if call is calls.UNCLAIM:
            LOG.info(
                'unclaim: host %s has nothing of instance %s',
                printing.name(arguments['host']),
                printing.name(arguments['instance_uuid']),
            )
        elif call is calls.REPORT:
            LOG.info(
                'report: host %s has told which levels it has',
                printing.name(arguments['host']),
            )
        return result

    def _claim(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> types.Allocation:
        """Claim an instance for a host that may."""
        host, flow = arguments['host'], _FLOWS[call.name]
        if self._check_host is not None:
            self._check_host(host)
        if self._limits is not None:
            self._limits.check(flow, host, arguments['instance_uuid'])
        try:
            if self._admits is not None:
                self._admits.check(call, arguments)
            found: types.Allocation = super()._perform(call, arguments)
        except exception.LevelTaken as error:
            if error.for_hosts is None:
                raise
            self._tell_taken(call, host, arguments['level'], error)
            raise exception.LevelTaken(error.for_hosts) from None
        if self._limits is not None:
            self._limits.note(flow, host, found)
        LOG.info(
            '%s: host %s claims instance %s, level %s',
            call.name,
            printing.name(host),
            found.instance_uuid,
            found.level,
        )
        return found

    def _tell_taken(
        self,
        call: calls.Call[Any],
        host: str,
        level: levels.Level,
        error: exception.LevelTaken,
    ) -> None:
        """Tell operators of a level that two instances seem to have.

        After a restore, the one of two hosts that is first to adopt a level
        has it. It need not be the one that tells the truth.
        """
        holder = self._allocator.find(level)
        if holder is None or not holder.hosts:
            LOG.warning('%s: host %s: %s', call.name, host, error)
            return
        tell = LOG.warning
        if not self._allocator.show_trust().is_trusted:
            tell = LOG.critical
        tell(
            '%s: host %s says that it has a level which instance %s has that '
            'is claimed by %s: %s. Two guests may run at one level, or one '
            'of the hosts does not tell the truth: look at both, and '
            'hard-reboot the instance of the one that you do not trust',
            call.name,
            host,
            holder.instance_uuid,
            ', '.join(sorted(holder.hosts)[: types.MOST_CLAIMS]),
            error,
        )

    def _give_back(
        self, instance_uuid: str, host: str, number: int | None
    ) -> None:
        """Unclaim, and retire the instance if the claim was the last one.

        Where another host claims the instance too, the reaper decides
        whether it is gone. The answer is the same in both cases, because
        the call may repeat one that was done and whose answer was lost.
        """
        # A driver of another project may know no numbers.
        named = {} if number is None else {'number': number}
        is_retired = False
        if self._retires:
            is_retired = bool(
                self._allocator.give_back_last(instance_uuid, host, **named)
            )
        else:
            self._allocator.unclaim(instance_uuid, host, **named)
        LOG.info(
            'give_back: host %s has nothing of instance %s, which is %s',
            printing.name(host),
            printing.name(instance_uuid),
            'retired' if is_retired else 'not retired',
        )


class OperatorEndpoint(Endpoint):
    """Answers operators' commands, about all hosts.

    It has a topic of its own; who may make its calls is judged before.
    """

    topic = calls.Topic.OPERATORS

    def _authorize(
        self, call: calls.Call[Any], context: Any, arguments: dict[str, Any]
    ) -> None:
        """Allow every call: it was judged who makes it."""

    def _perform(
        self, call: calls.Call[Any], arguments: dict[str, Any]
    ) -> Any:
        if call is calls.LIST:
            return self._list(**arguments)
        if call is calls.HISTORY:
            return self._history(call.thin_out(arguments))
        return super()._perform(call, arguments)

    def _history(self, wanted: dict[str, Any]) -> Sequence[types.Holding]:
        """Read history, but no more than a message can have."""
        most = sizes.MOST_ENTRIES + 1
        limit = min(wanted.pop('limit', most), most)
        return self._allocator.history(limit=limit, **wanted)
