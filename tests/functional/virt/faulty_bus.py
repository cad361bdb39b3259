# SPDX-License-Identifier: Apache-2.0
"""A message bus that drops, doubles, delays and reorders messages.

It is a driver of oslo.messaging, below the client and the servers of the
allocator service as they are: what they send is written and read as on a real
bus. Its time is simulated, so that nobody waits, and a call is answered in the
thread of its caller.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import dataclasses
import json
import random
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import oslo_messaging
from oslo_messaging import transport as oslo_transport
from oslo_messaging._drivers import base as driver_base
from oslo_messaging._drivers import common as driver_common

from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import signatures

FAULTS = {
    'none': 16,
    'request lost': 2,
    'answer lost': 3,
    'doubled': 4,
    'delayed': 5,
    'overtaken': 4,
}
"""By how often each befalls a call.

Its request, or its answer, is dropped; it is done twice, at once or later; it
is done after its caller has given up; the calls of another host are done
while it is under way.
"""

DELAYS = (30.0, 600.0)
"""Seconds within which messages that are delayed are delivered.

A signed call is void after some seconds.
"""


class Clock:
    """A simulated time, in place of the module ``time``.

    :ivar offset: seconds by which the clock of whoever runs is ahead
    """

    def __init__(self) -> None:
        self._passed = 0.0
        self._began = 1_800_000_000.0
        self.offset = 0.0

    def time(self) -> float:
        return self._began + self._passed + self.offset

    def time_ns(self) -> int:
        # As on a real host, no two looks show the same time.
        self._passed += 1e-6
        return int(self.time() * 1e9)

    def monotonic(self) -> float:
        return self._passed

    def sleep(self, seconds: float) -> None:
        self._passed += seconds

    @contextlib.contextmanager
    def of(self, offset: float) -> Iterator[None]:
        """Let a host run whose clock is ahead by so many seconds."""
        before, self.offset = self.offset, offset
        try:
            yield
        finally:
            self.offset = before


@dataclasses.dataclass(frozen=True)
class Message:
    """A request on the bus.

    :param text: as it is sent
    :param sent: when it was sent, by the simulated time
    :param due: when it is delivered
    """

    text: str
    sent: float
    due: float

    @property
    def _content(self) -> tuple[dict[str, Any], dict[str, Any]]:
        context, message = json.loads(self.text)
        return context, message

    def call(self) -> tuple[str, dict[str, Any]]:
        """The name and the arguments of the call that it has."""
        _, message = self._content
        if message['method'] == authentication.METHOD:
            text = message['args'][authentication.ARGUMENT]
            signed = signatures.read_call(text)
            return signed.name, dict(signed.arguments)
        return message['method'], message.get('args', {})

    def incoming(self) -> _Incoming:
        """The message as a server gets it."""
        return _Incoming(*self._content)


class _Incoming(driver_base.RpcIncomingMessage):  # type: ignore[misc]
    """A request that a server answers."""

    answer: str

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        if failure is not None:
            failure = driver_common.serialize_remote_exception(failure)
        self.answer = json.dumps([reply, failure])

    def requeue(self) -> None:
        raise NotImplementedError

    def heartbeat(self) -> None:
        raise NotImplementedError


class Bus:
    """The bus, and the servers on it.

    :param clock: its time
    :param chance: draws what befalls each message
    """

    def __init__(self, clock: Clock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.servers: list[Any] = []
        self.is_faulty = True
        self.seen: collections.Counter[str] = collections.Counter()
        # What is done while a call is under way.
        self.meanwhile: Callable[[], None] = lambda: None
        # What is told of a message that is delivered late.
        self.came_late: Callable[[str, dict[str, Any], float], None] = (
            lambda name, arguments, sent: None
        )
        self._late: list[Message] = []

    def connect(self, conf: Any, url: str | None = None) -> Any:
        """Give a transport of oslo.messaging, whichever URL is asked for."""
        return oslo_transport.RPCTransport(_Driver(conf, self))

    def _draw(self) -> str:
        if not self.is_faulty:
            return 'none'
        return self.chance.choices([*FAULTS], [*FAULTS.values()])[0]

    def call(self, text: str, timeout: float) -> Any:
        """Deliver a call, unless something befalls it.

        :raises oslo_messaging.MessagingTimeout: its answer does not come
        """
        now = self.clock.monotonic()
        message = Message(text, now, now)
        name, _ = message.call()
        if name == calls.PING.name:
            return self._answer(message)
        fault = self._draw()
        self.seen[fault] += 1
        self.clock.sleep(0.01)
        if fault == 'request lost':
            self._time_out(timeout)
        if fault == 'delayed':
            self._delay(message, timeout)
            self._time_out(timeout)
        if fault == 'overtaken':
            self.meanwhile()
        if fault == 'doubled':
            self._delay(message, 0)
            if self.chance.random() < 0.3:
                self.deliver(0)
        answer = self._answer(message)
        if fault == 'answer lost':
            self._time_out(timeout)
        if self.clock.monotonic() > message.sent + timeout:
            # What was done meanwhile took longer than the caller waits.
            raise oslo_messaging.MessagingTimeout
        return answer

    def _time_out(self, timeout: float) -> None:
        self.clock.sleep(timeout)
        raise oslo_messaging.MessagingTimeout

    def _delay(self, message: Message, least: float) -> None:
        due = self.clock.monotonic() + least
        due += self.chance.uniform(0, self.chance.choice(DELAYS))
        self._late.append(dataclasses.replace(message, due=due))

    def deliver(self, least: float | None = None) -> None:
        """Deliver what is due, in whichever order, or all at the end.

        :param least: deliver a message that is not due, too, if not None
        """
        now = self.clock.monotonic()
        due = [each for each in self._late if each.due <= now]
        if least is not None and self._late:
            due.append(self.chance.choice(self._late))
        self.chance.shuffle(due)
        for each in due:
            if each in self._late:
                self._late.remove(each)
                self._come_late(each)

    def deliver_all(self) -> None:
        """Deliver whatever is under way."""
        while self._late:
            self.deliver(0)

    def _come_late(self, message: Message) -> None:
        name, arguments = message.call()
        self.seen[f'late {name}'] += 1
        answer = self._answer(message)
        outcome = _outcome(answer)
        self.seen[f'late {name}: {outcome}'] += 1
        self.seen[f'late: {outcome}'] += 1
        if outcome == 'done':
            self.came_late(name, arguments, message.sent)

    def _answer(self, message: Message) -> Any:
        incoming = message.incoming()
        with self.clock.of(0):
            self.chance.choice(self.servers)._process_incoming([incoming])
        reply, failure = json.loads(incoming.answer)
        if failure is not None:
            raise driver_common.deserialize_remote_exception(failure, [])
        return reply


def _outcome(answer: Any) -> str:
    """What came of a call: ``done``, or the name of the refusal."""
    if answer.keys() == {authentication.ANSWER}:
        _, payload, _ = answer[authentication.ANSWER].split('.')
        answer = json.loads(_decode(payload))['answer']
    refusal = answer.get('error')
    return 'done' if refusal is None else str(refusal['name'])


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))


class _Driver(driver_base.BaseDriver):  # type: ignore[misc]
    """The driver of one connection."""

    def __init__(self, conf: Any, bus: Bus) -> None:
        super().__init__(conf, None)
        self._bus = bus

    def send(
        self,
        target: Any,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        *_arguments: Any,
        timeout: float | None = None,
        **_options: Any,
    ) -> Any:
        assert timeout is not None, 'each call ends in time'
        return self._bus.call(json.dumps([ctxt, message]), timeout)

    def send_notification(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError

    def listen(self, *_arguments: Any) -> Any:
        raise NotImplementedError

    def listen_for_notifications(self, *_arguments: Any) -> Any:
        raise NotImplementedError

    def cleanup(self) -> None:
        """Nothing is connected."""
