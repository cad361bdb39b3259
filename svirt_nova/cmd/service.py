# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-allocator``: the allocator as a service.

cotyledon runs the processes of the service: it starts them again when they
die, and ends them in order at SIGTERM.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections.abc import Sequence

import cotyledon
from cotyledon import types
from oslo_config import cfg
from oslo_log import log as logging

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import authentication
from svirt_nova.allocator.rpc import calls
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from svirt_nova.cmd import beliefs
from svirt_nova.cmd import config
from svirt_nova.cmd import exporter
from svirt_nova.cmd import reapers
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
        values: tallies.Tallies | None = None,
    ) -> None:
        super().__init__(worker_id)
        exporter.count_as(f'{self.name}-{worker_id}', values)
        allocator = _load_allocator(conf)
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
        LOG.info('Calls are answered, process %d', os.getpid())

    def terminate(self) -> None:
        """Answer the calls that have arrived, and end."""
        for each in self._servers:
            each.stop()
        for each in self._servers:
            each.wait()


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
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    logging.register_options(conf)
    try:
        conf(
            list(argv),
            project=config.PROJECT,
            prog=_PROGRAM,
            version=config.version(),
            default_config_files=cfg.find_config_files(
                config.PROJECT, config.PROGRAM
            ),
        )
        config.check(conf)
    except cfg.Error as error:
        raise config.invalid(error) from error
    return conf


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
    try:
        conf = _read_configuration(sys.argv[1:] if argv is None else argv)
        logging.setup(conf, _PROGRAM)
        _check(conf)
    except exception.SvirtError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    options = conf.svirt_nova_allocator
    manager = cotyledon.ServiceManager(
        graceful_shutdown_timeout=_SHUTDOWN_TIMEOUT
    )
    # Made before the processes, which share it.
    values = exporter.make_values(conf)
    arguments = (conf, values)
    manager.add(CallService, workers=options.workers, args=arguments)
    if options.reap_interval:
        manager.add(reapers.ReaperService, args=arguments)
    if beliefs.asks_nova(conf):
        manager.add(reapers.PromptReaperService, args=arguments)
    if values is not None:
        manager.add(exporter.ExporterService, args=arguments)
    LOG.info('The allocator service starts, process %d', os.getpid())
    manager.run()
    return 0


if __name__ == '__main__':
    sys.exit(main())
