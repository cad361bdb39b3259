# SPDX-License-Identifier: Apache-2.0
"""Servers of the calls, which refuse those that come too late."""

from __future__ import annotations

from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging
from oslo_messaging.rpc import dispatcher as rpc_dispatcher
from oslo_messaging.rpc import server as rpc_server

from svirt_nova import exception
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import transport

LOG = logging.getLogger(__name__)


class _Dispatcher(rpc_dispatcher.RPCDispatcher):  # type: ignore[misc]
    """Refuses a call that has waited so long that its caller may be gone.

    The bus drops a message that no server took within its caller's time. A
    message that was taken may still wait here for a thread. If an unclaim
    were done after the host had given up and claimed the instance again, it
    would drop that new claim.
    """

    def dispatch(self, incoming: Any) -> Any:
        """Answer a call, or refuse it."""
        if _is_late(incoming):
            error = exception.StoreUnreachable(
                'the allocator service is overloaded: the call waited for '
                'too long and was not done'
            )
            LOG.warning('Refused: %s', error)
            return envelope.write_refusal(error)
        return super().dispatch(incoming)


def _is_late(incoming: Any) -> bool:
    """Whether more than half of the caller's time went by in this process.

    The other half is for the call itself.
    """
    context = incoming.ctxt
    timeout = context.get('timeout') if isinstance(context, dict) else None
    # oslo.messaging starts it when the message arrives. Its drivers for
    # tests have none.
    watch = getattr(incoming, 'stopwatch', None)
    if watch is None or not isinstance(timeout, int | float):
        return False
    return bool(watch.elapsed() > timeout / 2)


def create(
    conf: cfg.ConfigOpts,
    bus: oslo_messaging.RPCTransport,
    name: str,
    endpoint: endpoints.Endpoint,
) -> Any:
    """Make a server of the calls of an endpoint.

    :param name: of this process; no other may have it
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
    dispatcher = _Dispatcher(
        # The policy refuses what the endpoint does not expose.
        [endpoint],
        None,
        oslo_messaging.ExplicitRPCAccessPolicy,
    )
    return rpc_server.RPCServer(bus, target, dispatcher, 'threading')
