# SPDX-License-Identifier: Apache-2.0
"""How a project comes to the part that all its levels have.

In the scheme ``project`` a level is a project's part and an instance's own
part. A project gets its part with its first level, and may lose it when it
has no level any more.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import refusals
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import project_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces

_FREED = 20
"""Parts that are taken from projects without levels, at once."""


class ProjectParts:
    """Gives each project its part.

    :param store: where the parts are kept
    :param free_cooled: frees levels that have cooled; tells how many
    """

    def __init__(
        self, store: stores.Store, free_cooled: Callable[[], int]
    ) -> None:
        self._store = store
        self._free_cooled = free_cooled

    def acquire(
        self,
        cache: candidates.CandidateCache,
        project: str,
        deadline: float,
        seen: int = 0,
    ) -> levels.Level | None:
        """The part of a project, which gets one if it has none.

        :param cache: remembers the parts that were read
        :param deadline: when to give up, as a monotonic time in seconds
        :param seen: the generation that the store must have at least
        :returns: None in the scheme ``instance``
        :raises errors.SpaceChanged: the cache is of a former space, or the
            store is older than that
        :raises SpaceFull: every part is in use
        :raises StoreUnreachable: others took each part that was tried
        """
        if cache.space.scheme is spaces.Scheme.INSTANCE:
            return None
        part = cache.project_parts.get(project)
        while part is None:
            part = self._find(project) or self._give(cache, project, seen)
            if part is None and time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the store {self._store} gave project {project} no '
                    f'part of its own in {self._store.timeout:g} s: too '
                    f'many projects are new at once; try again'
                )
        cache.project_parts[project] = part
        return part

    def adopt(
        self,
        cache: candidates.CandidateCache,
        project: str,
        part: levels.Level,
    ) -> bool:
        """Give a project the part that one of its instances runs with.

        A project without levels may have got another part before, and a
        part may be that of a project without levels.

        :param cache: remembers the parts that were read
        :returns: whether the project has the part; False when it has levels
            with another one, or another project has levels with this one
        :raises errors.SpaceChanged: the cache is of a former space
        """

        def work(connection: sa.Connection) -> None:
            former = project_rows.find(connection, project)
            for each in {part, former or part}:
                project_rows.free(connection, each)
            project_rows.insert(
                connection, project, part, generation=cache.generation
            )

        # The project may have lost the part that is remembered.
        cache.project_parts.pop(project, None)
        if self._find(project) != part:
            try:
                self._store.write(work)
            except errors.Conflict:
                return self._find(project) == part
        cache.project_parts[project] = part
        return True

    def _find(self, project: str) -> levels.Level | None:
        return self._store.read(lambda c: project_rows.find(c, project))

    def _give(
        self, cache: candidates.CandidateCache, project: str, seen: int
    ) -> levels.Level | None:
        """Give a project a part.

        :returns: None when it is to be looked for again: the project may
            have got one, or a part may have come free
        """
        space = cache.space
        taken = set(self._store.read(project_rows.raw_ranks))
        if len(taken) >= space.projects:
            if self._free_parts():
                return None
            raise refusals.no_part_left(space, project)
        rank = candidates.pick_set(
            space.project_categories, space.per_project, taken
        )
        if rank is None:
            return None
        part = levels.Level(ranking.unrank(rank))
        try:
            self._store.write(
                lambda c: project_rows.insert(
                    c,
                    project,
                    part,
                    generation=cache.generation,
                    seen=seen,
                )
            )
        except errors.Conflict:
            return None
        return part

    def _free_parts(self) -> bool:
        """Take parts from projects without levels.

        Each part is taken in a transaction of its own: a project that has
        just got a level again must not keep the parts of the others.

        :returns: whether anything was freed, so that there may be a part
        """
        unused = self._unused()
        freed = 0
        if not unused:
            # A level that has cooled has a row, and keeps its project's part,
            # until somebody needs it.
            freed = self._free_cooled()
            unused = self._unused()
        for part in unused:
            with contextlib.suppress(errors.Conflict):
                self._store.write(
                    functools.partial(project_rows.free, part=part)
                )
        return bool(unused or freed)

    def _unused(self) -> Sequence[levels.Level]:
        return self._store.read(lambda c: project_rows.unused(c, _FREED))
