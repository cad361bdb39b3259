# SPDX-License-Identifier: Apache-2.0
"""Notices that the store is older than what was seen of it.

A store that was restored from a backup has forgotten levels that instances
run with. It cannot know that by itself: its generation, which only grows, is
compared with the generations that hosts, and this process, have seen.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection

import sqlalchemy as sa

from svirt_nova import logs
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import trust_rows

LOG = logs.get_logger(__name__)

PERIOD = datetime.timedelta(seconds=10)
"""For how long levels are given out before the generation grows again.

What was given out for so long after a backup is not noticed by the
generation alone.
"""


MANY_HOSTS = 1000
"""From how many new hosts on it is told who has named them."""


class StoreTrust:
    """Whether the store is trusted.

    :param store: where the generation is kept
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._seen = 0
        # A monotonic time in seconds.
        self._due = 0.0

    def grow(self, seen: int) -> int:
        """Let the generation grow, if it is time, before a level is given.

        :param seen: the newest generation that the caller has seen
        :returns: the generation that the store must have at least
        """
        if time.monotonic() >= self._due:
            found = self._read()
            if (
                found.is_due
                and found.is_trusted
                and found.number >= max(seen, self._seen)
            ):
                self._store.write(lambda c: trust_rows.grow(c, found.number))
                found = self._read()
            self._learn(found.number)
            self._due = time.monotonic() + PERIOD.total_seconds()
        return max(seen, self._seen)

    def _read(self) -> trust_rows.Generation:
        return self._store.read(lambda c: trust_rows.generation(c, PERIOD))

    def _learn(self, number: int) -> None:
        self._seen = max(self._seen, number)

    def compare(self, host: str, seen: int) -> trust_rows.Generation:
        """Distrust the store if it is older than what was seen of it.

        :param host: the caller
        :param seen: the newest generation that the caller has seen
        """
        found = self._read()
        for witness, number in (
            (f'host {host}', seen),
            ('a process that gives out its levels', self._seen),
        ):
            if number > found.number:
                self._distrust(
                    f'{witness} has seen its generation {number}, and it has '
                    f'the generation {found.number}: it was restored from a '
                    f'backup, or is another store',
                    number,
                )
                return self._read()
        self._learn(found.number)
        return found

    def meet(self, host: str, seen: int) -> types.Trust:
        """See :meth:`base.Allocator.meet`."""
        found = self.compare(host, seen)
        if found.is_trusted:
            return types.Trust(found.number)

        def work(connection: sa.Connection) -> None:
            trust_rows.lock(connection)
            trust_rows.see(connection, seen)
            if trust_rows.reason(connection) is not None:
                trust_rows.wait_for(connection, host)

        self._store.write(work)
        return self.show()

    def report(self, host: str, hosts: Collection[str]) -> types.Trust:
        """See :meth:`base.Allocator.report`."""
        is_trusted, named = self._store.write(
            lambda c: trust_rows.tell(c, host, hosts, types.LEAP)
        )
        if named >= MANY_HOSTS:
            LOG.warning(
                'Host %s names %d hosts that the store %s did not know, and '
                'that it waits for from now on. If there are not so many, '
                'the host may have been taken over',
                host,
                named,
                self._store,
            )
        if is_trusted:
            LOG.warning(
                'The store %s is trusted again: all hosts have told what they '
                'run. Levels are given out',
                self._store,
            )
        return self.show()

    def distrust(self, why: str) -> None:
        """See :meth:`base.Allocator.distrust`."""
        self._distrust(why, None)

    def _distrust(self, why: str, seen: int | None) -> None:
        if self._store.write(lambda c: trust_rows.distrust(c, why, seen)):
            LOG.critical(
                'The store %s is not trusted, and gives no level to new '
                'instances before all hosts have told what they run: %s. See '
                '"svirt-nova store show"',
                self._store,
                why,
            )

    def trust(self) -> None:
        """See :meth:`base.Allocator.trust`."""
        if self._store.write(lambda c: trust_rows.trust(c, types.LEAP)):
            LOG.warning(
                'The store %s is trusted again, because an operator said so',
                self._store,
            )

    def show(self) -> types.Trust:
        """See :meth:`base.Allocator.show_trust`."""
        return self._store.read(trust_rows.show)

    def check(self) -> None:
        """Check that the store is trusted.

        :raises StoreDistrusted: it is not
        """
        found = self.show()
        if not found.is_trusted:
            raise refusals.distrusted(found)
