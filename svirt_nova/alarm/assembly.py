# SPDX-License-Identifier: Apache-2.0
"""Makes an alarm of a configuration."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

import prometheus_client
from oslo_config import cfg

from svirt_nova import logs
from svirt_nova.alarm import counters
from svirt_nova.alarm import flood_control
from svirt_nova.alarm import holder_names
from svirt_nova.alarm import journal_entries
from svirt_nova.alarm import line_sources
from svirt_nova.alarm import log_files
from svirt_nova.alarm import notifications
from svirt_nova.alarm import resume_state
from svirt_nova.alarm import suspension
from svirt_nova.alarm import watch
from svirt_nova.allocator import base

LOG = logs.get_logger(__name__)

_LONGEST_CALL = 5.0
"""Seconds of a call of the allocator: an alarm does not wait for it, but the
next question does."""

# Nova's own option, in nova.conf.netconf.
_HOST = cfg.StrOpt('host')


def host_of(conf: cfg.ConfigOpts) -> str:
    """Nova's name for this host.

    It must be known before the allocator is loaded: in its name, the
    allocator service is asked for claims.
    """
    conf.register_opt(_HOST)
    if not conf.host:
        conf.set_default('host', socket.gethostname())
    return str(conf.host)


def assemble(
    conf: cfg.ConfigOpts, registry: prometheus_client.CollectorRegistry
) -> watch.Watch:
    """Make the alarm, with what the last run has left.

    :param registry: where its counters are registered
    :raises InvalidOption: an option cannot be used
    """
    options = conf.svirt_alarm
    host = host_of(conf)
    counts = counters.Counters(registry)
    send = notifications.sender(conf, host)
    if send is None:
        LOG.info(
            'No notifications are sent: [oslo_messaging_notifications] '
            'driver is not set'
        )
    notes = notifications.Notifications(send, counts)
    floods = flood_control.FloodControl(options.quiet_time)
    file = resume_state.StateFile(options.state_path)
    state = file.load()
    pending: list[tuple[bytes, int]] = []
    lost: int | None = None
    try:
        floods.load(state.get('floods', ()), watch.now())
        notes.load(state.get('unsent', ()))
        pending = [
            (str(line).encode('latin-1'), int(more))
            for line, more in state.get('pending', ())
        ]
        if state.get('lost') is not None:
            lost = int(state['lost'])
        source = _source(options, state)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        file.reject(f'{type(error).__name__}: {error}')
        source = _source(options, {})
    _shorten_calls(conf)
    names = holder_names.HolderNames(conf, lambda: base.load(conf), host)
    suspensions = None
    if options.on_attack == 'pause':
        suspensions = suspension.Suspensions(
            options.libvirt_uri, counts, suspension.suspend_level
        )
    made = watch.Watch(
        kind=options.source,
        source=source,
        state=file,
        floods=floods,
        names=names,
        notes=notes,
        counts=counts,
        host=host,
        name_timeout=options.name_timeout,
        suspensions=suspensions,
        lost=lost,
    )
    names.start()
    notes.start()
    made.again(pending)
    return made


def _shorten_calls(conf: cfg.ConfigOpts) -> None:
    for group in ('svirt_nova_allocator', 'svirt_database'):
        timeout = min(conf[group].call_timeout, _LONGEST_CALL)
        conf.set_override('call_timeout', timeout, group)
    conf.set_override('call_retries', 0, 'svirt_nova_allocator')


def _source(options: Any, state: Mapping[str, Any]) -> line_sources.LineSource:
    """Where the lines come from, behind those that were read.

    :raises TypeError, ValueError, KeyError: the state makes no sense
    """
    found = dict(state.get('source', {}))
    if state and state.get('kind') != options.source:
        LOG.warning(
            '[svirt_alarm] source was %s, and is %s: lines of the time '
            'between may be lost',
            state.get('kind'),
            options.source,
        )
        found = {}
    if options.source == 'journal':
        return journal_entries.Entries(found)
    if options.source == 'stdin':
        return line_sources.Stream(sys.stdin.fileno())
    return log_files.LogFiles(options.audit_log, found)
