# SPDX-License-Identifier: Apache-2.0
"""Connections to the message bus, and calls that end in time."""

from __future__ import annotations

import threading
import time
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator.rpc import codec

LOG = logging.getLogger(__name__)

_SWITCHES = {
    'oslo_messaging_tracing': 'tracing_enabled',
    'oslo_messaging_metrics': 'metrics_enabled',
}
"""What oslo.messaging reads of every configuration, by group.

It registers them with the global one alone, which Nova has and our own
programs have not.
"""


def connect(conf: cfg.ConfigOpts, url: str | None) -> Any:
    """Prepare a connection to the bus; nothing is sent yet.

    :param url: of the bus; None for Nova's own
    :raises InvalidOption: it cannot be one
    """
    for group, option in _SWITCHES.items():
        if group not in conf:
            conf.register_opt(cfg.BoolOpt(option, default=False), group)
    try:
        return oslo_messaging.get_rpc_transport(conf, url=url)
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
    ) as error:
        # The text may hold a password.
        raise exception.InvalidOption(
            f'[svirt_nova_allocator] transport_url, or [DEFAULT] '
            f'transport_url, cannot be used: {type(error).__name__}'
        ) from error


class Client:
    """Calls to one topic, each of which ends in time.

    oslo.messaging waits for as long as it takes for the first connection,
    on which answers come. That is left to a thread, whose call changes
    nothing: what a caller gave up must not be done hours later.

    :param url: of the bus; None for Nova's own
    :param topic: of the service
    :raises InvalidOption: the URL cannot be one
    """

    # Tries to send once more, a second later; each takes the bus's time
    # to connect.
    _SEND_RETRIES = 1
    _PAUSE = 1.0
    # What an idle service takes to answer a ping at most.
    _PING_TIMEOUT = 0.5

    def __init__(
        self, conf: cfg.ConfigOpts, url: str | None, topic: str
    ) -> None:
        self._transport = connect(conf, url)
        self._client = oslo_messaging.get_rpc_client(
            self._transport,
            oslo_messaging.Target(
                exchange=codec.EXCHANGE,
                topic=topic,
                version=codec.FIRST_VERSION,
            ),
        )
        self._starting = threading.Lock()
        self._opener: threading.Thread | None = None
        self._is_open = threading.Event()
        self._is_closed = threading.Event()

    def call(
        self,
        context: dict[str, Any],
        name: str,
        timeout: float,
        arguments: dict[str, Any],
    ) -> Any:
        """Call the service and give its answer.

        :param timeout: seconds to wait for the connection, and once more
            for the answer
        :raises oslo_messaging.MessagingException: as oslo.messaging does
        """
        self._start_opening()
        if not self._is_open.wait(timeout):
            raise oslo_messaging.MessageDeliveryFailure('no connection')
        return self._client.prepare(
            timeout=timeout,
            retry=self._SEND_RETRIES,
            version=codec.version_of(name),
        ).call(context, name, **arguments)

    def close(self) -> None:
        """End its connections."""
        self._is_closed.set()
        self._transport.cleanup()

    def _start_opening(self) -> None:
        with self._starting:
            if self._opener is None:
                self._opener = threading.Thread(target=self._open, daemon=True)
                self._opener.start()

    def _open(self) -> None:
        while not self._is_closed.is_set():
            try:
                self._client.prepare(timeout=self._PING_TIMEOUT, retry=0).call(
                    {}, 'ping'
                )
            except oslo_messaging.MessageDeliveryFailure:
                time.sleep(self._PAUSE)
                continue
            except oslo_messaging.MessagingException as error:
                # Nobody answers, or not as we expect: the callers will
                # see. The connection stands.
                LOG.debug('The ping failed: %s', error)
            self._is_open.set()
            return
