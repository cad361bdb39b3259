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
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import contexts
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import outages
from svirt_nova.virt import reconcile

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

_KINDS = frozenset(
    [
        audit.Kind.UNCONFINED,
        audit.Kind.DRAWN_LEVEL,
        audit.Kind.OTHER_LEVEL,
        audit.Kind.UNKNOWN_LEVEL,
    ]
)
"""What can be wrong with how a guest runs. Claims are the business of
:mod:`svirt_nova.virt.reconcile`."""


class RunningGuests:
    """The guests of instances that run on this host.

    :param allocator: knows the levels
    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param confined: how the host confines guests
    :param outage: remembers when the allocator did not answer
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        host: Any,
        confined: confinement.Confinement,
        outage: outages.OutageMemory,
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._host = host
        self._confined = confined
        self._outage = outage

    def check(self) -> None:
        """Tell of each guest that runs otherwise than it should.

        In enforcing mode, [svirt] on_violation says what is done to it.

        :raises AllocatorError: the allocator does not answer
        """
        claimed = {
            each.instance_uuid: each
            for each in self._outage.ask(
                self._allocator.list, host=self._host_name
            )
        }
        for guest in self._host.list_guests(only_running=True):
            held = claimed.get(guest.uuid)
            try:
                problems = self._problems(guest, held)
            except libvirt_host.libvirt.libvirtError:
                # Ignore guests that stopped while we were asking for them.
                continue
            if problems and held is None:
                held = self._find(guest.uuid)
                if held is not None:
                    problems = self._problems(guest, held)
            if problems:
                self._tell(guest, held, problems)

    def _find(self, uuid: str) -> types.Allocation | None:
        try:
            return self._outage.ask(self._allocator.get, uuid)
        except exception.UnknownInstance:
            return None

    def _problems(
        self, guest: Any, held: types.Allocation | None
    ) -> list[str]:
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
            label = domain_xml.read(xml)
            process = contexts.Context.parse(text)
        except exception.SvirtError as error:
            return [f'its label makes no sense: {error}']
        wanted = self._confined.process_of(xml)
        if label is None:
            return [f'libvirt runs it without a label, as {process}']
        if process.type != wanted.type:
            return [
                f'it runs as {process}, and guests of this host run in the '
                f'domain {wanted.type}'
            ]
        if held is not None and process.level == held.level:
            # An adopted guest has the level that libvirt drew for it.
            return []
        allocations = [] if held is None else [held]
        view = audit.HostView(
            self._host_name,
            guests=(audit.Guest(guest.uuid, True, label.is_static),),
            sights=(audit.Sight(guest.uuid, 'the process', process.level),),
        )
        return [
            each.text
            for each in audit.audit(allocations, [view])
            if each.kind in _KINDS
        ]

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
