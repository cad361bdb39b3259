# SPDX-License-Identifier: Apache-2.0
"""Instances that are being started again on this host."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from svirt_nova.virt import guards


@dataclasses.dataclass
class _Restart:
    guard: guards.Guard
    count: int = 0


class Restarts:
    """Counts the restarts of each instance, with the guard that they share.

    A hard reboot destroys the domain and defines it anew
    (``LibvirtDriver._hard_reboot``). The hooks that it calls on its way must
    neither ask for the level again nor drop the claim. It is safe to use
    from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, _Restart] = {}

    def guard_of(self, instance_uuid: str) -> guards.Guard | None:
        """The guard of an instance; None unless it is being restarted."""
        with self._lock:
            found = self._running.get(instance_uuid)
            return None if found is None else found.guard

    @contextlib.contextmanager
    def running(
        self, instance_uuid: str, guard: guards.Guard
    ) -> Iterator[guards.Guard]:
        """Count a restart of an instance for as long as it lasts.

        :param guard: what the first of several restarts brought; the later
            ones share it
        """
        with self._lock:
            restart = self._running.setdefault(instance_uuid, _Restart(guard))
            restart.count += 1
        try:
            yield restart.guard
        finally:
            with self._lock:
                restart.count -= 1
                if not restart.count:
                    del self._running[instance_uuid]
