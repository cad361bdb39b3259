# SPDX-License-Identifier: Apache-2.0
"""Notes that a host calls which Nova does not list."""

from __future__ import annotations

import time

from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import cloud_rows

_PERIOD = 600.0
"""Seconds for which a process does not look for a host again."""

_MOST_HOSTS = 10_000
"""The most hosts that a process remembers: names may be made up."""


class MissingHosts:
    """Looks from time to time whether a host that calls is missing.

    :param store: remembers the hosts of its cloud
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        # When a host is looked for again, in monotonic seconds.
        self._due: dict[str, float] = {}

    def hear(self, host: str) -> None:
        """Note that a host calls, if it is taken for missing."""
        now = time.monotonic()
        if now < self._due.get(host, 0.0):
            return
        if len(self._due) >= _MOST_HOSTS:
            self._due.clear()
        if self._store.read(lambda c: cloud_rows.is_to_hear(c, host)):
            self._store.write(lambda c: cloud_rows.hear(c, host))
        self._due[host] = now + _PERIOD
