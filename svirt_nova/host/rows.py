# SPDX-License-Identifier: Apache-2.0
"""Rows of a check of a host: what was looked at, and what is wrong."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from svirt_nova.host import policy


class Result(enum.StrEnum):
    """How a check ended."""

    OK = 'ok'
    """Nothing is wrong."""

    UNKNOWN = 'unknown'
    """It could not be looked at."""

    WARNING = 'warning'
    """It deserves a look."""

    ERROR = 'error'
    """Guests are not kept apart, or would not be, or cannot start."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One check.

    :param check: what was looked at
    :param problems: what is wrong, each with what to do
    :param notes: what was found to be right, or why nothing could be found
    :param is_known: whether it could be looked at
    :param instance: the UUID of an instance that it is about
    """

    check: str
    problems: tuple[policy.Problem, ...] = ()
    notes: tuple[str, ...] = ()
    is_known: bool = True
    instance: str | None = None

    def result(self, is_enforcing: bool) -> Result:
        """How the check ended.

        :param is_enforcing: whether guests must not run without the wall;
            where they may, nothing is more than a warning
        """
        if any(each.is_fatal for each in self.problems) and is_enforcing:
            return Result.ERROR
        if self.problems:
            return Result.WARNING
        return Result.OK if self.is_known else Result.UNKNOWN

    @property
    def details(self) -> list[str]:
        """What is wrong, and what was found besides."""
        return [*map(str, self.problems), *self.notes]


def right(check: str, *notes: str) -> Row:
    """The row of a check that found nothing wrong."""
    return Row(check, notes=notes)


def wrong(check: str, error: object, *, is_fatal: bool = True) -> Row:
    """The row of a check that found one thing wrong.

    :param error: what is wrong; its text is meant for people
    """
    return Row(check, (policy.Problem(str(error), is_fatal),))


def unknown(check: str, reason: object) -> Row:
    """The row of a check that could not be made.

    :param reason: why; its text is meant for people
    """
    return Row(check, notes=(str(reason),), is_known=False)


def of_problems(
    check: str, problems: Iterable[policy.Problem], *notes: str
) -> Row:
    """The row of a check that may have found several things wrong."""
    return Row(check, tuple(dict.fromkeys(problems)), notes)
