# SPDX-License-Identifier: Apache-2.0
"""Tells systemd how a service is: started, ending, alive, and what it does.

It is the protocol of sd_notify(3): lines in a datagram, to a socket that the
environment names. Without such a socket nothing is told.
"""

from __future__ import annotations

import contextlib
import os
import socket

from svirt_nova import logs
from svirt_nova import printing

LOG = logs.get_logger(__name__)

_SOCKET = 'NOTIFY_SOCKET'
_WATCHDOG = 'WATCHDOG_USEC'
_WATCHED = 'WATCHDOG_PID'

_MOST_WAIT = 1.0
"""Seconds that systemd, when it is busy, may keep a service waiting."""

_taken: dict[str, str] = {}


def take() -> None:
    """Keep to this module whom to tell, and out of the environment.

    Libraries that would say at their own time that the service is ready, and
    programs that the service runs, find nothing there.
    """
    name = os.environ.pop(_SOCKET, None)
    if name:
        _taken[_SOCKET] = name


def ready(text: str) -> None:
    """Say that the service does its work from now on.

    :param text: what ``systemctl status`` shows
    """
    _tell('READY=1', _status(text))


def status(text: str) -> None:
    """Say what the service does, for ``systemctl status``."""
    _tell(_status(text))


def stopping(text: str) -> None:
    """Say that the service ends in order.

    :param text: what ``systemctl status`` shows
    """
    _tell('STOPPING=1', _status(text))


def alive() -> None:
    """Say that the service is not stuck; see :func:`watchdog`."""
    _tell('WATCHDOG=1')


def watchdog() -> float | None:
    """Within how many seconds :func:`alive` must be called again and again.

    :returns: None if systemd does not watch this process
    """
    watched = os.environ.get(_WATCHED)
    if watched is not None and watched != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ.get(_WATCHDOG, '0')) / 1_000_000
    except ValueError:
        return None
    return seconds if seconds > 0 else None


def _status(text: str) -> str:
    # A line end would begin another field.
    return f'STATUS={printing.printable(text)}'


def _tell(*lines: str) -> None:
    name = _taken.get(_SOCKET) or os.environ.get(_SOCKET)
    if not name:
        return
    if name.startswith('@'):
        name = '\0' + name[1:]
    with contextlib.closing(
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    ) as opened:
        opened.settimeout(_MOST_WAIT)
        try:
            opened.sendto('\n'.join(lines).encode(), name)
        except OSError as error:
            LOG.warning('systemd cannot be told %s: %s', lines[0], error)
