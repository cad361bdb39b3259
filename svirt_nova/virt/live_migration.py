# SPDX-License-Identifier: Apache-2.0
"""Live migration: the guest arrives behind the level that it runs with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.virt import confinement
from svirt_nova.virt import remains


class ConfinedGuest:
    """A guest that gives its level to the domain it is migrated to.

    Nova copies the running guest's XML for the destination, but makes the
    source of every volume anew
    (``nova.virt.libvirt.migration._update_volume_xml``), which drops the
    labels of single disks. And the label of an adopted guest is still
    libvirt's own, which the destination would draw anew.

    :param guest: the ``nova.virt.libvirt.guest.Guest``
    """

    def __init__(
        self,
        guest: Any,
        confined: confinement.Confinement,
        held: types.InstanceLevels,
    ) -> None:
        self._guest = guest
        self._confined = confined
        self._held = held

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guest, name)

    def migrate(self, *args: Any, destination_xml: str, **kwargs: Any) -> None:
        """Migrate as ``Guest.migrate``, with the level in the XML."""
        self._guest.migrate(
            *args,
            destination_xml=self._confined.confine(
                destination_xml, self._held
            ),
            **kwargs,
        )


class Departures:
    """The instances that are migrating away from this host.

    :param allocator: knows who has claimed which level
    :param confined: how this host confines guests
    """

    def __init__(
        self, allocator: base.Allocator, confined: confinement.Confinement
    ) -> None:
        self._allocator = allocator
        self._confined = confined
        # Nova migrates in a thread of its own
        # (LibvirtDriver._live_migration), so that the levels are kept here.
        self._levels: dict[str, types.InstanceLevels] = {}

    @contextlib.contextmanager
    def checked(
        self, instance_uuid: str, guest: Any, destination: str
    ) -> Iterator[None]:
        """Check that a guest may migrate, and keep its levels meanwhile.

        :param guest: the ``nova.virt.libvirt.guest.Guest``
        :param destination: the host that it goes to
        :raises SvirtError: it must not be migrated
        """
        held = self._allocator.get(instance_uuid)
        check(held, remains.label_of(guest), destination)
        self._levels[instance_uuid] = held.levels
        try:
            yield
        finally:
            self._levels.pop(instance_uuid, None)

    def confine(self, instance_uuid: str, guest: Any) -> Any:
        """The guest that takes its level along.

        :returns: the guest as it is, if the mode permissive let it go
            although a check failed
        """
        held = self._levels.get(instance_uuid)
        if held is None:
            return guest
        return ConfinedGuest(guest, self._confined, held)


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
