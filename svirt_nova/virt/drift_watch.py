# SPDX-License-Identifier: Apache-2.0
"""Watches whether the levels of the guests of this host still agree.

How a guest runs is judged by :mod:`svirt_nova.virt.running_guests`, which may
stop it. What is found here is only told: a guest that runs at its own level
is not the one that can do harm if a file of it carries another level.
"""

from __future__ import annotations

import functools
from typing import Any

import nova.conf
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import types
from svirt_nova.host import file_labels
from svirt_nova.host import guest_labels
from svirt_nova.lifecycle import drift
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import held_levels
from svirt_nova.virt import reconcile

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


def expectation(
    host_name: str,
    confined: confinement.Confinement,
    xml: str,
    held: types.Allocation | None,
    remembered: types.InstanceLevels | None = None,
) -> drift.Expectation:
    """What a guest of this host should have.

    :param host_name: the name of this host, as Nova has it
    :param confined: how this host confines guests
    :param xml: that of the domain
    :param held: what the store has of its instance
    :param remembered: what Nova remembers of it
    """
    return drift.Expectation(
        host=host_name,
        process=confined.process_of(xml),
        image=confined.image,
        content=confined.content,
        held=held,
        remembered=remembered,
        refuses_unlabeled=(
            faults.is_enforcing() and CONF.svirt.unlabeled_storage == 'refuse'
        ),
    )


class DriftWatch:
    """Compares the levels of this host's guests: XML, files, claims, store.

    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param confined: how the host confines guests
    :param held: what the store has of its guests
    """

    def __init__(
        self,
        host_name: str,
        host: Any,
        confined: confinement.Confinement,
        held: held_levels.HeldLevels,
    ) -> None:
        self._host_name = host_name
        self._host = host
        self._confined = confined
        self._held = held

    def check(self) -> None:
        """Tell of each instance whose levels do not agree.

        :raises AllocatorError: the allocator does not answer
        """
        claimed = self._held.claimed()
        counts = compute_metrics.DriftCounts()
        for guest in self._host.list_guests(only_running=False):
            held = claimed.get(guest.uuid) or self._held.find(guest.uuid)
            if held is not None and self._findings(guest, held):
                # Whatever works on the instance may have changed it since
                # the claims were listed.
                reconcile.unless_busy(
                    functools.partial(self._tell, guest, counts), guest.uuid
                )
        counts.show()

    def _tell(
        self, guest: Any, counts: compute_metrics.DriftCounts, uuid: str
    ) -> None:
        """Look at a guest once more, and tell what is wrong with it.

        :param counts: counts it
        :raises AllocatorError: the allocator does not answer
        """
        held = self._held.find(uuid)
        if held is None:
            return
        found = self._findings(guest, held)
        if found:
            counts.drifts(found)
            LOG.error(
                'The levels of instance %s on host %s do not agree. '
                'Expected: %s. Found: %s',
                uuid,
                self._host_name,
                held.level,
                '; '.join(map(str, found)),
            )

    def _findings(
        self, guest: Any, held: types.Allocation
    ) -> list[drift.Finding]:
        """What is wrong with a guest, apart from how it runs."""
        try:
            domain = _domain_of(guest)
            labels = guest_labels.read(domain, file_labels.read)
        except libvirt_host.libvirt.libvirtError:
            # Ignore guests that stopped while we were asking for them.
            return []
        except exception.SvirtError:
            # running_guests tells of labels that make no sense.
            return []
        expected = expectation(
            self._host_name, self._confined, domain.xml, held
        )
        return [
            each
            for each in drift.find(labels, expected)
            if each.is_wrong and each.place is not drift.Place.PROCESS
        ]


def _domain_of(guest: Any) -> guest_labels.Domain:
    """What libvirt says of a guest.

    :param guest: Nova's ``Guest``
    :raises libvirtError: it is gone
    """
    return guest_labels.Domain(
        guest.uuid,
        guest.name,
        guest.get_xml_desc(),
        guest.get_xml_desc(dump_inactive=True),
        guest._domain.securityLabel()[0] if guest.is_active() else None,
    )
