# SPDX-License-Identifier: Apache-2.0
"""Live migration: the guest arrives behind the level that it runs with."""

from __future__ import annotations

from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.virt import confinement


class ConfinedGuest:
    """A guest that gives its level to the domain it is migrated to.

    Nova copies the running guest's XML for the destination, but makes the
    source of every volume anew
    (``nova.virt.libvirt.migration._update_volume_xml``), which drops the
    labels of single disks; and the label of an adopted guest is still
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
        """As ``Guest.migrate``, with the level in the destination's XML."""
        self._guest.migrate(
            *args,
            destination_xml=self._confined.confine(
                destination_xml, self._held
            ),
            **kwargs,
        )


def check(
    allocation: types.Allocation,
    running: domain_xml.Seclabel | None,
    destination: str,
) -> None:
    """Check that a running guest may be migrated.

    The destination labels the files with the guest's level while the
    source still uses them: only the level that the source runs with
    leaves it its access.

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
