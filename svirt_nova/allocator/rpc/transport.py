# SPDX-License-Identifier: Apache-2.0
"""Connections to the message bus, and calls that end in time."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib import parse

import oslo_messaging
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator.rpc import calls

LOG = logs.get_logger(__name__)

_SWITCHES = {
    'oslo_messaging_tracing': 'tracing_enabled',
    'oslo_messaging_metrics': 'metrics_enabled',
}
"""Options that oslo.messaging reads from every configuration, by group.

oslo.messaging registers them only with the global configuration, which Nova
uses, but our own programs do not.
"""


def topic_name(conf: cfg.ConfigOpts, topic: calls.Topic) -> str:
    """The name that a topic has on the bus."""
    return f'{conf.svirt_nova_allocator.topic}{topic.value}'


def url_of(conf: cfg.ConfigOpts, topic: calls.Topic) -> str | None:
    """The URL of the bus that has a topic; None for Nova's own bus."""
    options = conf.svirt_nova_allocator
    url: str | None = options.transport_url
    if topic is calls.Topic.OPERATORS:
        url = options.operator_transport_url or url
    return url


def is_apart(conf: cfg.ConfigOpts) -> bool:
    """Whether operators have a virtual host of the bus of their own.

    Nothing else makes a bus another one for certain. One server has many
    names, addresses and ports, and the nodes of a cluster are one bus. Which
    users may write to the topic of operators is only known to the bus.
    """
    url = conf.svirt_nova_allocator.operator_transport_url
    if not url:
        return False
    connect(conf, url).cleanup()
    own, common = (
        _virtual_host(oslo_messaging.TransportURL.parse(conf, each))
        for each in (url, conf.svirt_nova_allocator.transport_url)
    )
    return own != common


def _virtual_host(url: oslo_messaging.TransportURL) -> str:
    """The virtual host that RabbitMQ is asked for.

    oslo.messaging decodes the name in the URL, and hands it to kombu as a
    part of another URL (``Connection`` in ``impl_rabbit``), which kombu
    decodes again. Without a name, it is ``/``.
    """
    path = parse.urlsplit(f'//bus/{url.virtual_host or ""}').path
    return parse.unquote(path[1:]) or '/'


def register_switches(conf: cfg.ConfigOpts) -> None:
    """Register what oslo.messaging only registers for Nova's programs."""
    for group, option in _SWITCHES.items():
        if group not in conf:
            conf.register_opt(cfg.BoolOpt(option, default=False), group)


def connect(conf: cfg.ConfigOpts, url: str | None) -> Any:
    """Prepare a connection to a bus; nothing is sent yet.

    :param url: the URL of the bus; None for Nova's own bus
    :returns: an oslo.messaging RPC transport
    :raises InvalidOption: the URL cannot be used
    """
    register_switches(conf)
    try:
        return oslo_messaging.get_rpc_transport(conf, url=url)
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
    ) as error:
        # The text may hold a password.
        raise exception.InvalidOption(
            f'[svirt_nova_allocator] transport_url or '
            f'operator_transport_url, or [DEFAULT] transport_url, cannot be '
            f'used: {type(error).__name__}'
        ) from error


class Client:
    """Makes calls on one topic, each of which ends in time.

    oslo.messaging waits without limit for its first connection to the bus,
    on which the answers arrive. Therefore a thread of our own makes that
    connection, with a ping, which changes nothing: a call that its caller
    gave up must not be done hours later, when the bus is back.

    :raises InvalidOption: the URL of the bus cannot be used
    """

    # oslo.messaging sends a message again once, a second later. Each time
    # it takes as long as the bus needs to connect.
    _SEND_RETRIES = 1
    # Seconds until the thread tries again to connect.
    _PAUSE = 1.0
    # Seconds that an idle service needs at most to answer a ping.
    _PING_TIMEOUT = 0.5

    def __init__(self, conf: cfg.ConfigOpts, topic: calls.Topic) -> None:
        self._transport = connect(conf, url_of(conf, topic))
        self._client = oslo_messaging.get_rpc_client(
            self._transport,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=topic_name(conf, topic),
                version=calls.FIRST_VERSION,
            ),
        )
        self._starting = threading.Lock()
        self._opener: threading.Thread | None = None
        self._is_open = threading.Event()
        self._is_closed = threading.Event()

    def call(
        self,
        name: str,
        version: str,
        context: dict[str, Any],
        arguments: dict[str, Any],
        timeout: float,
    ) -> Any:
        """Make a call and give its answer.

        :param name: of the call
        :param version: of the interface that it needs
        :param context: what the caller says of itself
        :param arguments: as they are sent
        :param timeout: seconds to wait for the connection, and once more
            for the answer
        :raises oslo_messaging.MessagingException: as oslo.messaging does
        """
        self._start_opening()
        if not self._is_open.wait(timeout):
            raise oslo_messaging.MessageDeliveryFailure('no connection')
        return self._client.prepare(
            timeout=timeout, retry=self._SEND_RETRIES, version=version
        ).call(context, name, **arguments)

    def close(self) -> None:
        """End the connections of this client."""
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
                    {}, calls.PING.name
                )
            except (oslo_messaging.MessageDeliveryFailure, OSError):
                time.sleep(self._PAUSE)
                continue
            except Exception:
                # The connection stands, though the service does not
                # answer, or not as expected. The calls will meet that, too,
                # and tell their callers.
                LOG.debug('The ping failed', exc_info=True)
            self._is_open.set()
            return
