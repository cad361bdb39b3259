# SPDX-License-Identifier: Apache-2.0
"""The rules by which a claim is dropped and an instance is gone for good.

They are pure. :mod:`svirt_nova.lifecycle.table` has Nova's own behaviour that
they come from, operation by operation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from collections.abc import Mapping

from svirt_nova.mcs import levels

DELETED = 'deleted'
DELETING = 'deleting'
SOFT_DELETED = 'soft-delete'

_BEGINS_ANEW = frozenset(
    [
        'reboot_pending_hard',
        'reboot_started_hard',
        'rebooting_hard',
        'rebuild_block_device_mapping',
        'rebuild_spawning',
        'rebuilding',
        'spawning',
        'unshelving',
    ]
)
"""The task states in which no guest of the instance goes on: whoever asks for
them, an evacuation included, wants it to begin anew."""


@dataclasses.dataclass(frozen=True, slots=True)
class InstanceState:
    """What Nova says of an instance during a driver call.

    The states are those of ``nova.compute.vm_states`` and
    ``nova.compute.task_states``.

    :param deleted: whether its record is marked as deleted
    :param vm_state: its stable state
    :param task_state: what is being done to it
    :param host: the host that Nova believes it is on
    """

    deleted: bool
    vm_state: str | None
    task_state: str | None
    host: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Remains:
    """What a host still has of an instance.

    :param domain: whether libvirt knows a domain of its UUID, defined or
        transient
    :param local: its directories on storage of this host, those that Nova
        renames it to included
    :param shared: its directories on storage that other hosts share
    """

    domain: bool = False
    local: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()


def is_gone_for_good(instance: InstanceState, host: str) -> bool:
    """Whether a driver call that succeeded on a host was the deletion.

    The task state alone is no evidence: when a resized server is deleted,
    Nova first confirms the resize, on the source and in the task state
    "deleting", while the destination still runs the guest. ``destroy_disks``
    is no evidence either: a rebuild and a shelve-offload have it, too.

    :param instance: its state during the call
    :param host: the host of the call
    """
    if instance.deleted or instance.vm_state == DELETED:
        return True
    return instance.host == host and (
        instance.task_state == DELETING or instance.vm_state == SOFT_DELETED
    )


def may_unclaim(remains: Remains, gone: bool) -> bool:
    """Whether a host may drop its claim.

    A directory on shared storage belongs to the host that the instance lives
    on. When the instance is gone for good, a directory that is left keeps
    the claim: its files still carry the level.

    :param remains: what the host still has of the instance
    :param gone: whether the instance is gone for good
    """
    if remains.domain or remains.local:
        return False
    return not (gone and remains.shared)


def may_change_level(task_state: str | None) -> bool:
    """Whether an instance may get another level than Nova remembers.

    It is so only where its guest begins anew, and its files are labelled
    anew, by an operation that somebody has asked for.

    :param task_state: what is being done to it
    """
    return task_state in _BEGINS_ANEW


def levels_missing(
    given: Mapping[str, levels.Level],
    held: Mapping[str | None, levels.Level],
) -> list[str]:
    """The instances whose levels the store does not have.

    :param given: the levels that domains of a host were given, by instance
    :param held: the levels that the store has for what the host claims
    """
    return sorted(
        uuid for uuid, level in given.items() if held.get(uuid) != level
    )


class StaleClaims:
    """Finds claims of a host that has had nothing of the instance for long.

    A host claims before it makes the domain and the files, so that a claim
    which has just been made looks stale, too. Only time tells them apart.

    :param grace: seconds for which nothing may be there
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._since: dict[str, float] = {}

    def find(
        self, claimed: Collection[str], present: Collection[str], now: float
    ) -> list[str]:
        """The instances whose claims have been stale for the grace time.

        :param claimed: the UUIDs of all instances that the host claims
        :param present: those that it has something of
        :param now: a monotonic time, in seconds
        """
        self._since = {
            uuid: self._since.get(uuid, now)
            for uuid in claimed
            if uuid not in present
        }
        return sorted(
            uuid
            for uuid, since in self._since.items()
            if now - since >= self._grace
        )
