# SPDX-License-Identifier: Apache-2.0
"""MCS levels: parse, canonicalise and compare them.

The grammar and the canonical form are those of the kernel
(``mls_context_to_sid`` and ``mls_sid_to_context`` in
``security/selinux/ss/mls.c``) under an MCS policy, which knows the one
sensitivity ``s0`` and the categories ``c0`` to ``c1023``.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Iterable
from collections.abc import Iterator

from svirt_nova import exception

CATEGORY_LIMIT = 1024
"""Categories in an MCS policy: ``mcs_num_cats`` of the reference policy."""

_CATEGORY = re.compile(r'c(0|[1-9][0-9]{0,3})')
_SENSITIVITY = 's0'


def _category(text: str, whole: str) -> int:
    match = _CATEGORY.fullmatch(text)
    if match is None:
        raise exception.InvalidLevel(
            f'{whole!r}: {text!r} is not a category (c0 to '
            f'c{CATEGORY_LIMIT - 1}, no leading zeros)'
        )
    number = int(match[1])
    if number >= CATEGORY_LIMIT:
        raise exception.InvalidLevel(
            f'{whole!r}: there is no category c{number}; the last one is '
            f'c{CATEGORY_LIMIT - 1}'
        )
    return number


def parse_categories(text: str) -> frozenset[int]:
    """Read a category list such as ``c1,c5.c9``.

    :raises InvalidLevel: the kernel would not accept the list
    """
    categories: set[int] = set()
    for part in text.split(','):
        first, dot, last = part.partition('.')
        low = _category(first, text)
        high = _category(last, text) if dot else low
        if dot and high <= low:
            raise exception.InvalidLevel(
                f'{text!r}: the run {part!r} must end above its start'
            )
        categories.update(range(low, high + 1))
    return frozenset(categories)


def _runs(categories: Iterable[int]) -> Iterator[tuple[int, int]]:
    start = previous = -1
    for number in sorted(categories):
        if start >= 0 and number != previous + 1:
            yield start, previous
            start = number
        elif start < 0:
            start = number
        previous = number
    if start >= 0:
        yield start, previous


def format_categories(categories: Iterable[int]) -> str:
    """Write a category set as the kernel does.

    Three and more neighbours become a run (``c7.c9``); two stay apart
    (``c7,c8``).
    """
    parts = []
    for first, last in _runs(categories):
        text = f'c{first}'
        if last > first:
            text += f'{"." if last > first + 1 else ","}c{last}'
        parts.append(text)
    return ','.join(parts)


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """An MCS level: the sensitivity ``s0`` and a set of categories.

    Equality is that of the category sets, so ``s0:c2,c1`` equals
    ``s0:c1,c2``; comparing the texts would not do, because libvirt keeps
    them as they were given and the kernel rewrites them.
    """

    categories: frozenset[int]

    def __post_init__(self) -> None:
        for number in self.categories:
            if not 0 <= number < CATEGORY_LIMIT:
                raise exception.InvalidLevel(
                    f'there is no category c{number}; the categories are '
                    f'c0 to c{CATEGORY_LIMIT - 1}'
                )

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read a level such as ``s0:c12,c900``.

        :raises InvalidLevel: the kernel would not accept the text
        """
        sensitivity, colon, categories = text.partition(':')
        if sensitivity != _SENSITIVITY:
            raise exception.InvalidLevel(
                f'{text!r} is not a level: an MCS policy has the one '
                f'sensitivity {_SENSITIVITY}, as in s0:c12,c900'
            )
        if not colon:
            return cls(frozenset())
        return cls(parse_categories(categories))

    def __str__(self) -> str:
        if not self.categories:
            return _SENSITIVITY
        return f'{_SENSITIVITY}:{format_categories(self.categories)}'

    def dominates(self, other: Level) -> bool:
        """Whether a process of this level may use a file of the other.

        The rule is the reference policy's ``mlsconstrain file``: the
        process's high level must dominate that of the file.
        """
        return self.categories >= other.categories

    def is_comparable(self, other: Level) -> bool:
        """Whether one of the two levels opens what carries the other."""
        return self.dominates(other) or other.dominates(self)


def dominations(found: Iterable[Level]) -> Iterator[tuple[Level, Level]]:
    """Find the pairs of different levels of which the first dominates.

    The subsets of a level are looked up among the others where that is less
    work than to compare it with each of them: the levels of a cloud are
    many and have few categories, but a single one may have all 1024.
    """
    by_size: dict[int, set[frozenset[int]]] = collections.defaultdict(set)
    for level in found:
        by_size[len(level.categories)].add(level.categories)
    for smaller, larger in itertools.combinations(sorted(by_size), 2):
        others = by_size[smaller]
        for categories in by_size[larger]:
            if math.comb(larger, smaller) < len(others):
                subsets = itertools.combinations(categories, smaller)
                inside = others.intersection(map(frozenset, subsets))
            else:
                inside = set(filter(categories.issuperset, others))
            for subset in inside:
                yield Level(categories), Level(subset)


@dataclasses.dataclass(frozen=True, slots=True)
class LevelRange:
    """A range of levels, as the last part of a context has it."""

    low: Level
    high: Level

    @classmethod
    @functools.lru_cache(maxsize=1024)
    def parse(cls, text: str) -> LevelRange:
        """Read ``s0:c1,c2`` or ``s0-s0:c0.c1023``.

        :raises InvalidLevel: not a range, or its high end does not
            dominate its low end
        """
        first, dash, last = text.partition('-')
        low = Level.parse(first)
        high = Level.parse(last) if dash else low
        if not high.dominates(low):
            raise exception.InvalidLevel(
                f'{text!r}: the high level must dominate the low one'
            )
        return cls(low, high)

    def __str__(self) -> str:
        if self.low == self.high:
            return str(self.low)
        return f'{self.low}-{self.high}'
