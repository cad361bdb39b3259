# SPDX-License-Identifier: Apache-2.0
"""How this host confines guests: which contexts its policy gives them."""

from __future__ import annotations

import dataclasses

import selinux

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.host import image_contexts
from svirt_nova.mcs import contexts


@dataclasses.dataclass(frozen=True, slots=True)
class Confinement:
    """The base contexts of guests on a host.

    :param process: the context of QEMU, to be taken at a level
    :param image: the context of disks, to be taken at a level
    :param content: the context of files that guests only read, likewise
    """

    process: contexts.Context
    image: contexts.Context
    content: contexts.Context

    def confine(
        self,
        domain: str,
        held: types.InstanceLevels,
        chains: disk_chains.Chains,
    ) -> str:
        """The XML of a domain with the levels of its instance in it.

        :param chains: what its file-backed disks are made of
        :raises LabelError: a disk is not among them
        """
        return domain_xml.confine(
            domain,
            self.process.at(held.own),
            self.image.at(held.own),
            chains,
            self.shared(held),
        )

    def shared(self, held: types.InstanceLevels) -> contexts.Context | None:
        """The context of what the instances of a project share."""
        return None if held.project is None else self.image.at(held.project)


def of_host(capabilities: str, virt_type: str) -> Confinement:
    """How the host that this process runs on confines guests.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param virt_type: the type of the domains: kvm or qemu
    :raises UnconfinedHost: it does not
    """
    process = domain_xml.base_context(capabilities, virt_type)
    if selinux.is_selinux_enabled() != 1 or selinux.security_getenforce() != 1:
        raise exception.UnconfinedHost(
            'the kernel of this host does not enforce SELinux, so guests '
            'would not be kept apart. Run "setenforce 1" and set '
            'SELINUX=enforcing in /etc/selinux/config; or set [svirt] mode '
            'to permissive or disabled in nova.conf'
        )
    return Confinement(
        process=process,
        image=image_contexts.writable(),
        content=image_contexts.readable(),
    )
