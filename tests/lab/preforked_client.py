# SPDX-License-Identifier: Apache-2.0
"""Lets ``preforked.py`` run a Python script instead of this process.

    preforked_client.py SOCKET - SCRIPT WORD...
    preforked_client.py SOCKET PIDFILE SCRIPT WORD...

The first waits, and exits with the script's status; its own end ends the
script. The second is for systemd's Type=forking: it leaves the script's
process in PIDFILE.

Each import costs an emulated processor a tenth of a second, so this program
uses C modules, and those that every interpreter has imported anyway.
"""

import marshal
import posix
import sys
from _socket import AF_UNIX
from _socket import SCM_RIGHTS
from _socket import SOCK_SEQPACKET
from _socket import socket
from _socket import SOL_SOCKET


def content(path: str) -> str:
    """Give the text of a file of the kernel; empty if it has none."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ''


def main(path: str, pid_file: str, *arguments: str) -> int:
    """Ask the server and wait for its answer; return the exit status."""
    umask = posix.umask(0o077)
    posix.umask(umask)
    request = {
        'pid_file': None if pid_file == '-' else pid_file,
        'arguments': arguments,
        'environment': posix.environ,
        'directory': posix.getcwd(),
        'umask': umask,
        'group': content('/proc/self/cgroup'),
        'context': content('/proc/self/attr/current'),
    }
    files = b''.join(number.to_bytes(4, sys.byteorder) for number in range(3))
    connection = socket(AF_UNIX, SOCK_SEQPACKET)
    connection.connect(path)
    connection.sendmsg(
        [marshal.dumps(request)], [(SOL_SOCKET, SCM_RIGHTS, files)]
    )
    answer = connection.recv(100)
    if not answer:
        print(f'{path} gave no answer', file=sys.stderr)
        return 1
    if pid_file == '-':
        return int(answer)
    with open(pid_file, 'wb') as file:
        file.write(answer + b'\n')
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
