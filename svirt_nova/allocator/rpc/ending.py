# SPDX-License-Identifier: Apache-2.0
"""Servers of the calls that end in time, whatever the message bus does.

oslo.messaging ends a server only once its threads are done, and these try
without an end to reach a bus that is gone (``Connection.ensure`` and
``AMQPListener.stop`` in its drivers). Who ends a process does not want to
wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

from oslo_messaging.rpc import server as rpc_server

from svirt_nova import logs

LOG = logs.get_logger(__name__)

BUS_PATIENCE = 4.0
"""Seconds in which a bus that is there lets a server stop: it looks for the
end once a second."""

_CLOSE_PATIENCE = 2.0
"""Seconds in which the last answer leaves, and connections close."""

_PAUSE = 0.05


class Server(rpc_server.RPCServer):  # type: ignore[misc]
    """A server that knows how many calls it has in work."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._counting = threading.Lock()
        self._in_work = 0

    @property
    def in_work(self) -> int:
        """How many calls were begun whose answer is not sent."""
        return self._in_work

    def _process_incoming(self, incoming: Any) -> None:
        with self._counting:
            self._in_work += 1
        try:
            super()._process_incoming(incoming)
        finally:
            with self._counting:
                self._in_work -= 1


class _Ending:
    """The end of a server, in a thread that nobody has to wait for."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stopped = threading.Event()
        self.ended = threading.Event()
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        try:
            self.server.stop()
            self.stopped.set()
            self.server.wait()
        except Exception:
            LOG.exception('A server of calls could not be ended in order')
        finally:
            self.stopped.set()
            self.ended.set()

    def outlast(self) -> bool:
        """Wait until it has ended; whether it has.

        Calls in work end in the time limits of the store.
        """
        idle = time.monotonic()
        while not self.ended.wait(_PAUSE):
            if self.server.in_work:
                idle = time.monotonic()
            elif time.monotonic() > idle + _CLOSE_PATIENCE:
                return False
        return True


def end(servers: Iterable[Server]) -> bool:
    """Take no calls any more, answer those in work, and end.

    :returns: whether the bus let the servers end. If not, threads of theirs
        go on, and the process must not
    """
    deadline = time.monotonic() + BUS_PATIENCE
    endings = [_Ending(each) for each in servers]
    for each in endings:
        if not each.stopped.wait(max(0.0, deadline - time.monotonic())):
            LOG.warning(
                'The message bus does not answer: the process ends without '
                'it. %d calls are in work and get no answer; their callers '
                'make them again',
                sum(each.server.in_work for each in endings),
            )
            return False
    for each in endings:
        if not each.outlast():
            LOG.warning(
                'The message bus does not close its connections: the process '
                'ends without that'
            )
            return False
    return True
