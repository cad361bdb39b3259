# SPDX-License-Identifier: Apache-2.0
"""Live migration: the guest arrives behind the level that it runs with."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import domain_xml
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import instance_disks
from svirt_nova.virt import remains


class ConfinedGuest:
    """A guest that gives its level to the domain it is migrated to.

    Nova copies the running guest's XML for the destination, but makes the
    source of every volume anew
    (``nova.virt.libvirt.migration._update_volume_xml``), which drops what
    svirt-nova has written into it and keeps the files below as the source has
    them. And the label of an adopted guest is still libvirt's own, which the
    destination would draw anew.

    :param guest: the ``nova.virt.libvirt.guest.Guest``
    """

    def __init__(
        self,
        guest: Any,
        confined: confinement.Confinement,
        departing: Departing,
    ) -> None:
        self._guest = guest
        self._confined = confined
        self._departing = departing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def migrate(self, *args: Any, destination_xml: str, **kwargs: Any) -> None:
        """Migrate as ``Guest.migrate``, with the level in the XML."""
        self._guest.migrate(
            *args,
            destination_xml=self._confined.confine(
                destination_xml,
                self._departing.held,
                self._departing.chains_at(destination_xml),
            ),
            **kwargs,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Departing:
    """An instance that is migrating away from this host.

    :param held: its levels
    :param chains: what its disks are made of, by the name of the device
    """

    held: types.InstanceLevels
    chains: Mapping[str, disk_chains.Chain | None]

    def chains_at(self, domain: str) -> disk_chains.Chains:
        """What the disks are made of on another host.

        The directories of volumes may differ, but not what is in them.

        :param domain: the XML for that host
        """
        return {
            disk.path: _moved(self.chains.get(disk.target), disk.path)
            for disk in domain_xml.disks(domain)
            if disk.is_file and disk.target in self.chains
        }


def _moved(
    chain: disk_chains.Chain | None, path: str
) -> disk_chains.Chain | None:
    """A chain with its file on top, and those beside it, in another place."""
    if chain is None or chain[0].path == path:
        return chain
    here, there = os.path.dirname(chain[0].path), os.path.dirname(path)
    top = dataclasses.replace(chain[0], path=path, root=there)
    return (
        top,
        *(
            dataclasses.replace(
                link,
                path=os.path.join(there, os.path.basename(link.path)),
                root=there,
            )
            if os.path.dirname(link.path) == here
            else link
            for link in chain[1:]
        ),
    )


class Departures:
    """The instances that are migrating away from this host.

    :param allocator: knows who has claimed which level
    :param confined: how this host confines guests
    :param host_claims: the claims of this host
    """

    def __init__(
        self,
        allocator: base.Allocator,
        confined: confinement.Confinement,
        host_claims: claims.HostClaims,
    ) -> None:
        self._allocator = allocator
        self._confined = confined
        self._claims = host_claims
        # Nova migrates in a thread of its own
        # (LibvirtDriver._live_migration), so that they are kept here.
        self._departing: dict[str, Departing] = {}

    @contextlib.contextmanager
    def checked(
        self, instance: Any, guest: Any, destination: str
    ) -> Iterator[None]:
        """Check that a guest may migrate, and keep its levels meanwhile.

        :param guest: the ``nova.virt.libvirt.guest.Guest``
        :param destination: the host that it goes to
        :raises SvirtError: it must not be migrated
        :raises nova.exception.NovaException: a header of its disks is not
            what it should be
        """
        found = self._allocator.get(instance.uuid)
        check(found, remains.label_of(guest), destination)
        disks = instance_disks.InstanceDisks(
            instance, found.levels, self._claims
        )
        xml = guest.get_xml_desc()
        chains = disks.chains_of(xml)
        self._departing[instance.uuid] = Departing(
            found.levels,
            {
                disk.target: chains[disk.path]
                for disk in domain_xml.disks(xml)
                if disk.is_file
            },
        )
        try:
            yield
        finally:
            self._departing.pop(instance.uuid, None)

    def confine(self, instance_uuid: str, guest: Any) -> Any:
        """The guest that takes its level along.

        :returns: the guest as it is, if the mode permissive let it go
            although a check failed
        """
        departing = self._departing.get(instance_uuid)
        if departing is None:
            return guest
        return ConfinedGuest(guest, self._confined, departing)


def check(
    allocation: types.Allocation,
    running: domain_xml.Seclabel | None,
    destination: str,
) -> None:
    """Check that a running guest may be migrated.

    The destination labels the files with the guest's level while the source
    still uses them: only the level that the source runs with leaves it its
    access.

    :param allocation: the level of the instance
    :param running: the label that it runs with here
    :param destination: the host that it goes to
    :raises LabelError: it must not be migrated
    """
    if destination not in allocation.hosts:
        raise exception.LabelError(
            f'host {destination} has not claimed the level of the '
            f'instance. Enable svirt-nova there, with the allocator that '
            f'this host uses'
        )
    if (
        running is None
        or running.label is None
        or running.label.level != allocation.level
    ):
        label = None if running is None else running.label
        raise exception.LabelError(
            f'the guest runs as {label or "unconfined"} and not at its level '
            f'{allocation.level}. Hard-reboot it before it is migrated'
        )
