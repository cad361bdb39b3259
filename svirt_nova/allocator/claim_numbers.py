# SPDX-License-Identifier: Apache-2.0
"""The numbers of claims: what a call may still do that comes late.

Each claim has a number, and all numbers of the claims on one instance grow,
whichever host makes them (Lamport, "Time, Clocks, and the Ordering of Events
in a Distributed System", 1978). A claim names a number that is higher than
all before it, and a drop names the highest number that it drops. A call that
comes late, twice or out of order names a number that has been passed, and
changes nothing.

The numbers are the microseconds of a clock where nothing is known that is
higher. They grow on then even if a store forgets them: when the level of an
instance came free, or when the store was restored from a backup.
"""

from __future__ import annotations

import time

from svirt_nova import exception

UNNUMBERED = 0
"""The number of a claim that was made by a release without numbers."""

HIGHEST = 2**62
"""The highest number that a caller may choose for a claim.

Databases have room for twice as many, so that an allocator can always choose
one that is higher.
"""

_LAST = 2 * HIGHEST - 1


def check(number: int | None) -> int | None:
    """Check the number that a caller chooses for a claim.

    :param number: None if it chooses none
    :raises ValueError: it is out of bounds
    """
    return _check(number, HIGHEST)


def check_dropped(number: int | None) -> int | None:
    """Check the number that a caller drops claims up to.

    :param number: None if it names none
    :raises ValueError: it is out of bounds
    """
    return _check(number, _LAST)


def _check(number: int | None, highest: int) -> int | None:
    if number is not None and not UNNUMBERED <= number <= highest:
        raise ValueError(
            f'{number} is not the number of a claim: {UNNUMBERED} to {highest}'
        )
    return number


def following(latest: int) -> int:
    """A number that is higher than another.

    :param latest: the highest number that is known
    """
    return max(latest + 1, time.time_ns() // 1000)


def of_claim(number: int | None, latest: int, instance: str) -> int:
    """The number that a new claim gets.

    :param number: the number that the caller names; None lets it be chosen
    :param latest: the highest number of the instance's claims
    :param instance: the UUID of the instance, for the error
    :raises ClaimOutdated: the number is not higher
    """
    if number is None:
        return following(latest)
    if number <= latest:
        raise exception.ClaimOutdated(
            f'the claim {number} on instance {instance} comes late: there '
            f'has been the claim {latest} on it since'
        )
    return number


def highest_dropped(number: int | None) -> int:
    """Up to which number a drop drops claims.

    :param number: what the caller names; None drops whatever there is
    """
    return _LAST if number is None else number


def passed(number: int | None) -> int:
    """The number that later claims must pass once a drop has been made.

    :param number: what the caller of the drop names, if it names one
    """
    return min(number or UNNUMBERED, HIGHEST)
