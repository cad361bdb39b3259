# SPDX-License-Identifier: Apache-2.0
"""What is checked, and told, when nova-compute starts."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import nova.conf
import oslo_messaging
from nova import exception as nova_exception
from nova import utils as nova_utils
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.lifecycle import adoption
from svirt_nova.mcs import spaces
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import confinement
from svirt_nova.virt import confining
from svirt_nova.virt import extension
from svirt_nova.virt import faults
from svirt_nova.virt import hooks
from svirt_nova.virt import remains
from svirt_nova.virt import storage_checks
from svirt_nova.virt import store_scope

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


def start(host_name: str, host: Any) -> extension.Extension:
    """Start the extension as far as the mode and this host allow.

    :param host_name: the name of this host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :raises nova.exception.InternalError: this host, or this release of Nova,
        cannot keep guests apart and [svirt] mode is enforcing, or there is
        no such allocator
    """
    try:
        return _start(host_name, host)
    except nova_exception.InternalError:
        _let_the_process_end(host)
        raise


def _let_the_process_end(host: Any) -> None:
    """End a thread of Nova's that would keep nova-compute from ending.

    With native threads, Python waits at its end for the threads of futurist's
    executors, and one of them waits for ever for news of the connection to
    libvirt (``Host._conn_event_thread``). The process would stay, and its
    supervisor would take it for a running service.

    :param host: a ``nova.virt.libvirt.host.Host``
    """
    news = getattr(host, '_conn_event_handler_queue', None)
    if news is not None and nova_utils.concurrency_mode_threading():
        # That thread calls what it gets, and catches all but SystemExit.
        news.put(sys.exit)


def _start(host_name: str, host: Any) -> extension.Extension:
    compute_metrics.start(CONF)
    _check_hooks()
    if CONF.svirt.mode == 'disabled':
        LOG.warning(
            '[svirt] mode is disabled: guests started on this host get '
            'no level of their own'
        )
        return extension.Extension()
    try:
        allocator = base.load(CONF)
    except exception.SvirtError as error:
        raise _cannot_start(error) from error
    _check_scope(host_name)
    started = _extension_of(allocator, host_name, host)
    _warn_of_cached_names()
    try:
        if CONF.svirt.adopt_running_guests:
            _adopt_running_guests(allocator, host_name, host)
        space = allocator.space()
        started.learn(space)
        _warn_of_foreign_levels(host, space)
    except exception.StoreUnreachable as error:
        LOG.warning(
            'The allocator cannot be reached: new instances are '
            'refused until it is back. %s',
            error,
        )
    except exception.SvirtError as error:
        _refuse_or_warn(error)
    return started


def _check_hooks() -> None:
    """Check that Nova calls the driver as it expects.

    :raises nova.exception.InternalError: it does not, and [svirt] mode is
        enforcing
    """
    untested = hooks.untested()
    if untested is not None:
        LOG.warning('%s', untested)
    found = hooks.problems()
    if found:
        _refuse_or_warn(exception.UnknownNova(hooks.refusal(found)))


def _check_scope(host_name: str) -> None:
    """Check that this host's store is not its own in a cloud of many.

    :raises nova.exception.InternalError: it is, and [svirt] mode is enforcing
    """
    try:
        store_scope.check(CONF, host_name)
    except exception.SvirtError as error:
        _refuse_or_warn(error)
    except (
        nova_exception.NovaException,
        oslo_messaging.MessagingException,
    ) as error:
        LOG.warning(
            'Nova does not say which hosts there are, so that it is not '
            'known whether the SQLite store of this host is the only one: '
            '%s',
            error,
        )


def _extension_of(
    allocator: base.Allocator, host_name: str, host: Any
) -> extension.Claiming:
    try:
        confined = confinement.of_host(
            host.get_connection().getCapabilities(), CONF.libvirt.virt_type
        )
    except exception.SvirtError as error:
        _refuse_or_warn(error)
        return extension.Claiming(allocator, host_name, host)
    started = confining.Confining(allocator, host_name, host, confined)
    try:
        started.policy_watch.check()
    except exception.SvirtError as error:
        raise _cannot_start(error) from error
    return started


def _refuse_or_warn(error: exception.SvirtError) -> None:
    """Refuse to start in enforcing mode, and warn in permissive mode."""
    if faults.is_enforcing():
        raise _cannot_start(error) from error
    LOG.warning('Guests on this host are NOT isolated: %s', error)


def _cannot_start(error: exception.SvirtError) -> Exception:
    LOG.critical('nova-compute cannot start: %s', error)
    refusal: Exception = nova_exception.InternalError(str(error))
    return refusal


def _adopt_running_guests(
    allocator: base.Allocator, host_name: str, host: Any
) -> None:
    """Record the levels of guests that were started without one.

    :raises StoreUnreachable: the allocator does not answer
    """
    xmls = []
    for guest in host.list_guests(only_running=True):
        # Ignore guests that stopped while we were listing them.
        with contextlib.suppress(libvirt_host.libvirt.libvirtError):
            xmls.append(guest.get_xml_desc())
    for outcome in adoption.adopt(allocator, host_name, xmls):
        if outcome.problem:
            LOG.warning(
                'Instance %s keeps running at the level %s, which is '
                'not its own: hard-reboot it to give it one. %s',
                outcome.instance_uuid,
                outcome.level,
                outcome.problem,
            )
        else:
            LOG.info(
                'Instance %s, started before svirt-nova, holds the '
                'level %s that it runs with',
                outcome.instance_uuid,
                outcome.level,
            )


def _warn_of_foreign_levels(host: Any, space: spaces.LevelSpace) -> None:
    """Name the guests whose level libvirt itself drew out of our space.

    libvirt does not keep static levels out of what it draws, nor does the
    allocator know what it drew.
    """
    found = []
    for guest in host.list_guests(only_running=True):
        label = remains.label_of(guest)
        if (
            label is not None
            and not label.is_static
            and label.label is not None
            and (
                label.label.level in space or space.clashes(label.label.level)
            )
        ):
            found.append(f'{guest.name} ({label.label.level})')
    if found:
        LOG.warning(
            'These guests run with levels that libvirt drew by itself from '
            'the level space %s, so an instance may come to share one: %s. '
            'Hard-reboot those that are instances; for others give libvirtd '
            'a category range outside of the space.',
            space,
            ', '.join(sorted(found)),
        )


def _warn_of_cached_names() -> None:
    """Warn if an instance that comes back here may get its old disk."""
    text = storage_checks.cached_names()
    if text is not None:
        LOG.warning('%s', text)
