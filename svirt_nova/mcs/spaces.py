# SPDX-License-Identifier: Apache-2.0
"""The level space: which levels may be given out.

In the scheme ``instance`` a level is a k-subset of one set of categories.
In the scheme ``project`` it is a project's subset of one set of categories
together with an instance's subset of another, disjoint one. In both schemes
all levels have one size, and none contains another: they form an antichain.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import math
from collections.abc import Iterator

from svirt_nova import exception
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

DEFAULT_PER_PROJECT = 2
"""How many categories the part of a project has."""


class Scheme(enum.StrEnum):
    """What a level is made of."""

    INSTANCE = 'instance'
    PROJECT = 'project'


@dataclasses.dataclass(frozen=True)
class LevelSpace:
    """All levels that a store may give out.

    :param categories: what the instance's part of a level is made of
    :param per_level: how many categories that part has
    :param project_categories: what the project's part is made of; empty
        in the scheme ``instance``
    :param per_project: how many categories that part has
    :raises InvalidSpace: no level could be made, or levels could contain
        each other
    """

    categories: frozenset[int]
    per_level: int = 2
    project_categories: frozenset[int] = frozenset()
    per_project: int = 0

    def __post_init__(self) -> None:
        _check_part('a level', self.categories, self.per_level)
        if self.project_categories or self.per_project:
            _check_part(
                "a project's part of a level",
                self.project_categories,
                self.per_project,
            )
        common = self.categories & self.project_categories
        if common:
            raise exception.InvalidSpace(
                f'{levels.format_categories(common)} cannot be both for '
                f'projects and for instances: one instance could open the '
                f'files of another'
            )
        if self.per_level + self.per_project > ranking.MOST_CATEGORIES:
            raise exception.InvalidSpace(
                f'a level of {self.per_level + self.per_project} categories '
                f'is too large: {ranking.MOST_CATEGORIES} are the most'
            )

    @classmethod
    def parse(
        cls,
        categories: str,
        per_level: int = 2,
        excluded: str = '',
        project_categories: str = '',
        per_project: int | None = None,
    ) -> LevelSpace:
        """Make a space from texts such as ``c0.c1023`` and ``c5,c7.c9``.

        :param excluded: what no level may contain
        :param project_categories: not empty for the scheme ``project``
        :param per_project: two in the scheme ``project``, if not given
        :raises InvalidSpace: the texts are no category lists, or the
            space is impossible
        """
        try:
            chosen, removed, projects = (
                levels.parse_categories(text) if text else frozenset()
                for text in (categories, excluded, project_categories)
            )
        except exception.InvalidLevel as error:
            raise exception.InvalidSpace(str(error)) from error
        if per_project is None:
            per_project = DEFAULT_PER_PROJECT if projects else 0
        return cls(
            chosen - removed, per_level, projects - removed, per_project
        )

    def __str__(self) -> str:
        instance = (
            f'{self.per_level} of {levels.format_categories(self.categories)}'
        )
        if self.scheme is Scheme.INSTANCE:
            return instance
        projects = levels.format_categories(self.project_categories)
        return f'{self.per_project} of {projects} and {instance}'

    @property
    def scheme(self) -> Scheme:
        """What a level is made of."""
        return Scheme.PROJECT if self.project_categories else Scheme.INSTANCE

    @functools.cached_property
    def size(self) -> int:
        """How many levels the space has."""
        return self.projects * self.per_owner

    @property
    def projects(self) -> int:
        """How many projects can have a part; 1 in the scheme instance."""
        return math.comb(len(self.project_categories), self.per_project)

    @property
    def per_owner(self) -> int:
        """How many levels a project can have, or the whole space."""
        return math.comb(len(self.categories), self.per_level)

    def __contains__(self, level: levels.Level) -> bool:
        project = level.categories & self.project_categories
        return (
            len(project) == self.per_project
            and len(level.categories) == self.per_project + self.per_level
            and level.categories - project <= self.categories
        )

    def __iter__(self) -> Iterator[levels.Level]:
        for project in itertools.combinations(
            sorted(self.project_categories), self.per_project
        ):
            for own in itertools.combinations(
                sorted(self.categories), self.per_level
            ):
                yield levels.Level(frozenset(project + own))

    def check(self, level: levels.Level) -> None:
        """Check that a level is one of the space.

        :raises NotInSpace: it is not
        """
        if level not in self:
            raise exception.NotInSpace(
                f'level {level} is not one of the space "{self}"'
            )

    def project_part(self, level: levels.Level) -> levels.Level | None:
        """The part that all levels of the project have.

        :returns: None in the scheme ``instance``
        """
        if self.scheme is Scheme.INSTANCE:
            return None
        return levels.Level(level.categories & self.project_categories)

    def has_part(self, part: levels.Level) -> bool:
        """Whether a project can have a part."""
        return (
            self.scheme is Scheme.PROJECT
            and len(part.categories) == self.per_project
            and part.categories <= self.project_categories
        )

    def clashes(self, level: levels.Level) -> bool:
        """Whether the space cannot be used beside a level.

        It cannot when a process of that level could open a file of the
        space, which carries a level of the space or the project's part of
        one; or when a process of the space could open a file of that level.
        """
        if level in self:
            return False
        own = len(level.categories & self.categories)
        project = len(level.categories & self.project_categories)
        if project >= self.per_project and (
            self.scheme is Scheme.PROJECT or own >= self.per_level
        ):
            return True
        return (
            own + project == len(level.categories)
            and own <= self.per_level
            and project <= self.per_project
        )

    def meeting(self, level: levels.Level, most: int) -> list[levels.Level]:
        """The levels of the space that contain a level, or that it contains.

        :param most: how many at most
        :raises InvalidSpace: there are more
        """
        if level in self:
            return [level]
        parts: list[tuple[frozenset[int], frozenset[int], int]] = []
        for categories, number in (
            (self.project_categories, self.per_project),
            (self.categories, self.per_level),
        ):
            common = level.categories & categories
            if len(common) >= number:
                parts.append((frozenset(), common, number))
            elif level.categories <= self.categories | self.project_categories:
                rest = categories - common
                parts.append((common, rest, number - len(common)))
            else:
                return []
        number = math.prod(math.comb(len(c), n) for _, c, n in parts)
        if number > most:
            raise exception.InvalidSpace(
                f'{number} levels of the space "{self}" can meet {level}: '
                f'exclude its categories instead, with "svirt-nova space '
                f'set --exclude"'
            )
        found = (
            levels.Level(frozenset().union(*chosen))
            for chosen in itertools.product(
                *(
                    [fixed.union(c) for c in itertools.combinations(free, n)]
                    for fixed, free, n in parts
                )
            )
        )
        return sorted(
            (each for each in found if each.is_comparable(level)), key=str
        )


def _check_part(what: str, categories: frozenset[int], number: int) -> None:
    try:
        # Checks that every category exists.
        levels.Level(categories)
    except exception.InvalidLevel as error:
        raise exception.InvalidSpace(str(error)) from error
    if not 1 <= number < len(categories):
        raise exception.InvalidSpace(
            f'{what} of {number} categories cannot be chosen out of '
            f'{len(categories)}: take between 1 and one less than there are'
        )
