# SPDX-License-Identifier: Apache-2.0
"""How an instance comes to its level.

A new one takes a random level that is believed free: one insert, no lock
and no read before it. The store's keys say whether the guess was right.
After two wrong ones, and as long as many are wrong, a look at some levels
that are believed free finds one that is.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import time
from collections.abc import Callable
from collections.abc import Sequence
from typing import TypeVar

import sqlalchemy as sa
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova import ranking
from svirt_nova import space as spaces
from svirt_nova.allocator import base
from svirt_nova.allocator.sql import errors
from svirt_nova.allocator.sql import guess as guesses
from svirt_nova.allocator.sql import hint as hints
from svirt_nova.allocator.sql import level_space
from svirt_nova.allocator.sql import projects
from svirt_nova.allocator.sql import rows
from svirt_nova.allocator.sql import store as stores

LOG = logging.getLogger(__name__)

Result = TypeVar('Result')

FREE_LIMIT = 5_000
"""Levels freed at once: it bounds the wait of the call that frees them."""

_SPACE_PAUSE = 0.2
_CANDIDATES = 64
_PARTS_FREED = 20


class Giver:
    """Gives levels out of a store.

    :param cooling: how long a level cools
    :param marks: fills of the space at which to warn, in per cent
    """

    def __init__(
        self,
        store: stores.Store,
        *,
        cooling: datetime.timedelta,
        marks: Sequence[int],
    ) -> None:
        self.cooling = cooling
        self._store = store
        self._marks = sorted(marks)
        # None as long as the level space is not known.
        self._guess: guesses.Guess | None = None

    def acquire(
        self, instance: str, project: str, host: str
    ) -> base.Allocation:
        """See :meth:`base.Allocator.acquire`; the arguments are checked."""
        deadline = time.monotonic() + self._store.timeout
        tries = 0
        while True:
            try:
                done = self._try(tries, instance, project, host, deadline)
            except errors.SpaceChanged:
                self._guess = None
                done = self._known(instance, host)
                if done is None:
                    self._wait_for_space(deadline)
            except exception.SpaceFull:
                # An instance that has a level keeps it all the same.
                done = self._known(instance, host)
                if done is None:
                    raise
            if done is not None:
                return done
            tries += 1
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the store {self._store} gave no level in '
                    f'{self._store.timeout:g} s and {tries} tries: too '
                    f'many take the last ones at once; try again'
                )

    def _try(
        self,
        tries: int,
        instance: str,
        project: str,
        host: str,
        deadline: float,
    ) -> base.Allocation | None:
        """Take a level, or claim the one that the instance has.

        :param tries: how many wrong guesses there were
        :returns: None after another wrong guess
        :raises errors.SpaceChanged: the guess was of a former space
        :raises SpaceFull: every level is in use
        """
        guess = self._known_guess()
        part = self._part(guess, project, deadline)
        hint = guess.hint(part)
        if hint.is_doubtful or tries > 1:
            rank = self._look(guess, part)
        else:
            rank = guess.pick(part)
        is_taken = False
        if rank is not None:
            try:
                taken = self._take(guess, rank, part, instance, project, host)
            except errors.Conflict as conflict:
                is_taken = conflict.is_of_level
            else:
                hint.hit()
                self._warn_when_full(guess, part, project)
                return taken
        # Otherwise, whether the instance has a level shows as soon as a
        # guess is right.
        if not is_taken:
            known = self._claim_known(instance, host)
            if known is not None:
                if rank is not None and rank != known.rank:
                    guess.release(part, rank)
                return allocation(known)
            # The project's part may have been taken from it.
            guess.parts.pop(project, None)
        if rank is None or hint.miss():
            self._refresh(guess, part, project)
        return None

    def _known(self, instance: str, host: str) -> base.Allocation | None:
        held = self._claim_known(instance, host)
        return None if held is None else allocation(held)

    def _look(self, guess: guesses.Guess, part: int | None) -> int | None:
        """A level that is free, out of some that are believed to be.

        :returns: None when the space looks full
        """
        picked = guess.sample(part, _CANDIDATES)
        taken = set(
            self._store.read(lambda c: rows.ranks(c, rows.among(picked)))
        )
        free = [rank for rank in picked if rank not in taken]
        if picked:
            guess.hint(part).measured(len(taken) / len({*picked}))
        for rank in free[1:]:
            guess.release(part, rank)
        return free[0] if free else None

    def adopt(
        self, instance: str, project: str, host: str, level: levels.Level
    ) -> base.Allocation | None:
        """Take a certain level for an instance that has none.

        :returns: None when it is taken or the instance not new
        :raises NotInSpace: the level is not one of the space
        :raises LevelTaken: the level is not one of the project's
        """

        def insert(guess: guesses.Guess) -> base.Allocation | None:
            guess.space.check(level)
            part = guess.space.project_part(level)
            rank = None
            if part is not None:
                guess.parts.pop(project, None)
                rank = self._part(
                    guess, project, time.monotonic() + self._store.timeout
                )
                if rank != ranking.rank(part.categories):
                    raise exception.LevelTaken(
                        f'level {level} of instance {instance} cannot be '
                        f'recorded: {part} is not the part of its project'
                    )
            for condition in (
                rows.has_rank(ranking.rank(level.categories)),
                rows.of_uuid(instance),
            ):
                self.free(condition, limit=1)
            try:
                return self._take(
                    guess,
                    ranking.rank(level.categories),
                    rank,
                    instance,
                    project,
                    host,
                )
            except errors.Conflict:
                return None

        return self.in_space(insert)

    def in_space(self, work: Callable[[guesses.Guess], Result]) -> Result:
        """Do something that needs the present level space."""
        deadline = time.monotonic() + self._store.timeout
        while True:
            try:
                return work(self._known_guess())
            except errors.SpaceChanged:
                self._guess = None
                self._wait_for_space(deadline)

    def stored_space(self) -> level_space.Stored:
        """The level space, as it is now."""
        return self._store.read(
            lambda c: level_space.read(c, str(self._store))
        )

    def forget(self) -> None:
        """Look at the level space anew."""
        self._guess = None

    def free(self, *conditions: sa.ColumnElement[bool], limit: int) -> int:
        """Free levels that have cooled; how many.

        :param conditions: only rows that meet these
        """

        def work(connection: sa.Connection) -> int:
            cutoff = rows.cutoff(connection, self.cooling)
            return rows.free(connection, cutoff, *conditions, limit=limit)

        while True:
            try:
                return self._store.write(work)
            except errors.Conflict:
                # One of them was claimed again just now.
                if limit == 1:
                    return 0
                limit = max(1, limit // 10)

    def warn_when_full(self, stats: base.Stats) -> None:
        """Warn once for each mark that the space has passed."""
        guess = self._known_guess()
        passed = guess.marks_passed(
            guesses.WHOLE, self._marks, 1 - stats.free / stats.size
        )
        if passed is not None:
            self._warn(guess.space, passed, '', stats.size)

    def _known_guess(self) -> guesses.Guess:
        guess = self._guess
        if guess is None:
            guess = self._guess = guesses.Guess(self.stored_space())
        return guess

    def _wait_for_space(self, deadline: float) -> None:
        while not self.stored_space().is_open:
            if time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the level space of the store {self._store} is being '
                    f'changed; try again. If nobody is changing it, repeat '
                    f'the "svirt-nova space set" that was broken off'
                )
            time.sleep(_SPACE_PAUSE)

    def _part(
        self, guess: guesses.Guess, project: str, deadline: float
    ) -> int | None:
        """The rank of the part that all levels of a project have.

        :param deadline: when to give up, as a monotonic time
        :returns: None in the scheme instance
        :raises errors.SpaceChanged: the guess is of a former space
        :raises SpaceFull: every part is in use
        """
        if guess.space.scheme is spaces.Scheme.INSTANCE:
            return None
        known = guess.parts.get(project)
        while known is None:
            known = self._store.read(lambda c: projects.rank(c, project))
            if known is None:
                known = self._give_part(guess, project)
            if known is None and time.monotonic() > deadline:
                raise exception.StoreUnreachable(
                    f'the store {self._store} gave project {project} no '
                    f'part of its own in {self._store.timeout:g} s: too '
                    f'many projects are new at once; try again'
                )
        guess.parts[project] = known
        return known

    def _give_part(self, guess: guesses.Guess, project: str) -> int | None:
        """Give a project its part; None when it has to be looked for."""
        space = guess.space
        taken = set(self._store.read(projects.ranks))
        if len(taken) >= space.projects:
            if self._free_parts():
                return None
            raise exception.SpaceFull(
                f'the level space "{space}" has no part left for project '
                f'{project}: {space.projects} projects have instances'
            )
        hint = hints.of_sets(space.project_categories, space.per_project)
        hint.load(taken)
        rank = hint.pick()
        # A hint that does not remember guesses; few tries find a free one
        # unless nearly all are taken.
        tries = _CANDIDATES
        while rank in taken and tries:
            rank = hint.pick()
            tries -= 1
        if rank is None:
            return None
        chosen = rank
        try:
            self._store.write(
                lambda c: projects.insert(
                    c, project, chosen, generation=guess.generation
                )
            )
        except errors.Conflict:
            return None
        return chosen

    def _free_parts(self) -> bool:
        """Take parts from projects without levels; whether there were any.

        One at a time: that of a project which has just got a level again
        must not keep the others.
        """
        unused = self._store.read(lambda c: projects.unused(c, _PARTS_FREED))
        for rank in unused:
            with contextlib.suppress(errors.Conflict):
                self._store.write(functools.partial(projects.free, rank=rank))
        return bool(unused)

    def _take(
        self,
        guess: guesses.Guess,
        rank: int,
        part: int | None,
        instance: str,
        project: str,
        host: str,
    ) -> base.Allocation:
        """Take a level for a new instance.

        :raises errors.Conflict: the level is taken or the instance not new
        :raises errors.SpaceChanged: the guess is of a former space
        """
        self._store.write(
            lambda c: rows.insert(
                c,
                rank,
                generation=guess.generation,
                uuid=instance,
                project=project,
                project_rank=part,
                host=host,
            )
        )
        return base.Allocation(
            level=level_of(rank),
            instance_uuid=instance,
            project_id=project,
            hosts=frozenset((host,)),
            project_level=None if part is None else level_of(part),
        )

    def _claim_known(self, instance: str, host: str) -> rows.Held | None:
        """Hold and claim the level that an instance has, if it has one."""

        def work(connection: sa.Connection) -> rows.Held | None:
            held = rows.of_instance(connection, instance)
            if held is None or (
                host in held.hosts and held.retired_at is None
            ):
                # A repeated call: no write, so no wait for the disk.
                return held
            # From here on nobody else changes the row.
            rows.hold(connection, instance)
            held = rows.of_instance(connection, instance)
            if held is not None and host not in held.hosts:
                rows.claim(connection, instance, host)
                held = rows.of_instance(connection, instance)
            return held

        try:
            return self._store.write(work)
        except errors.Conflict:
            # Freed, or claimed by the same host, since it was read.
            return None

    def _refresh(
        self, guess: guesses.Guess, part: int | None, project: str
    ) -> None:
        """Free what has cooled, and learn anew what is taken.

        :raises SpaceFull: every level is in use
        """
        # The project may have another part by now.
        guess.parts.pop(project, None)
        own = () if part is None else (rows.of_project_rank(part),)
        freed = self.free(*own, limit=FREE_LIMIT)
        size = guess.space.per_owner
        if not freed and self._store.read(
            lambda c: rows.count(c, *own) >= size
        ):
            raise self._full(guess.space, part, project)
        if guess.hint(part).remembers:
            guess.load(part, self._store.read(lambda c: rows.ranks(c, *own)))

    def _full(
        self, space: spaces.LevelSpace, part: int | None, project: str
    ) -> exception.SpaceFull:
        if part is not None:
            return exception.SpaceFull(
                f'project {project} uses all {space.per_owner} levels that '
                f'the level space "{space}" has for a project; delete '
                f'instances, or wait until the levels of deleted ones have '
                f'cooled'
            )
        counts = self._store.read(
            lambda c: rows.count_states(c, rows.cutoff(c, self.cooling))
        )
        return exception.SpaceFull(
            f'the level space "{space}" is full: of its {space.size} levels '
            f'{counts[base.State.HELD]} are held, '
            f'{counts[base.State.RETIRED]} are of deleted instances that a '
            f'host still claims, {counts[base.State.COOLING]} cool for '
            f'{self.cooling.total_seconds():g} s and '
            f'{counts[base.State.RESERVED]} are reserved; delete instances, '
            f'wait for cooling levels, or see with "svirt-nova label list" '
            f'who holds them'
        )

    def _warn_when_full(
        self, guess: guesses.Guess, part: int | None, project: str
    ) -> None:
        """Warn once for each mark that the hint has passed."""
        passed = guess.marks_passed(part, self._marks, guess.hint(part).fill)
        if passed is not None:
            of = '' if part is None else f' for project {project}'
            self._warn(guess.space, passed, of, guess.space.per_owner)

    @staticmethod
    def _warn(
        space: spaces.LevelSpace, passed: int, of: str, size: int
    ) -> None:
        LOG.warning(
            'The level space "%s" is %d %% full%s: %d levels in all. See '
            '"svirt-nova label usage"; at 100 %% new instances are refused',
            space,
            passed,
            of,
            size,
        )


def level_of(rank: int) -> levels.Level:
    """The level of a rank."""
    return levels.Level(ranking.unrank(rank))


def allocation(held: rows.Held) -> base.Allocation:
    """What a row says."""
    part = held.project_rank
    return base.Allocation(
        level=level_of(held.rank),
        instance_uuid=held.instance_uuid,
        project_id=held.project_id,
        hosts=held.hosts,
        created_at=held.created_at,
        retired_at=held.retired_at,
        note=held.note,
        project_level=None if part is None else level_of(part),
    )
