# SPDX-License-Identifier: Apache-2.0
"""When a claim may go, and when an instance is gone for good.

Pure rules; the table they come from is Nova's own behaviour, operation by
operation.
"""

from __future__ import annotations

import dataclasses

DELETED = 'deleted'
DELETING = 'deleting'
SOFT_DELETED = 'soft-delete'


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
    :param directories: its directories that exist, those that Nova
        renames it to included
    """

    domain: bool
    directories: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.domain or bool(self.directories)


def is_gone_for_good(instance: InstanceState, host: str) -> bool:
    """Whether a driver call that succeeded on a host was the deletion.

    The task state alone is no evidence: deleting a resized server first
    confirms the resize, on the source and while deleting, when the
    destination still runs the guest. Nor is ``destroy_disks``, which a
    rebuild and a shelve-offload have too.

    :param instance: its state during the call
    :param host: the host of the call
    """
    if instance.deleted or instance.vm_state == DELETED:
        return True
    return instance.host == host and (
        instance.task_state == DELETING
        or instance.vm_state == SOFT_DELETED
    )
