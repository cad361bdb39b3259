# SPDX-License-Identifier: Apache-2.0
"""The contexts that the policy of this host has for images of guests."""

from __future__ import annotations

import selinux

from svirt_nova import exception
from svirt_nova.mcs import contexts


def writable() -> contexts.Context:
    """The context of images that a guest may write.

    :raises UnconfinedHost: no policy with that context is installed
    """
    return _line(0)


def readable() -> contexts.Context:
    """The context of files that guests may only read.

    :raises UnconfinedHost: no policy with that context is installed
    """
    return _line(1)


def _line(number: int) -> contexts.Context:
    """A line of the policy's ``virtual_image_context``.

    libvirt reads the same lines (``virSecuritySELinuxQEMUInitialize``).
    """
    path = selinux.selinux_virtual_image_context_path()
    try:
        with open(path, encoding='utf-8') as file:
            lines = [line.strip() for line in file]
        return contexts.Context.parse(lines[number])
    except (OSError, IndexError, exception.InvalidContext) as error:
        raise exception.UnconfinedHost(
            f'the SELinux policy of this host names no context for images '
            f'of guests in {path}: {error}. Install the policy, or set '
            f'SELINUXTYPE in /etc/selinux/config to the one installed. If '
            f'nova-compute runs in a container, mount /etc/selinux of the '
            f'host into it, read-only'
        ) from error
