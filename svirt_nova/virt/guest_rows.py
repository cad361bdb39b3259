# SPDX-License-Identifier: Apache-2.0
"""A row for each guest of this host: whether its levels agree."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence

import nova.conf

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import file_labels
from svirt_nova.host import guest_labels
from svirt_nova.host import policy
from svirt_nova.host import rows
from svirt_nova.lifecycle import drift
from svirt_nova.virt import confinement
from svirt_nova.virt import drift_watch

CONF = nova.conf.CONF

GUEST = 'guest'


class Levels:
    """What the store, and Nova, say of the guests of this host.

    :param allocator: knows the levels; None where the store cannot be asked,
        or is not there
    :param remembered: what Nova remembers, by UUID; None where it was not
        asked
    :param is_empty: whether there is no store yet, so that it has no level
    """

    def __init__(
        self,
        allocator: base.Allocator | None,
        remembered: Mapping[str, types.InstanceLevels | None] | None,
        is_empty: bool = False,
    ) -> None:
        self._allocator = allocator
        self._remembered = remembered
        self._is_empty = is_empty

    @property
    def knows_store(self) -> bool:
        """Whether the store could be asked."""
        return self._allocator is not None

    def held(self, guest: guest_labels.GuestLabels) -> types.Allocation | None:
        """What the store has of a guest.

        Where it cannot be asked, the level that libvirt was given stands in
        for it: the others can be compared with that.

        :raises AllocatorError: the store does not answer
        """
        if self._allocator is not None:
            try:
                return self._allocator.get(guest.uuid)
            except exception.UnknownInstance:
                return None
        label = guest.live
        if (
            self._is_empty
            or not guest.is_instance
            or label is None
            or label.label is None
        ):
            return None
        return types.Allocation(
            label.label.level, guest.uuid, None, frozenset([CONF.host])
        )

    def remembered(self, uuid: str) -> types.InstanceLevels | None:
        """What Nova remembers of an instance; None for nothing."""
        return None if self._remembered is None else self._remembered.get(uuid)

    def describe(self) -> str:
        """Name what was asked, for the row of a guest that is right."""
        names = ['the store and its claim'] * self.knows_store
        names += ['what Nova remembers'] * (self._remembered is not None)
        return ''.join(f', {name}' for name in names)


def of_guests(
    domains: Sequence[guest_labels.Domain],
    confined: confinement.Confinement,
    levels: Levels,
) -> list[rows.Row]:
    """Judge the guests of this host.

    :param domains: what libvirt says of them
    :param confined: the contexts that guests of this host get
    :param levels: what the store and Nova say of them
    :raises AllocatorError: the store does not answer
    """
    found: list[rows.Row] = []
    read: list[tuple[guest_labels.GuestLabels, types.Allocation | None]] = []
    xmls = {each.uuid: each.xml for each in domains}
    for domain in domains:
        try:
            guest = guest_labels.read(domain, file_labels.read)
        except exception.SvirtError as error:
            found.append(_unreadable(domain, error))
            continue
        read.append((guest, levels.held(guest)))
    meetings = drift.find_meetings(
        [guest for guest, _ in read],
        [held for _, held in read if held is not None],
        CONF.host,
    )
    for guest, held in read:
        expected = drift_watch.expectation(
            CONF.host,
            confined,
            xmls[guest.uuid],
            held,
            levels.remembered(guest.uuid),
        )
        if held is None and not guest.is_instance:
            found.append(_row(guest, drift.of_stranger(guest), ''))
            continue
        findings = drift.find(guest, expected)
        findings += meetings.get(guest.uuid, [])
        found.append(_row(guest, findings, _right(guest, held, levels)))
    return sorted(found, key=lambda row: row.check)


def _unreadable(domain: guest_labels.Domain, error: Exception) -> rows.Row:
    return rows.Row(
        f'{GUEST} {domain.name}',
        (
            policy.Problem(
                f'its labels make no sense: {error}. Hard-reboot the instance'
            ),
        ),
        instance=domain.uuid,
    )


def _right(
    guest: guest_labels.GuestLabels,
    held: types.Allocation | None,
    levels: Levels,
) -> str:
    """What agrees, of a guest with nothing wrong."""
    if held is None:
        return ''
    process = 'its process, ' * guest.is_running
    return (
        f"{held.level}: {process}libvirt's XML, {len(guest.files)} files"
        f'{levels.describe()}'
    )


def _row(
    guest: guest_labels.GuestLabels,
    findings: Sequence[drift.Finding],
    right: str,
) -> rows.Row:
    if not findings and not right:
        right = 'Nova did not make it'
    return rows.Row(
        f'{GUEST} {guest.name}',
        tuple(
            policy.Problem(str(each), each.is_wrong)
            for each in dict.fromkeys(findings)
        ),
        () if findings else (right,),
        instance=guest.uuid if guest.is_instance else None,
    )
