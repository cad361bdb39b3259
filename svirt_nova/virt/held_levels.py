# SPDX-License-Identifier: Apache-2.0
"""What the store has of the guests of this host, for what compares them."""

from __future__ import annotations

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.virt import outages


class HeldLevels:
    """The levels that instances hold.

    :param allocator: knows the levels
    :param host_name: the name of the host, as Nova has it
    :param outage: remembers when the allocator did not answer
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        outage: outages.OutageMemory,
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._outage = outage

    def claimed(self) -> dict[str | None, types.Allocation]:
        """The levels that this host claims, by the UUID of the instance.

        :raises AllocatorError: the allocator does not answer
        """
        return {
            each.instance_uuid: each
            for each in self._outage.ask(
                self._allocator.list, host=self._host_name
            )
        }

    def find(self, uuid: str) -> types.Allocation | None:
        """What the store has of an instance.

        :returns: None for one without a level, and for a guest that Nova did
            not make
        :raises AllocatorError: the allocator does not answer
        """
        try:
            return self._outage.ask(self._allocator.get, uuid)
        except exception.UnknownInstance:
            return None
