# SPDX-License-Identifier: Apache-2.0
"""Retires levels of instances that Nova no longer knows.

Some instances are deleted without any host being told: shelved ones, failed
builds, those of hosts that never come back. One incomplete answer of Nova is
not enough to free a level that may be in use, so nothing is retired unless
every question of several passes was answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from typing import Protocol

from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types

LOG = logging.getLogger(__name__)

_CONTROLS = 5


class Servers(Protocol):
    """What the reaper asks Nova."""

    def check(self) -> None:
        """Check that Nova answers, and to an administrator.

        :raises ComputeApiError: it does not
        """

    def exists(self, instance_uuid: str) -> bool:
        """Whether Nova knows an instance that is not deleted.

        :raises ComputeApiError: no certain answer
        """


def _absent(
    allocations: Iterable[types.Allocation], servers: Servers
) -> dict[str, types.Allocation]:
    return {
        allocation.instance_uuid: allocation
        for allocation in allocations
        if allocation.instance_uuid is not None
        and not servers.exists(allocation.instance_uuid)
    }


def _check_controls(
    held: Iterable[types.Allocation], servers: Servers
) -> None:
    """Check that Nova shows instances that hosts have.

    With wrong credentials or a wrong endpoint, Nova may deny all of them.
    """
    claimed = [
        allocation.instance_uuid
        for allocation in held
        if allocation.hosts and allocation.instance_uuid is not None
    ]
    step = max(1, len(claimed) // _CONTROLS)
    controls = claimed[::step][:_CONTROLS]
    if controls and not any(map(servers.exists, controls)):
        raise exception.ComputeApiError(
            f'Nova does not show any of {len(controls)} instances that '
            f'hosts claim, such as {controls[0]}: the credentials may not '
            f'see all projects, or the endpoint is not that of this cloud'
        )


def find(
    allocator: base.Allocator,
    servers: Servers,
    *,
    passes: int = 3,
    interval: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
) -> list[types.Allocation]:
    """The held levels that no host claims, of instances that are gone.

    :param passes: how many times Nova is asked about each instance
    :param interval: seconds between two passes
    :raises ComputeApiError: a pass could not be completed
    :raises AllocatorError: the allocator did not answer
    """
    suspects: dict[str, types.Allocation] | None = None
    for number in range(passes):
        if number:
            sleep(interval)
        held = allocator.list(states=frozenset([types.State.HELD]))
        unclaimed = {
            allocation.instance_uuid: allocation
            for allocation in held
            if not allocation.hosts and allocation.instance_uuid is not None
        }
        if suspects is not None:
            # An instance that was claimed meanwhile, or that has another
            # level by now, lives.
            unclaimed = {
                uuid: allocation
                for uuid, allocation in unclaimed.items()
                if suspects.get(uuid) == allocation
            }
        if not unclaimed:
            return []
        servers.check()
        _check_controls(held, servers)
        suspects = _absent(unclaimed.values(), servers)
        LOG.info(
            'Pass %d of %d: %d of %d unclaimed instances are gone',
            number + 1,
            passes,
            len(suspects),
            len(unclaimed),
        )
    return [*(suspects or {}).values()]


def retire(
    allocator: base.Allocator,
    gone: Iterable[types.Allocation],
) -> None:
    """Retire what :func:`find` found.

    If a host claims one of the instances at this moment, the level stays
    with the instance: a claimed level does not come free, and the next
    acquire takes the retirement back.

    :raises AllocatorError: the allocator did not answer
    """
    for allocation in gone:
        assert allocation.instance_uuid is not None
        allocator.retire(allocation.instance_uuid)
        LOG.info(
            'Retired the level %s of instance %s, which Nova no longer knows',
            allocation.level,
            allocation.instance_uuid,
        )
