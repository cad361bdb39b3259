# SPDX-License-Identifier: Apache-2.0
"""What the service believes computes, and what it asks Nova instead."""

from __future__ import annotations

from collections.abc import Callable

from oslo_config import cfg

from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator.rpc import admission
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.rpc import quotas

LOG = logs.get_logger(__name__)


def asks_nova(conf: cfg.ConfigOpts) -> bool:
    """Whether the service has credentials for Nova's API."""
    # keystoneauth takes long to import.
    from svirt_nova.conf import compute_api

    return compute_api.is_configured(conf)


def check(conf: cfg.ConfigOpts, allocator: base.Allocator) -> None:
    """Find out before the start whom the service believes, and say so.

    :raises InvalidOption: the credentials for Nova are not complete
    """
    _host_check(conf, allocator)
    _tell_callers(conf.svirt_nova_allocator.callers)
    if asks_nova(conf):
        _servers(conf)
        return
    believed = 'of which project an instance is'
    if conf.svirt_nova_allocator.computes_retire:
        believed += ', and that an instance is gone, which frees its level'
        freed = ''
    else:
        freed = (
            'Levels of deleted instances come free only by "svirt-nova reap". '
        )
    LOG.warning(
        'There are no credentials in [svirt_nova_api], so that compute nodes '
        'are believed %s. %sGive the service the credentials of an '
        'administrator of Nova, so that it asks Nova instead; see "What the '
        'service believes" in the guide',
        believed,
        freed,
    )


def _tell_callers(callers: str) -> None:
    """Say whose calls are taken.

    The message bus deals calls to all machines of the service: that of one
    machine without the option is what holds.
    """
    if callers == 'signed':
        LOG.info('All calls of compute nodes must be signed')
        return
    LOG.warning(
        'Calls of compute nodes are taken without a signature '
        '([svirt_nova_allocator] callers = %s): whoever reaches the message '
        'bus speaks for %s. All machines of the service need the same value; '
        'see "Keys of callers" in the guide',
        callers,
        'every host'
        if callers == 'any'
        else 'hosts that are not bound to a key yet',
    )


def compute_endpoint(
    conf: cfg.ConfigOpts, allocator: base.Allocator
) -> endpoints.ComputeEndpoint:
    """What answers the calls of computes.

    :raises InvalidOption: the credentials for Nova are not complete
    """
    servers = _servers(conf) if asks_nova(conf) else None
    return endpoints.ComputeEndpoint(
        allocator,
        retires=servers is None and conf.svirt_nova_allocator.computes_retire,
        limits=quotas.load(conf, allocator),
        check_host=_host_check(conf, allocator),
        admits=admission.Admission(
            allocator, servers, admission.time_for_questions(conf)
        ),
    )


def _servers(conf: cfg.ConfigOpts) -> admission.Servers:
    from svirt_nova.lifecycle import compute_api

    return compute_api.load(conf, admission.time_for_questions(conf))


def _host_check(
    conf: cfg.ConfigOpts, allocator: base.Allocator
) -> Callable[[str], None] | None:
    """What refuses hosts that Nova does not list; None if nothing does.

    :raises InvalidOption: there are no credentials to ask Nova with
    """
    if not conf.svirt_nova_allocator.known_hosts_only:
        return None
    # keystoneauth takes long to import.
    from svirt_nova.lifecycle import compute_api
    from svirt_nova.lifecycle import known_hosts

    # Calls wait for this, with a deadline that does not begin before. There
    # are up to four requests: for a token, or none, and for two lists.
    services = compute_api.load(conf, admission.time_for_questions(conf) / 4)
    return known_hosts.KnownHosts(services, allocator).check
