# SPDX-License-Identifier: Apache-2.0
"""Asks libvirt on this host for programs that do not run inside of Nova.

The connection is read-only: nothing that is asked here can change a guest.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import Any

from svirt_nova import exception
from svirt_nova.host import guest_labels

SYSTEM = 'qemu:///system'

SOCKETS = (
    '/run/libvirt/libvirt-sock-ro',
    '/run/libvirt/virtqemud-sock-ro',
)
"""Where libvirt listens for those that may only read: libvirtd, virtqemud."""


@contextlib.contextmanager
def connected(uri: str, *, manages: bool = False) -> Iterator[Any]:
    """A connection to libvirt.

    :param manages: whether it is to change guests, and not only to read
    :raises LibvirtUnreachable: libvirt does not answer, or not any more, or
        its binding is missing
    """
    try:
        import libvirt
    except ImportError as error:
        raise exception.LibvirtUnreachable(
            f'the libvirt binding for this Python is missing: {error}; '
            f'install libvirt-python'
        ) from error
    # libvirt's own handler writes every error to standard error.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = (libvirt.open if manages else libvirt.openReadOnly)(uri)
        try:
            yield connection
        finally:
            connection.close()
    except libvirt.libvirtError as error:
        if manages:
            raise exception.LibvirtUnreachable(
                f'libvirt at {uri} did not do it: {error}; check that it '
                f'runs, and that this user may manage guests'
            ) from error
        raise exception.LibvirtUnreachable(
            f'libvirt at {uri} does not answer: {error}; check that it '
            f'runs, and run this as the user nova or as root. In a '
            f'container, mount /run/libvirt of the host into it'
        ) from error


def domains(connection: Any) -> Iterator[guest_labels.Domain]:
    """All domains, whether they run or not.

    :param connection: see :func:`connected`
    :raises libvirt.libvirtError: libvirt does not answer
    """
    import libvirt

    for each in connection.listAllDomains():
        try:
            yield _read(each)
        except libvirt.libvirtError as error:
            # Ignore guests that stopped while we were listing them.
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise


def _read(domain: Any) -> guest_labels.Domain:
    import libvirt

    is_running = bool(domain.isActive())
    return guest_labels.Domain(
        uuid=domain.UUIDString(),
        name=domain.name(),
        xml=domain.XMLDesc(0),
        definition=(
            domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
            if domain.isPersistent()
            else ''
        ),
        process=domain.securityLabel()[0] if is_running else None,
    )


def open_sockets() -> list[str]:
    """The read-only sockets that every local process may connect to."""
    found = []
    for path in SOCKETS:
        # A host has the one or the other.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_mode & stat.S_IWOTH:
                found.append(path)
    return found
