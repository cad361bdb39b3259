# SPDX-License-Identifier: Apache-2.0
"""Finds out before the service starts whether store and bus can be used.

A process of its own looks: what opens connections leaves threads and locks
behind, which the processes of the service would inherit when they are forked.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import uuid
from multiprocessing import connection
from typing import Any

import oslo_messaging
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import transport

LOG = logs.get_logger(__name__)

_PATIENCE = 30.0
"""Seconds for the store, and for the bus, to answer or to refuse."""

_STORE = 'the store'
_BUS = 'the message bus'

_TALKATIVE = ('oslo.messaging', 'oslo_messaging', 'oslo_db', 'amqp', 'kombu')
"""Libraries that log what the refusal says."""

_URLS = {
    calls.Topic.COMPUTES: 'transport_url',
    calls.Topic.OPERATORS: 'operator_transport_url',
}


def check(
    conf: cfg.ConfigOpts, driver: str, patience: float = _PATIENCE
) -> None:
    """Use the store and the bus once.

    :param driver: the allocator that does the work of the service
    :param patience: seconds that each of them has
    :raises SvirtError: one of them cannot be used; what, where, and what to
        do
    """
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    looking = context.Process(
        target=_look, args=(conf, driver, sender), daemon=True
    )
    looking.start()
    sender.close()
    try:
        for what in (_STORE, _BUS):
            refusal = _receive(receiver, what, patience)
            if refusal:
                raise exception.StoreUnusable(refusal)
    finally:
        looking.kill()
        looking.join()
        receiver.close()


def _receive(
    receiver: connection.Connection[Any, Any], what: str, patience: float
) -> str:
    """Why it cannot be used; an empty text if it can."""
    if not receiver.poll(patience):
        return (
            f'{what} has not answered within {patience:g} s; check that it '
            f'runs, and that this machine reaches it'
        )
    try:
        return str(receiver.recv())
    except EOFError:
        return f'{what} could not be looked at; the log says why'


def _look(
    conf: cfg.ConfigOpts,
    driver: str,
    sender: connection.Connection[Any, Any],
) -> None:
    """Look in a process that then ends, whatever its threads do."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        for look in (_look_at_store, _look_at_bus):
            try:
                look(conf, driver)
            except exception.SvirtError as error:
                sender.send(str(error))
            else:
                sender.send('')
    except Exception:
        LOG.exception('What the service needs could not be looked at')
    finally:
        os._exit(0)


def _look_at_store(conf: cfg.ConfigOpts, driver: str) -> None:
    base.load(conf, driver).space()


def _look_at_bus(conf: cfg.ConfigOpts, _driver: str) -> None:
    """Send something to nobody, over the bus of each topic.

    :raises StoreUnreachable: it cannot be sent
    """
    for topic in calls.Topic:
        bus = transport.connect(conf, transport.url_of(conf, topic))
        client = oslo_messaging.get_rpc_client(
            bus,
            oslo_messaging.Target(
                exchange=calls.EXCHANGE,
                topic=transport.topic_name(conf, topic),
                server=uuid.uuid4().hex,
            ),
        )
        try:
            client.prepare(retry=0).cast({}, calls.PING.name)
        except Exception as error:
            # kombu and amqp have errors of many kinds, with no common base.
            raise exception.StoreUnreachable(
                f'{_BUS} at {_places(conf, topic)} cannot be used: '
                f'{printing.printable(error, 300)}; check that it runs, and '
                f'[svirt_nova_allocator] {_option_of(conf, topic)}: its '
                f'place, virtual host, user and password'
            ) from error


def _option_of(conf: cfg.ConfigOpts, topic: calls.Topic) -> str:
    option = _URLS[topic]
    if conf.svirt_nova_allocator[option] is None:
        option = 'transport_url'
    return option


def _places(conf: cfg.ConfigOpts, topic: calls.Topic) -> str:
    """Where a bus is, without the names and passwords of users."""
    url = oslo_messaging.TransportURL.parse(
        conf, transport.url_of(conf, topic)
    )
    return printing.printable(
        ', '.join(f'{each.hostname}:{each.port}' for each in url.hosts)
        or url.transport
    )
