# SPDX-License-Identifier: Apache-2.0
"""The level space that levels are given out of at this moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from svirt_nova import exception
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import space_rows

Result = TypeVar('Result')

_PAUSE = 0.2
"""Seconds between two looks at a space that is being changed."""


class PresentSpace:
    """The level space of a store, with the candidates that fit it.

    :param store: where the space is kept
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        # It is None as long as the space is not known.
        self._cache: candidates.CandidateCache | None = None

    def stored(self) -> space_rows.Stored:
        """The level space, as the store has it at this moment."""
        return self._store.read(lambda c: space_rows.read(c, str(self._store)))

    def cache(self) -> candidates.CandidateCache:
        """The candidates of the space that was last read."""
        cache = self._cache
        if cache is None:
            cache = self._cache = candidates.CandidateCache(self.stored())
        return cache

    def is_present(self, cache: candidates.CandidateCache) -> bool:
        """Whether candidates are of the level space that the store has."""
        return self.stored().generation == cache.generation

    def forget(self) -> None:
        """Read the space anew when it is needed next."""
        self._cache = None

    def wait_until_open(self, deadline: float) -> None:
        """Wait until levels are given out of the space.

        :param deadline: when to give up, as a monotonic time in seconds
        :raises StoreUnreachable: the space is still being changed then
        """
        while True:
            stored = self.stored()
            # In a store that is not trusted, only new levels are refused.
            if stored.is_open or stored.distrust is not None:
                return
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the level space of the store {self._store} is being '
                    f'changed; try again. If nobody is changing it, repeat '
                    f'the "svirt-nova space set" that was broken off'
                )
            time.sleep(_PAUSE)

    def run(
        self, work: Callable[[candidates.CandidateCache], Result]
    ) -> Result:
        """Do something that needs the present space.

        :param work: called again when the space has changed
        :raises NotInSpace: the work found a level outside the present space
        """
        deadline = time.monotonic() + self._store.timeout
        while True:
            cache = self.cache()
            try:
                return work(cache)
            except exception.NotInSpace:
                if self.is_present(cache):
                    raise
                # The level was looked for in a former space.
                self.forget()
            except errors.SpaceChanged:
                self.forget()
                self.wait_until_open(deadline)
