# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-allocator``: the allocator as a service.

cotyledon runs the processes of the service: it starts them again when they
die, and ends them in order at SIGTERM.
"""

from __future__ import annotations

import functools
import os
import socket
import sys
import uuid
from collections.abc import Sequence

import cotyledon
from cotyledon import types
from oslo_config import cfg
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import ending
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from svirt_nova.cmd import beliefs
from svirt_nova.cmd import config
from svirt_nova.cmd import exporter
from svirt_nova.cmd import liveness
from svirt_nova.cmd import reapers
from svirt_nova.cmd import reloading
from svirt_nova.cmd import reports
from svirt_nova.cmd import start_check
from svirt_nova.cmd import supervision
from svirt_nova.metrics import tallies

LOG = logs.get_logger(__name__)

_PROGRAM = exporter.PROGRAM
_OWN_DRIVER = 'rpc'
_SHUTDOWN_TIMEOUT = 30
"""Seconds that a process has to end in order."""


class CallService(cotyledon.Service):
    """A process that answers calls."""

    name = exporter.CALLS

    def __init__(
        self,
        worker_id: types.WorkerId,
        conf: cfg.ConfigOpts,
        reloader: reloading.Reloader,
        values: tallies.Tallies | None,
        board: liveness.Board,
    ) -> None:
        super().__init__(worker_id)
        self._reloader = reloader.for_worker()
        reports.install(conf, f'{_PROGRAM}-{self.name}')
        exporter.count_as(f'{self.name}-{worker_id}', values)
        allocator = _load_allocator(conf)
        self._pulse = liveness.Pulse(board, worker_id, allocator)
        keys = authentication.keys_of(conf, allocator)
        unique = f'{socket.gethostname()}-{uuid.uuid4().hex}'
        self._servers = []
        for endpoint in (
            beliefs.compute_endpoint(conf, allocator),
            endpoints.OperatorEndpoint(allocator),
        ):
            url = transport.url_of(conf, endpoint.topic)
            bus = transport.connect(conf, url)
            callers = authentication.Authentication(conf, keys, endpoint.topic)
            self._servers.append(
                server.create(conf, bus, unique, endpoint, callers)
            )

    def run(self) -> None:
        """Begin to answer."""
        for each in self._servers:
            each.start()
        self._pulse.answers(True)
        LOG.info('Calls are answered, process %d', os.getpid())

    def reload(self) -> None:
        """Take changed options."""
        self._reloader.reload()

    def terminate(self) -> None:
        """Answer the calls that have arrived, and end."""
        self._pulse.answers(False)
        ending.end(self._servers)


def _load_allocator(conf: cfg.ConfigOpts) -> base.Allocator:
    """Load the allocator that does the work of the service.

    :raises InvalidOption: the option names the service itself, or a driver
        that is not installed
    """
    name = conf.svirt_nova_allocator.driver
    if name == _OWN_DRIVER:
        raise exception.InvalidOption(
            f'[svirt_nova_allocator] driver = {name}: the service cannot ask '
            f'itself; set it to sql'
        )
    return base.load(conf, name)


def _read_configuration(argv: Sequence[str]) -> cfg.ConfigOpts:
    return config.of_service(
        argv, _PROGRAM, logging.register_options, reports.register_opts
    )


def _check(conf: cfg.ConfigOpts) -> None:
    """Find out before the start what would fail in every process.

    :raises InvalidOption: an option cannot be used
    """
    allocator = _load_allocator(conf)
    keys = authentication.keys_of(conf, allocator)
    for topic in calls.Topic:
        transport.connect(conf, transport.url_of(conf, topic)).cleanup()
        authentication.Authentication(conf, keys, topic)
    beliefs.check(conf, allocator)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service until it is ended.

    :returns: the exit status: 1 when the service cannot be started
    """
    supervision.take()
    arguments = sys.argv[1:] if argv is None else argv
    try:
        conf = _read_configuration(arguments)
        logging.setup(conf, _PROGRAM)
        _check(conf)
        supervision.status('The store and the message bus are looked at')
        start_check.check(conf, conf.svirt_nova_allocator.driver)
    except exception.SvirtError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    _run(
        conf,
        reloading.Reloader(
            conf, functools.partial(_read_configuration, arguments)
        ),
    )
    return 0


def _run(conf: cfg.ConfigOpts, reloader: reloading.Reloader) -> None:
    """Run the processes of the service until it is ended."""
    options = conf.svirt_nova_allocator
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=_SHUTDOWN_TIMEOUT
    )
    board = liveness.Board(options.workers)
    # Made before the processes, which share it.
    values = exporter.make_values(conf)
    shared = (conf, reloader, values)
    answering = manager.add(
        CallService, workers=options.workers, args=(*shared, board)
    )
    if options.reap_interval:
        manager.add(reapers.ReaperService, args=shared)
    if beliefs.asks_nova(conf):
        manager.add(reapers.PromptReaperService, args=shared)
    if values is not None:
        manager.add(exporter.ExporterService, args=shared)
    watch = liveness.Watch(board)

    def note_death(
        service: types.ServiceId, worker: types.WorkerId, _code: int
    ) -> None:
        if service == answering:
            board.note_death(worker)

    manager.register_hooks(
        on_reload=reloader.reload,
        on_terminate=watch.end,
        on_dead_worker=note_death,
    )
    reports.install(conf, _PROGRAM)
    LOG.info('The allocator service starts, process %d', os.getpid())
    watch.start()
    manager.run()


if __name__ == '__main__':
    sys.exit(main())
