# SPDX-License-Identifier: Apache-2.0
"""Runs inside a host: connects to sockets, and asks who listens there.

Part of ``census.py``. Raises OSError for what is refused.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

#: Seconds until a service has answered.
ANSWER = 20.0
#: Seconds in which a server speaks first, if it does.
GREETING = 0.3

# remote_protocol.x of libvirt.
PROGRAM = 0x20008086
CONNECT_OPEN = 1
AUTH_LIST = 66
AUTH_POLKIT = 70
LIST_ALL_DOMAINS = 273
POLKIT = 2


@contextlib.contextmanager
def connected(path: str) -> Iterator[socket.socket]:
    """Connect to a socket, whichever type it has."""
    address = '\0' + path[1:] if path.startswith('@') else path
    for kind in (
        socket.SOCK_STREAM,
        socket.SOCK_DGRAM,
        socket.SOCK_SEQPACKET,
    ):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            connection.settimeout(ANSWER)
            try:
                connection.connect(address)
            except OSError as error:
                if error.errno == errno.EPROTOTYPE:
                    continue
                raise
            yield connection
            return
    raise OSError(errno.EPROTOTYPE, os.strerror(errno.EPROTOTYPE), path)


def receive(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    data = b''
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionResetError(
                errno.ECONNRESET, os.strerror(errno.ECONNRESET)
            )
        data += more
    return data


def call_libvirt(
    connection: socket.socket, procedure: int, arguments: bytes = b''
) -> bytes | None:
    """Call a procedure of libvirt's protocol; None means refused."""
    connection.sendall(
        struct.pack(
            '>7I', 28 + len(arguments), PROGRAM, 1, procedure, 0, procedure, 0
        )
        + arguments
    )
    [size] = struct.unpack('>I', receive(connection, 4))
    answer = receive(connection, size - 4)
    [status] = struct.unpack_from('>I', answer, 20)
    return answer[24:] if status == 0 else None


def libvirt_tells(connection: socket.socket) -> bool:
    """Ask libvirt for its domains, as any client does."""
    ways = call_libvirt(connection, AUTH_LIST)
    if (
        ways
        and POLKIT in struct.unpack(f'>{len(ways) // 4}I', ways)[1:]
        and call_libvirt(connection, AUTH_POLKIT) is None
    ):
        return False
    uri = b'qemu:///system'
    name = struct.pack('>2I', 1, len(uri)) + uri + b'\0' * (-len(uri) % 4)
    if call_libvirt(connection, CONNECT_OPEN, name + b'\0' * 4) is None:
        return False
    wanted = struct.pack('>2I', 1, 0)
    return call_libvirt(connection, LIST_ALL_DOMAINS, wanted) is not None


def bus_tells(connection: socket.socket) -> bool:
    """Log in to a message bus."""
    user = str(os.getuid()).encode().hex().encode()
    connection.sendall(b'\0AUTH EXTERNAL ' + user + b'\r\n')
    return receive(connection, 2) == b'OK'


def greets(connection: socket.socket) -> bool:
    """Wait for a server that speaks first, as a monitor of QEMU does."""
    connection.settimeout(GREETING)
    try:
        return bool(connection.recv(1))
    except TimeoutError:
        return False


def ask(path: str) -> None:
    """Connect to a socket and ask something of who listens there."""
    with connected(path) as connection:
        if '/libvirt-' in path:
            tells = libvirt_tells(connection)
        elif 'bus_socket' in path:
            tells = bus_tells(connection)
        else:
            tells = greets(connection)
    if not tells:
        raise OSError(errno.ENOMSG, os.strerror(errno.ENOMSG), path)


def connect(path: str) -> None:
    """Connect to a socket, and leave it."""
    with connected(path):
        pass
