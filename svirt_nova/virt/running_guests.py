# SPDX-License-Identifier: Apache-2.0
"""Judges the guests that run on this host, whichever way they came.

A hook that Nova did not call, or a guest that was started or let in by
something else, is noticed here: a guest of an instance must run at the level
of the instance, given to it and not drawn by libvirt.
"""

from __future__ import annotations

from typing import Any

import nova.conf
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import guest_labels
from svirt_nova.lifecycle import drift
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import confinement
from svirt_nova.virt import drift_watch
from svirt_nova.virt import faults
from svirt_nova.virt import held_levels
from svirt_nova.virt import reconcile

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


class RunningGuests:
    """The guests of instances that run on this host.

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
        """Tell of each guest that runs otherwise than it should.

        In enforcing mode, [svirt] on_violation says what is done to it.

        :raises AllocatorError: the allocator does not answer
        """
        claimed = self._held.claimed()
        counts = compute_metrics.GuestCounts()
        for guest in self._host.list_guests(only_running=True):
            held = claimed.get(guest.uuid)
            try:
                problems = self._problems(guest, held)
            except libvirt_host.libvirt.libvirtError:
                # Ignore guests that stopped while we were asking for them.
                continue
            if problems and held is None:
                held = self._held.find(guest.uuid)
                if held is not None:
                    problems = self._problems(guest, held)
            if problems:
                counts.violates(problems)
                self._tell(guest, held, [each.text for each in problems])
            elif held is not None:
                counts.confined += 1
        counts.show()

    def _problems(
        self, guest: Any, held: types.Allocation | None
    ) -> list[drift.Finding]:
        """What is wrong with how a guest runs.

        :param held: what the store has of its instance
        :returns: nothing for a guest that Nova did not make
        :raises libvirtError: the guest has stopped
        """
        xml = guest.get_xml_desc()
        if held is None and domain_xml.owner(xml) is None:
            return []
        text, _ = guest._domain.securityLabel()
        try:
            labels = guest_labels.read(
                guest_labels.Domain(guest.uuid, guest.name, xml, process=text)
            )
            expected = drift_watch.expectation(
                self._host_name, self._confined, xml, held
            )
        except exception.SvirtError as error:
            text = f'its label makes no sense: {error}'
            return [drift.Finding(drift.Place.PROCESS, text, '')]
        return drift.of_process(labels, expected)

    def _tell(
        self,
        guest: Any,
        held: types.Allocation | None,
        problems: list[str],
    ) -> None:
        if held is None:
            # It may be from before svirt-nova, and has never been refused
            # anything.
            LOG.warning(
                'Instance %s holds no level: %s. Hard-reboot it, or run '
                '"svirt-nova adopt"',
                guest.uuid,
                '; '.join(problems),
            )
            return
        action = CONF.svirt.on_violation if faults.is_enforcing() else 'log'
        LOG.error(
            'Instance %s is NOT isolated by the level that it holds, %s: %s. '
            'Hard-reboot it to start it at that level',
            guest.uuid,
            held.level,
            '; '.join(problems),
        )
        if action != 'log':
            reconcile.unless_busy(
                lambda uuid: self._act(guest, held, action), guest.uuid
            )

    def _act(self, guest: Any, held: types.Allocation, action: str) -> None:
        """Pause or stop a guest, unless it is right by now.

        :param action: ``pause`` or ``stop``
        """
        try:
            if not self._problems(guest, held):
                return
            if action == 'stop':
                guest.poweroff()
            else:
                guest.pause()
        except libvirt_host.libvirt.libvirtError as error:
            LOG.error(
                'The guest of instance %s could not be kept from running '
                '([svirt] on_violation = %s): %s',
                guest.uuid,
                action,
                error,
            )
            return
        LOG.critical(
            'The guest of instance %s does not run on ([svirt] on_violation '
            '= %s)',
            guest.uuid,
            action,
        )
