# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-allocator``: the allocator as a service."""

from __future__ import annotations

import os
import socket
import sys
import threading
import uuid
from collections.abc import Sequence

import cotyledon
from cotyledon import types
from oslo_config import cfg
from oslo_log import log as logging

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import server
from svirt_nova.allocator.rpc import transport
from svirt_nova.cmd import config

LOG = logging.getLogger(__name__)

_OWN_DRIVER = 'rpc'
_LONGEST_PAUSE = 60.0
"""Seconds before the first look, and between the passes of one."""


class Calls(cotyledon.Service):
    """A process that answers calls."""

    name = 'calls'

    def __init__(
        self, worker_id: types.WorkerId, conf: cfg.ConfigOpts
    ) -> None:
        super().__init__(worker_id)
        options = conf.svirt_nova_allocator
        allocator = load(conf)
        unique = f'{socket.gethostname()}-{uuid.uuid4().hex}'
        self._servers = []
        for endpoint in (
            endpoints.ComputeEndpoint(
                allocator, retires=options.computes_retire
            ),
            endpoints.OperatorEndpoint(allocator),
        ):
            url = transport.url_of(conf, endpoint.topic)
            bus = transport.connect(conf, url)
            self._servers.append(server.create(conf, bus, unique, endpoint))

    def run(self) -> None:
        """Answer, until it is ended."""
        for each in self._servers:
            each.start()
        LOG.info('Calls are answered, process %d', os.getpid())

    def terminate(self) -> None:
        """Answer what has been asked, and end."""
        for each in self._servers:
            each.stop()
        for each in self._servers:
            each.wait()


class Reaper(cotyledon.Service):
    """A process that retires levels of instances that Nova has not."""

    name = 'reaper'

    def __init__(
        self, worker_id: types.WorkerId, conf: cfg.ConfigOpts
    ) -> None:
        super().__init__(worker_id)
        self._conf = conf
        self._allocator = load(conf)
        self._pause = min(
            _LONGEST_PAUSE, conf.svirt_nova_allocator.reap_interval
        )
        self._ended = threading.Event()

    def run(self) -> None:
        """Look, and wait, until it is ended."""
        wait = self._pause
        while not self._ended.wait(wait):
            wait = self._conf.svirt_nova_allocator.reap_interval
            try:
                self._allocator.tidy()
                self._reap()
            except exception.SvirtError as error:
                LOG.warning(
                    'No level was retired; the next look is in %d s. %s',
                    wait,
                    error,
                )

    def _reap(self) -> None:
        # keystoneauth takes long to import.
        from svirt_nova.lifecycle import compute_api
        from svirt_nova.lifecycle import reaper

        reaper.retire(
            self._allocator,
            reaper.find(
                self._allocator,
                compute_api.load(self._conf),
                interval=self._pause,
                sleep=self._sleep,
            ),
        )

    def _sleep(self, seconds: float) -> None:
        if self._ended.wait(seconds):
            raise exception.ComputeApiError('the service ends')

    def terminate(self) -> None:
        """End at the next step."""
        self._ended.set()


def load(conf: cfg.ConfigOpts) -> base.Allocator:
    """The allocator that does the service's work.

    :raises InvalidOption: it would be the service itself, or is none
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
            prog='svirt-nova-allocator',
            default_config_files=cfg.find_config_files(
                config.PROJECT, config.PROGRAM
            ),
        )
        config.check(conf)
    except cfg.Error as error:
        raise config.invalid(error) from error
    return conf


def main(argv: Sequence[str] | None = None) -> int:
    """Run the service until it is ended.

    :returns: the exit status: 1 when it cannot be started
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        conf = _read_configuration(arguments)
        logging.setup(conf, 'svirt-nova-allocator')
        load(conf)
        transport.connect(
            conf, conf.svirt_nova_allocator.transport_url
        ).cleanup()
    except exception.SvirtError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    manager = cotyledon.ServiceManager(graceful_shutdown_timeout=30)
    manager.add(Calls, workers=conf.svirt_nova_allocator.workers, args=(conf,))
    if conf.svirt_nova_allocator.reap_interval:
        manager.add(Reaper, args=(conf,))
    LOG.info('The allocator service starts, process %d', os.getpid())
    manager.run()
    return 0


if __name__ == '__main__':
    sys.exit(main())
