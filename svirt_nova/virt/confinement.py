# SPDX-License-Identifier: Apache-2.0
"""How this host confines guests: the contexts that its policy gives them."""

from __future__ import annotations

import dataclasses

import selinux

from svirt_nova import context as contexts
from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import privsep
from svirt_nova import seclabel
from svirt_nova import space as spaces


@dataclasses.dataclass(frozen=True, slots=True)
class Confinement:
    """The base contexts of guests on a host.

    :param process: the context of QEMU, to be taken at a level
    :param image: the context of disks, to be taken at a level
    """

    process: contexts.Context
    image: contexts.Context

    def confine(self, domain: str, level: levels.Level) -> str:
        """The XML of a domain with a level written into it."""
        return seclabel.confine(
            domain, self.process.at(level), self.image.at(level)
        )


def of_host(capabilities: str, virt_type: str) -> Confinement:
    """How the host that this process runs on confines guests.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param virt_type: the type of the domains: kvm or qemu
    :raises UnconfinedHost: it does not
    """
    process = seclabel.base_context(capabilities, virt_type)
    if selinux.is_selinux_enabled() != 1 or selinux.security_getenforce() != 1:
        raise exception.UnconfinedHost(
            'the kernel of this host does not enforce SELinux, so guests '
            'would not be kept apart. Run "setenforce 1" and set '
            'SELINUX=enforcing in /etc/selinux/config; or set [svirt] mode '
            'to permissive or disabled in nova.conf'
        )
    return Confinement(process=process, image=privsep.image_context())


def may_clash(space: spaces.LevelSpace, level: levels.Level) -> bool:
    """Whether a level could contain one of a space, or be contained."""
    common = level.categories & space.categories
    return len(common) >= min(space.per_level, len(level.categories))
