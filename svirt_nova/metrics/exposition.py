# SPDX-License-Identifier: Apache-2.0
"""Shows the metrics of a program as ``[svirt_metrics]`` says.

Prometheus reads them by HTTP, or node_exporter reads them from a text file.
Neither may keep a program from its work: what cannot be shown is a line in the
log. It runs in threads; in a nova-compute that runs eventlet these are green
threads, which answer while nothing blocks the process.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable
from typing import Any
from wsgiref import simple_server

import prometheus_client
from oslo_config import cfg
from oslo_utils import netutils

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.conf import scraping

LOG = logs.get_logger(__name__)

_REQUEST_TIMEOUT = 10
"""Seconds in which a client must send what it sends, and take its answer."""

_MOST_REQUESTS = 8
"""Requests that are answered at a time; more are refused."""


class _Handler(simple_server.WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT

    def log_message(self, format: str, *args: object) -> None:
        """Keep what clients ask for out of the log."""


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    """Answers each request in a thread that does not keep the process."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[simple_server.WSGIRequestHandler],
    ) -> None:
        self._free = threading.BoundedSemaphore(_MOST_REQUESTS)
        if ':' in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind, without asking the domain name system for our name."""
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Refuse a client while others have taken all threads."""
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread."""
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # There is no thread.
            self._free.release()
            raise

    def process_request_thread(
        self, request: Any, client_address: Any
    ) -> None:
        """Answer, and let the next client come."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log in a line that a client went away, or was too slow."""
        LOG.info('A request for metrics broke off: %s', sys.exc_info()[1])


class Exposition:
    """How the metrics of this process are shown.

    :ivar port: where HTTP is answered; None if it is not
    """

    def __init__(self) -> None:
        self.port: int | None = None
        self._server: _Server | None = None
        self._ended = threading.Event()

    def serve(
        self, registry: prometheus_client.CollectorRegistry, listen: str
    ) -> None:
        """Answer by HTTP.

        :param listen: an address and a port
        :raises InvalidOption: the text is none
        :raises OSError: the port cannot be used
        """
        address, port = _split(listen)
        server = _Server((address, port), _Handler)
        server.set_app(prometheus_client.make_wsgi_app(registry))
        self._server, self.port = server, server.server_port
        _start_thread(server.serve_forever, 'metrics-http')

    def write(
        self,
        registry: prometheus_client.CollectorRegistry,
        path: pathlib.Path,
        interval: float,
    ) -> None:
        """Write a text file again and again.

        :param interval: seconds between two writes
        """

        def run() -> None:
            problem = ''
            while True:
                former, problem = problem, _try_to_write(registry, path)
                if problem and problem != former:
                    LOG.warning(
                        'The metrics are not written to %s, and the next try '
                        'is in %s s ([svirt_metrics] textfile_directory): %s',
                        path,
                        interval,
                        problem,
                    )
                elif former and not problem:
                    LOG.info('The metrics are written to %s again', path)
                if self._ended.wait(interval):
                    return

        _start_thread(run, 'metrics-textfile')

    def close(self) -> None:
        """Show nothing any more."""
        self._ended.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def expose(
    conf: cfg.ConfigOpts,
    registry: prometheus_client.CollectorRegistry,
    program: str | None = None,
) -> Exposition:
    """Show the metrics of a registry as the options say, from now on.

    What cannot be done is logged as an error.

    :param conf: has the options of [svirt_metrics], or gets them
    :param program: the name of the program; None for that of ``conf`` or of
        the process
    :returns: what is shown, which may be nothing
    """
    scraping.register_opts(conf)
    name = program or conf.prog or pathlib.Path(sys.argv[0]).name
    found = Exposition()
    options = conf.svirt_metrics
    try:
        interval = options.interval
    except cfg.Error as error:
        LOG.error('No metrics of %s are shown: %s', name, error)
        return found
    listen = _listen_of(options.listen, name)
    if listen is not None:
        try:
            found.serve(registry, listen)
        except (exception.SvirtError, OSError) as error:
            LOG.error(
                'No metrics of %s are shown by HTTP at %s: %s. Give each '
                'program of a host a free port in [svirt_metrics] listen, and '
                'start it again',
                name,
                listen,
                error,
            )
        else:
            LOG.info('Metrics of %s are shown at %s', name, listen)
    if options.textfile_directory:
        path = pathlib.Path(options.textfile_directory, _file_name(name))
        found.write(registry, path, interval)
    return found


def _listen_of(entries: list[str], program: str) -> str | None:
    """Where a program listens; None for nowhere.

    :param entries: addresses, which may have the name of a program each
    """
    found = None
    for entry in entries:
        name, is_named, address = entry.rpartition('=')
        if not is_named:
            found = found or address
        elif name.strip() == program:
            return address.strip()
    return found


def _split(listen: str) -> tuple[str, int]:
    """Read an address and a port.

    :raises InvalidOption: the text is none
    """
    address: str | None = None
    port: int | None = None
    # A text that is none may be a ValueError, or be read as something else.
    with contextlib.suppress(ValueError):
        address, port = netutils.parse_host_port(listen)
    if not address or port is None or not netutils.is_valid_port(port):
        raise exception.InvalidOption(
            f'"{listen}" is not an address and a port, such as '
            f'127.0.0.1:9177 or [::1]:9177'
        )
    return address, port


def _file_name(program: str) -> str:
    """The name of a program's text file."""
    return re.sub(r'[^\w.-]', '_', program, flags=re.ASCII) + '.prom'


def _try_to_write(
    registry: prometheus_client.CollectorRegistry, path: pathlib.Path
) -> str:
    """Write a text file at once; what went wrong, if anything did."""
    try:
        # It is renamed into its place when it is complete.
        prometheus_client.write_to_textfile(str(path), registry)
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ''


def _start_thread(work: Callable[[], None], name: str) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()
