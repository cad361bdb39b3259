# SPDX-License-Identifier: Apache-2.0
"""Servers of the calls: they refuse late ones, and those of nobody."""

from __future__ import annotations

import types
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging.rpc import dispatcher as rpc_dispatcher

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import call_counts
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import ending
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import signatures
from svirt_nova.allocator.rpc import transport

LOG = logs.get_logger(__name__)


class _Dispatcher(rpc_dispatcher.RPCDispatcher):  # type: ignore[misc]
    """Finds out who calls, and refuses calls that have waited for too long.

    The bus drops a message that no server took within its caller's time. A
    message that was taken may still wait here for a thread. If an unclaim
    were done after the host had given up and claimed the instance again, it
    would drop that new claim.

    :param endpoint: answers the calls
    :param callers: tells who makes them
    """

    def __init__(
        self,
        endpoint: endpoints.Endpoint,
        callers: authentication.Authentication,
    ) -> None:
        # The policy refuses what the endpoint does not expose.
        super().__init__(
            [endpoint], None, oslo_messaging.ExplicitRPCAccessPolicy
        )
        self._callers = callers

    def dispatch(self, incoming: Any) -> Any:
        """Answer a call, or refuse it."""
        message = incoming.message
        if message.get('method') == authentication.METHOD:
            return self._answer_signed(incoming)
        try:
            _check_waited(incoming, _timeout_of(incoming.ctxt))
            self._callers.check_unsigned(
                message.get('method'), incoming.ctxt, message.get('args')
            )
        except exception.SvirtError as error:
            return _refuse(error, message.get('method'))
        return self._perform(incoming)

    def _perform(self, incoming: Any) -> Any:
        """Let the endpoint answer a call."""
        _check_call(incoming.message)
        return super().dispatch(incoming)

    def _answer_signed(self, incoming: Any) -> Any:
        """Answer a signed call, or refuse it.

        What its owner has signed is refused with a signature: only the owner
        can have asked for that.
        """
        try:
            received = self._callers.read(incoming.message.get('args'))
        except exception.SvirtError as error:
            return _refuse(error)
        call = received.call
        try:
            answer = self._do_once(call, incoming)
        except _StoreAway as away:
            answer = away.answer
        except (exception.SvirtError, ValueError) as error:
            answer = _refuse(error, call.name)
        except rpc_dispatcher.RPCDispatcherError:
            answer = _refuse(
                exception.StoreUnusable(
                    f'the allocator service does not understand the call '
                    f'{printing.name(call.name)} of the version '
                    f'{call.version}: upgrade it before computes'
                ),
                call.name,
            )
        except Exception as error:
            LOG.exception('A signed call failed')
            call_counts.refused(call.name, error)
            answer = envelope.write_refusal(error)
        return received.sign(answer)

    def _do_once(
        self, call: signatures.Call, incoming: Any
    ) -> envelope.Answer:
        """Do a signed call for the owner of its key."""
        key = self._callers.admit(call)
        # What the context of the message says is not signed. A call is valid
        # for half of its caller's time.
        _check_waited(incoming, 2 * (call.expires - call.issued))
        with self._callers.once(call, key):
            answer: envelope.Answer = self._perform(
                types.SimpleNamespace(
                    ctxt=key,
                    message={
                        'method': call.name,
                        'version': call.version,
                        'args': call.arguments,
                    },
                    client_timeout=None,
                )
            )
            if envelope.is_refusal(answer, exception.StoreUnreachable):
                # Nothing more is tried with a store that is away.
                raise _StoreAway(answer)
        return answer


class _StoreAway(Exception):
    """The store was away while a call was done.

    :param answer: what the endpoint answers then
    """

    def __init__(self, answer: envelope.Answer) -> None:
        super().__init__()
        self.answer = answer


def _refuse(error: Exception, call: Any = None) -> envelope.Answer:
    """Refuse a call that no endpoint has seen.

    :param call: its name; None where it is not known
    """
    # Quoted: the text may hold line ends that the caller sent.
    LOG.warning('Refused: %r', str(error))
    if isinstance(error, signatures.Invalid):
        # A refusal has the name of an error that all releases know.
        error = exception.NotAllowed(str(error))
    call_counts.refused(call, error)
    return envelope.write_refusal(error)


def _timeout_of(context: Any) -> float | None:
    """Seconds that a caller waits for an answer, as it says; None for ever."""
    timeout = context.get('timeout') if isinstance(context, dict) else None
    return timeout if isinstance(timeout, int | float) else None


def _check_waited(incoming: Any, seconds: float | None) -> None:
    """Check that not more than half of the caller's time went by here.

    The other half is for the call itself.

    :param seconds: that the caller waits for the answer; None for ever
    :raises StoreUnreachable: it did
    """
    # oslo.messaging starts it when the message arrives. Its drivers for
    # tests have none.
    watch = getattr(incoming, 'stopwatch', None)
    if seconds is None or watch is None:
        return
    # Half of a number may be too large for Python.
    if 2 * watch.elapsed() > seconds:
        raise exception.StoreUnreachable(
            'the allocator service is overloaded: the call waited for '
            'too long and was not done'
        )


def _check_call(message: Any) -> None:
    """Check how the caller names the call.

    oslo.messaging logs the name of a call, and its version, that it does not
    know. Such a text may be of any length, and have lines of its own.

    :raises NoSuchMethod: there can be no such call
    """
    for key in ('method', 'namespace', 'version'):
        text = message.get(key)
        if text is not None and text != printing.name(text):
            raise rpc_dispatcher.NoSuchMethod(printing.name(text))
    if message.get('method') is None:
        raise rpc_dispatcher.NoSuchMethod('')


def create(
    conf: cfg.ConfigOpts,
    bus: oslo_messaging.RPCTransport,
    name: str,
    endpoint: endpoints.Endpoint,
    callers: authentication.Authentication,
) -> ending.Server:
    """Make a server of the calls of an endpoint.

    :param name: of this process; no other may have it
    :param callers: tells who makes the calls
    :returns: an oslo.messaging server, which is not started yet
    """
    if 'oslo_messaging_rabbit' in conf:
        # A message that has to wait for a thread waits on the bus, which
        # drops it in time or gives it to another process.
        conf.set_override(
            'rabbit_qos_prefetch_count', 1, 'oslo_messaging_rabbit'
        )
    target = oslo_messaging.Target(
        exchange=calls.EXCHANGE,
        topic=transport.topic_name(conf, endpoint.topic),
        server=name,
    )
    return ending.Server(
        bus, target, _Dispatcher(endpoint, callers), 'threading'
    )
