# SPDX-License-Identifier: Apache-2.0
"""Makes calls of the allocator service until they are answered.

Every call can be repeated, so a call whose answer is lost is made again. Who
signs its calls believes no answer that the service has not signed, and asks
on until it gets one that is: whatever else answers on the bus can only make
that take longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import exceptions as messaging_exceptions

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import credentials
from svirt_nova.allocator.rpc import envelope
from svirt_nova.allocator.rpc import transport

LOG = logs.get_logger(__name__)

_FIRST_PAUSE = 0.01
_LONGEST_PAUSE = 0.5
"""Seconds between two tries, if answers come at once that are not signed."""


class Caller:
    """Makes the calls of a program.

    :param conf: the configuration of a compute or of an operator's command
    :raises InvalidOption: its keys cannot be used
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._conf = conf
        self._credentials = credentials.Credentials(conf)
        self._opening = threading.Lock()
        self._clients: dict[calls.Topic, transport.Client] = {}

    def close(self) -> None:
        """End the connections to the bus; the next call makes new ones."""
        with self._opening:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def _client(self, topic: calls.Topic) -> transport.Client:
        with self._opening:
            if topic not in self._clients:
                self._clients[topic] = transport.Client(self._conf, topic)
            return self._clients[topic]

    def ask(
        self,
        call: calls.Call[Any],
        topic: calls.Topic,
        host: str | None,
        arguments: Mapping[str, Any],
    ) -> Any:
        """Make a call, and give its answer.

        :param topic: where it is to be answered
        :param host: in whose name it is made
        :param arguments: as they are sent
        :raises StoreUnreachable: the service does not answer in the call's
            time
        :raises StoreUnusable: it does not understand the call
        :raises NotAllowed: the call needs a key
        """
        options = self._conf.svirt_nova_allocator
        request = _Request(
            call,
            topic,
            host,
            call.thin_out(arguments),
            call.timeout or options.call_timeout,
            1 if call.timeout else 1 + options.call_retries,
        )
        signed = self._sign(request, request.seconds)
        if signed is None:
            return self._ask_unsigned(request)
        return self._ask_signed(request, signed)

    def _ask_unsigned(self, request: _Request) -> Any:
        """Send a call until it is answered, so many times at most."""
        silence: Exception = oslo_messaging.MessagingTimeout()
        for _ in range(request.tries):
            try:
                return self._client(request.topic).call(
                    request.call.name,
                    request.version,
                    request.context(request.seconds),
                    request.message,
                    request.seconds,
                )
            except oslo_messaging.MessagingTimeout as error:
                silence = error
            except exception.SvirtError:
                raise
            except oslo_messaging.RemoteError as error:
                raise exception.StoreUnusable(
                    f'the allocator service does not understand the call '
                    f'{request.call.name} ({error.exc_type}): upgrade it '
                    f'before computes'
                ) from error
            except (messaging_exceptions.MessagingException, OSError) as error:
                raise _no_bus(error) from error
            except Exception as error:
                # oslo.messaging raises built-in exceptions by the names
                # that the other side sent.
                raise exception.StoreUnusable(
                    f'the allocator service failed at the call '
                    f'{request.call.name} ({type(error).__name__}); its log '
                    f'says why'
                ) from error
        raise request.unanswered() from silence

    def _ask_signed(
        self, request: _Request, signed: credentials.SignedCall
    ) -> Any:
        """Send a call until the service answers it, or its time is over.

        Each time, it is signed anew: the service does what is signed once.
        """
        deadline = time.monotonic() + request.seconds * request.tries
        pause = _FIRST_PAUSE
        silent = 0
        left = request.seconds
        failure: exception.StoreUnreachable = request.unanswered()
        while True:
            try:
                answer = self._send(request, signed, left)
                if not _is_of_no_use(answer, signed):
                    return answer
            except oslo_messaging.MessagingTimeout:
                silent += 1
            except exception.ForgedAnswer as error:
                if not isinstance(failure, exception.ForgedAnswer):
                    LOG.warning('%s', error)
                failure = error
            left = min(request.seconds, deadline - time.monotonic() - pause)
            if silent == request.tries or left <= 0:
                raise failure
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            renewed = self._sign(request, left)
            assert renewed is not None
            signed = renewed

    def _sign(
        self, request: _Request, seconds: float
    ) -> credentials.SignedCall | None:
        return self._credentials.sign(
            request.topic,
            request.host,
            request.call.name,
            request.version,
            request.message,
            seconds,
        )

    def _send(
        self,
        request: _Request,
        signed: credentials.SignedCall,
        seconds: float,
    ) -> dict[str, Any]:
        """Send a signed call once, and give its answer.

        :raises ForgedAnswer: the service has not signed the answer
        :raises StoreUnreachable: nothing can be sent
        :raises oslo_messaging.MessagingTimeout: nothing answers
        """
        try:
            answer = self._client(request.topic).call(
                authentication.METHOD,
                calls.FIRST_VERSION,
                request.context(seconds),
                {authentication.ARGUMENT: signed.text},
                seconds,
            )
        except (oslo_messaging.MessagingTimeout, exception.SvirtError):
            raise
        except oslo_messaging.RemoteError as error:
            raise signed.forged(
                f'it is the error {error.exc_type}'
                f'{credentials.says(str(error.value))}'
            ) from error
        except messaging_exceptions.MessagingException as error:
            # It comes from this side: no other name of an error that the
            # other side sends becomes one of oslo.messaging.
            raise _no_bus(error) from error
        except Exception as error:
            # oslo.messaging raises built-in exceptions by the names that the
            # other side sent, and fails at answers of another shape.
            raise signed.forged(
                f'it is the error {type(error).__name__}'
                f'{credentials.says(str(error))}'
            ) from error
        return signed.read(answer)


class _Request:
    """A call of a program.

    :param seconds: for which it waits for an answer, each time
    :param tries: how often it may wait for so long
    """

    def __init__(
        self,
        call: calls.Call[Any],
        topic: calls.Topic,
        host: str | None,
        message: dict[str, Any],
        seconds: float,
        tries: int,
    ) -> None:
        self.call = call
        self.topic = topic
        self.host = host
        self.message = message
        self.version = call.version_of(message)
        self.seconds = seconds
        self.tries = tries

    def context(self, seconds: float) -> dict[str, Any]:
        """What the caller says of itself."""
        return {'host': self.host, 'timeout': seconds}

    def unanswered(self) -> exception.StoreUnreachable:
        """What is said if no answer came."""
        return exception.StoreUnreachable(
            f'the allocator service did not answer the call {self.call.name} '
            f'in {self.seconds * self.tries:g} s; check that '
            f'svirt-nova-allocator runs and has the same message bus'
        )


def _no_bus(error: Exception) -> exception.StoreUnreachable:
    return exception.StoreUnreachable(
        f'the message bus cannot be reached: {type(error).__name__}; check '
        f'that it runs, and [svirt_nova_allocator] transport_url'
    )


def _is_of_no_use(
    answer: dict[str, Any], signed: credentials.SignedCall
) -> bool:
    """Whether the service refuses a call because of how it came.

    Somebody else on the bus can deliver a call twice, or when it is void. If
    a call is refused as void while it is not, a clock is wrong.
    """
    return envelope.is_refusal(answer, exception.RepeatedCall) or (
        envelope.is_refusal(answer, exception.NotAllowed) and signed.is_over
    )
