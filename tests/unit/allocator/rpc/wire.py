# SPDX-License-Identifier: Apache-2.0
"""Client and service with a message bus that keeps what passes over it."""

import json
from collections.abc import Callable
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

import fixtures
import oslo_messaging
from oslo_config import cfg
from oslo_messaging._drivers import impl_fake
from oslo_utils import timeutils

import svirt_nova.conf
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport

TOPIC = 'levels'
OPERATOR_TOPIC = 'levels-operator'


def make_conf(host: str | None) -> cfg.ConfigOpts:
    """The configuration of a client or a service.

    :param host: Nova's name for the client's host
    """
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    if host is not None:
        conf.register_opt(cfg.StrOpt('host', default=host))
    conf.set_override('transport_url', 'fake:/', 'svirt_nova_allocator')
    conf.set_override('topic', TOPIC, 'svirt_nova_allocator')
    return conf


def serve(
    allocator: base.Allocator, request: dict[str, Any], *, waited: float = 0.0
) -> dict[str, Any]:
    """Have the service answer a message.

    :param waited: how many seconds the message has waited in the service
    :returns: the reply, or the failure that oslo.messaging makes of it
    """
    conf = make_conf(None)
    # Operators have a bus of their own.
    conf.set_override(
        'operator_transport_url', 'fake:/operators', 'svirt_nova_allocator'
    )
    bus = transport.connect(conf, 'fake:/')
    for endpoint in (
        endpoints.ComputeEndpoint(allocator),
        endpoints.OperatorEndpoint(allocator),
    ):
        callers = authentication.Authentication(conf, None, endpoint.topic)
        made = server.create(conf, bus, 'service', endpoint, callers)
        target = made._target
        if (target.exchange, target.topic) == (
            request['exchange'],
            request['topic'],
        ):
            break
    else:
        raise AssertionError('nobody listens there')
    watch = mock.create_autospec(timeutils.StopWatch, instance=True)
    watch.elapsed.return_value = waited
    sent = json.loads(json.dumps(request))
    incoming = SimpleNamespace(
        ctxt=sent['context'],
        message=sent['message'],
        client_timeout=None,
        stopwatch=watch,
    )
    try:
        reply = made.dispatcher.dispatch(incoming)
    except oslo_messaging.MessagingException as error:
        kind = type(error)
        return {
            'failure': {
                'class': f'{kind.__module__}.{kind.__qualname__}',
                'text': str(error),
            }
        }
    return {'reply': json.loads(json.dumps(reply))}


class Bus(fixtures.Fixture):
    """A message bus that keeps what is sent on it.

    :param answer: gives what the service replies to a request
    :param pings: errors that the first pings meet, in order
    :ivar requests: what has been sent, in order
    :ivar waits: for how many seconds the client waits for each reply
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], dict[str, Any]],
        pings: Sequence[Exception] = (),
    ) -> None:
        super().__init__()
        self.requests: list[dict[str, Any]] = []
        self.waits: list[float] = []
        self._answer = answer
        self._pings = list(pings)

    def _setUp(self) -> None:
        self.useFixture(
            fixtures.MonkeyPatch(
                f'{impl_fake.__name__}.FakeDriver.send', self._send
            )
        )

    def _send(self, _driver, target, ctxt, message, **options):
        request = json.loads(
            json.dumps(
                {
                    'exchange': target.exchange,
                    'topic': target.topic,
                    'context': ctxt,
                    'message': message,
                }
            )
        )
        self.requests.append(request)
        self.waits.append(options['timeout'])
        if message['method'] == 'ping':
            if self._pings:
                raise self._pings.pop(0)
            return {'result': None}
        return self._answer(request)
