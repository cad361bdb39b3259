# SPDX-License-Identifier: Apache-2.0
"""A way to a server that can come to a standstill, without an end."""

import contextlib
import socket
import threading

import fixtures


class Proxy(fixtures.Fixture):
    """Hands on what comes over TCP, until it is frozen.

    :param target: the server, as ``host:port`` with or without a path
    :ivar address: its own, as ``host:port``
    """

    def __init__(self, target):
        super().__init__()
        host, _, port = target.partition('/')[0].rpartition(':')
        self._target = (host, int(port))
        self._flows = threading.Event()
        self._flows.set()
        self._opened = []

    def _setUp(self):
        listener = socket.create_server(('127.0.0.1', 0))
        self._keep(listener)
        self.address = '{}:{}'.format(*listener.getsockname())
        self._in_thread(self._accept, listener)

    def freeze(self):
        """Hand on nothing any more; connections stay open."""
        self._flows.clear()

    def _keep(self, opened):
        self._opened.append(opened)
        self.addCleanup(opened.close)

    @staticmethod
    def _in_thread(target, *args):
        threading.Thread(target=target, args=args, daemon=True).start()

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                for each in (near, far):
                    self._opened.append(each)
                self._in_thread(self._hand_on, near, far)
                self._in_thread(self._hand_on, far, near)

    def _hand_on(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
