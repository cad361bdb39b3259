# SPDX-License-Identifier: Apache-2.0
"""How this host confines guests: which contexts its policy gives them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import base_labels
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.host import image_contexts
from svirt_nova.host import kernel
from svirt_nova.mcs import contexts

# The types of domains that Nova makes on a host with KVM: it gives the type
# qemu to instances whose image has hw_emulation_architecture
# (LibvirtDriver._configure_guest_by_virt_type).
EMULATED = 'qemu'
_VIRT_TYPES = ('kvm', EMULATED)


@dataclasses.dataclass(frozen=True, slots=True)
class Confinement:
    """The base contexts of guests on a host.

    :param process: the context of QEMU, to be taken at a level, for domains
        of the type that [libvirt] virt_type names
    :param image: the context of disks, to be taken at a level
    :param content: the context of files that guests only read, likewise
    :param others: the context of QEMU for domains of other types
    """

    process: contexts.Context
    image: contexts.Context
    content: contexts.Context
    others: Mapping[str, contexts.Context] = dataclasses.field(
        default_factory=dict
    )

    def process_of(self, domain: str) -> contexts.Context:
        """The context of QEMU for a domain, to be taken at a level.

        :param domain: its XML
        """
        if not self.others:
            return self.process
        return self.others.get(domain_xml.virt_type(domain), self.process)

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
            self.process_of(domain).at(held.own),
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
    base_labels.context(capabilities, virt_type)
    kernel.check_enforcing()
    return named_by(capabilities, virt_type)


def named_by(capabilities: str, virt_type: str) -> Confinement:
    """The contexts that libvirt and the policy name, enforced or not.

    :param capabilities: the XML of ``virConnectGetCapabilities``
    :param virt_type: the type of the domains: kvm or qemu
    :raises UnconfinedHost: they name none
    """
    process = base_labels.context(capabilities, virt_type)
    others = {}
    for each in _VIRT_TYPES:
        # libvirt names none for a type that it cannot run here.
        with contextlib.suppress(exception.UnconfinedHost):
            others[each] = base_labels.context(capabilities, each)
    others.pop(virt_type, None)
    return Confinement(
        process=process,
        image=image_contexts.writable(),
        content=image_contexts.readable(),
        others=others,
    )
