# SPDX-License-Identifier: Apache-2.0
"""A Python process that imports Nova once, and forks for each start.

Runs inside a host, with the standard library alone:

    preforked.py SOCKET MODULE[:FUNCTION]...

An emulated processor takes a minute to import the modules of nova-compute.
This server imports them, calls the functions, and waits.
``preforked_client.py`` asks it for a fork, which takes the client's place and
runs a script as a new interpreter would. The fork has the client's files 0 to
2, arguments, environment, directory, umask, control group and SELinux context;
its user and its limits are those of the server.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import marshal
import os
import runpy
import select
import signal
import socket
import sys
import time
from typing import Any

_CGROUPS = '/sys/fs/cgroup'
_CONTEXT = '/proc/self/attr/current'
#: Bytes of a request; the kernel's limit for one message is larger.
_LARGEST = 1 << 17
#: Seconds between looks at whether process 1 has adopted a fork.
_PAUSE = 0.01

# Modules that are loaded, such as eventlet, may put others in their place, or
# remove them.
_poll = select.poll
_sleep = time.sleep
_waitpid = os.waitpid
_Socket = socket.socket

#: The exit status of a fork; None in the server.
_status: int | None = None


def load(names: list[str]) -> None:
    """Import modules; call the functions that are named with them.

    :raises SystemExit: a module started a thread, which no fork would have
    """
    for name in names:
        module, _, function = name.partition(':')
        loaded = importlib.import_module(module)
        if function:
            getattr(loaded, function)()
    threads = len(os.listdir('/proc/self/task'))
    if threads > 1:
        raise SystemExit(f'imports of {names} left {threads} threads')
    # The garbage collector writes to the objects that it visits, and each fork
    # would get copies of their pages.
    gc.collect()
    gc.freeze()


def listen(path: str) -> socket.socket:
    """Listen on a socket that appears when it can be connected to."""
    listener = _Socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f'{path}.new')
    listener.listen()
    os.rename(f'{path}.new', path)
    return listener


def notify_systemd() -> None:
    """Tell systemd that the service is ready, if that has started it."""
    path = os.environ.pop('NOTIFY_SOCKET', '')
    if path:
        with _Socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(path.replace('@', '\0', 1))
            connection.sendall(b'READY=1')


def serve(listener: socket.socket) -> socket.socket:
    """Accept clients for ever; return their connections in forks."""
    # The kernel removes forks that end: the server does not wait for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        accepted, _ = listener.accept()
        connection = _Socket(fileno=accepted.detach())
        connection.setblocking(True)
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            return connection
        connection.close()


def take_over(connection: socket.socket) -> None:
    """Fork once more and return in that fork, in the place of the client.

    The caller itself exits. If the client waits for the script, the caller
    exits after it has told the client how the fork ended. Otherwise it exits
    at once, so that process 1 adopts the fork: that is systemd, which sees
    how its service ends.
    """
    data, files, _, _ = socket.recv_fds(connection, _LARGEST, 3)
    if len(files) != 3:
        os._exit(0)  # The client has gone.
    request = marshal.loads(data)
    _join_group(request['group'])
    waits = request['pid_file'] is None
    parent = os.getpid()
    child = os.fork()
    if child:
        if waits:
            _answer(connection, _end_of(child, connection))
        os._exit(0)
    if not waits:
        os.setsid()
        while os.getppid() == parent:
            _sleep(_PAUSE)
        _answer(connection, os.getpid())
    connection.close()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    _adopt(request)


def _join_group(text: str) -> None:
    """Move to a control group, as /proc/PID/cgroup names it."""
    with open('/proc/self/cgroup') as file:
        if text == file.read():
            return
    for line in text.splitlines():
        if line.startswith('0::'):
            group = line.removeprefix('0::')
            with open(f'{_CGROUPS}{group}/cgroup.procs', 'w') as file:
                file.write(str(os.getpid()))


def _end_of(child: int, connection: socket.socket) -> int:
    """Wait for a process and give its status; kill it if the client goes."""
    poll = _poll()
    end = os.pidfd_open(child)
    poll.register(end, select.POLLIN)
    poll.register(connection, select.POLLIN)
    if end not in dict(poll.poll()):
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(_waitpid(child, 0)[1])
    # As shells count ends by signals.
    return status if status >= 0 else 128 - status


def _answer(connection: socket.socket, number: int) -> None:
    # The client may have gone.
    with contextlib.suppress(BrokenPipeError):
        connection.send(b'%d' % number)


def _adopt(request: dict[str, Any]) -> None:
    """Take over the context, place and environment of the client."""
    context = request['context']
    if context:
        with open(_CONTEXT, 'r+') as file:
            if file.read() != context:
                file.seek(0)
                file.write(context)
    os.chdir(request['directory'])
    os.umask(request['umask'])
    os.environb.clear()
    os.environb.update(request['environment'])
    time.tzset()
    sys.argv[:] = request['arguments']
    sys.path[:1] = [
        os.path.dirname(os.path.realpath(sys.argv[0])),
        *filter(None, os.environ.get('PYTHONPATH', '').split(':')),
    ]
    # Modules may have been installed since the server looked for some.
    importlib.invalidate_caches()
    if 'eventlet' in sys.modules:
        # All forks would wait at the queue of events that the server has.
        sys.modules['eventlet.hubs'].use_hub()


def execute(script: str) -> None:
    """Run a script, and remember the status with which it ends."""
    global _status
    _status = 0
    try:
        runpy.run_path(script, run_name='__main__')
    except SystemExit as end:
        _status = end.code if isinstance(end.code, int) else bool(end.code)
        raise
    except BaseException:
        _status = 1
        raise


def leave() -> None:
    """End a fork without the interpreter's teardown.

    The teardown writes to all memory that the forks share, and would copy it.
    """
    if _status is None:
        return
    for file in (sys.stdout, sys.stderr):
        file.flush()
    os._exit(_status)


def main(path: str, *names: str) -> None:
    """Serve; in a fork, run the client's script."""
    load(list(names))
    listener = listen(path)
    notify_systemd()
    take_over(serve(listener))
    execute(sys.argv[0])


if __name__ == '__main__':
    # The first to be registered is the last to be called.
    atexit.register(leave)
    main(*sys.argv[1:])
