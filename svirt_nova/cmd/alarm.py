# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova-alarm``: tells at once of denials between two guests."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import prometheus_client
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.alarm import assembly
from svirt_nova.cmd import config
from svirt_nova.cmd import supervision
from svirt_nova.metrics import exposition

LOG = logs.get_logger(__name__)

_PROGRAM = 'svirt-nova-alarm'
_LONGEST_END = 1.8
"""Seconds in which the program ends, whatever a library waits for."""


def _end_on_signals(ended: threading.Event) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()
        supervision.stopping('tells what was counted, and ends')
        # What is told by then is in the log, and the state is saved first.
        last = threading.Timer(_LONGEST_END, os._exit, (0,))
        last.daemon = True
        last.start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    # auditd sends it to its plugins when it reads its configuration again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the alarm until it is ended.

    :returns: the exit status: 1 when it cannot be started
    """
    supervision.take()
    ended = threading.Event()
    registry = prometheus_client.CollectorRegistry()
    try:
        arguments = sys.argv[1:] if argv is None else argv
        conf = config.of_service(arguments, _PROGRAM, logging.register_options)
        logging.setup(conf, _PROGRAM)
        watch = assembly.assemble(conf, registry)
    except exception.SvirtError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    _end_on_signals(ended)
    exposition.expose(conf, registry, _PROGRAM)
    LOG.info('The alarm watches, process %d', os.getpid())
    supervision.ready('watches for denials between guests')
    watch.run(ended)
    return 0


if __name__ == '__main__':
    sys.exit(main())
