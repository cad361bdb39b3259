# SPDX-License-Identifier: Apache-2.0
"""Sends alarms over the message bus, without ever waiting for it."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import oslo_messaging
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.alarm import counters
from svirt_nova.allocator.rpc import transport

LOG = logs.get_logger(__name__)

EVENT_TYPE = 'svirt_nova.confinement.denied'

MOST_WAITING = 1000
"""Notifications that wait for the bus; of more, the oldest are dropped."""

_MOST_SAVED = 100
_PAUSE = 5.0

Send = Callable[[dict[str, Any]], None]


def sender(conf: cfg.ConfigOpts, host: str) -> Send | None:
    """What sends a notification, by ``[oslo_messaging_notifications]``.

    :param host: Nova's name for this host
    :returns: None where no driver is configured
    :raises InvalidOption: the bus or the driver cannot be used
    """
    transport.register_switches(conf)
    try:
        bus = oslo_messaging.get_notification_transport(conf)
        if not any(conf.oslo_messaging_notifications.driver):
            return None
        notifier = oslo_messaging.Notifier(
            bus, publisher_id=f'svirt_nova.{host}'
        )
    except (
        oslo_messaging.InvalidTransportURL,
        oslo_messaging.DriverLoadFailure,
    ) as error:
        # The text may hold a password.
        raise exception.InvalidOption(
            f'[oslo_messaging_notifications] transport_url, or [DEFAULT] '
            f'transport_url, cannot be used: {type(error).__name__}'
        ) from error

    def send(payload: dict[str, Any]) -> None:
        notifier.error({}, EVENT_TYPE, payload)

    return send


class Notifications:
    """Sends in a thread what others give it.

    :param send: see :func:`sender`; None to send nothing
    """

    def __init__(self, send: Send | None, counts: counters.Counters) -> None:
        self._send = send
        self._counts = counts
        self._waiting: collections.deque[dict[str, Any]] = collections.deque()
        self._changed = threading.Condition()
        self._is_failing = False
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        if self._send is not None:
            self._thread.start()

    def put(self, payload: dict[str, Any]) -> None:
        """Send a notification later."""
        if self._send is None:
            return
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                # The first one may be under way. The next is the oldest.
                del self._waiting[1]
                self._counts.dropped_notifications.inc()
                self._dropped += 1
                if self._dropped & (self._dropped - 1) == 0:
                    LOG.error(
                        'The message bus takes no notifications: %d were '
                        'dropped. The alarms are in this log',
                        self._dropped,
                    )
            self._waiting.append(payload)
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, seconds: float) -> bool:
        """Wait until all are sent; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def to_json(self) -> list[dict[str, Any]]:
        """What is not sent yet: the newest, for the state file."""
        with self._changed:
            return [*self._waiting][-_MOST_SAVED:]

    def load(self, found: Sequence[Mapping[str, Any]]) -> None:
        """Send what :meth:`to_json` gave.

        :raises TypeError, ValueError: it is something else
        """
        for each in found[:_MOST_SAVED]:
            self.put(dict(each))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                payload = self._waiting[0]
            if not self._try_to_send(payload):
                threading.Event().wait(_PAUSE)
                continue
            with self._changed:
                if self._waiting and self._waiting[0] is payload:
                    self._waiting.popleft()
                self._changed.notify_all()

    def _try_to_send(self, payload: dict[str, Any]) -> bool:
        assert self._send is not None
        try:
            self._send(payload)
        except Exception:
            # What a driver of oslo.messaging raises is not bounded. The
            # notification is kept, and the alarm is in the log.
            if not self._is_failing:
                LOG.exception('Notifications cannot be sent, and wait')
            self._is_failing = True
            return False
        if self._is_failing:
            LOG.info('Notifications are sent again')
        self._is_failing = False
        self._counts.notifications.inc()
        return True
