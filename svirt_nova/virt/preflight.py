# SPDX-License-Identifier: Apache-2.0
"""Asks of a host what nova-compute would ask, without starting it."""

from __future__ import annotations

from collections.abc import Sequence

import nova.conf
from nova.virt.libvirt import driver  # noqa: F401 - registers its options

import svirt_nova.conf
from svirt_nova import exception
from svirt_nova.host import kernel
from svirt_nova.host import policy
from svirt_nova.virt import confinement
from svirt_nova.virt import policy_watch

CONF = nova.conf.CONF
_DRIVER = 'svirt_nova.SvirtLibvirtDriver'
_SYSTEM = 'qemu:///system'


def host_problems(arguments: Sequence[str]) -> list[policy.Problem]:
    """What would keep guests of this host from being kept apart.

    :param arguments: which configuration files to read, as nova-compute is
        given them
    :returns: what is wrong; what must keep guests from running comes first
    """
    svirt_nova.conf.register_opts(CONF)
    CONF([*arguments], project='nova', prog='nova-compute')
    found = []
    if CONF.compute_driver != _DRIVER:
        found.append(
            policy.Problem(
                f'[DEFAULT] compute_driver is {CONF.compute_driver}: only '
                f'with {_DRIVER} does nova-compute use svirt-nova',
                is_fatal=False,
            )
        )
    try:
        kernel.check_enforcing()
    except exception.SvirtError as error:
        found.insert(0, policy.Problem(str(error)))
    try:
        confined = confinement.of_host(_capabilities(), CONF.libvirt.virt_type)
    except exception.SvirtError as error:
        found.insert(0, policy.Problem(str(error)))
    else:
        found[:0] = policy_watch.PolicyWatch(confined).problems()
    return [*dict.fromkeys(found)]


def _capabilities() -> str:
    """The capabilities of libvirt on this host.

    :raises LibvirtUnreachable: libvirt does not answer
    """
    uri = CONF.libvirt.connection_uri or _SYSTEM
    try:
        import libvirt
    except ImportError as error:
        raise exception.LibvirtUnreachable(
            f'the libvirt binding for this Python is missing: {error}'
        ) from error
    # libvirt's own handler writes every error to standard error.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            capabilities: str = connection.getCapabilities()
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        raise exception.LibvirtUnreachable(
            f'libvirt at {uri} does not answer: {error}; check that it runs'
        ) from error
    return capabilities
