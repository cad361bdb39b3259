# SPDX-License-Identifier: Apache-2.0
"""Instances that Nova must show before it is believed that others are gone.

A wrong endpoint, a copy of Nova's database, a cell that is not mapped, or
credentials that do not see all projects deny instances in Nova's own words.
Each also denies instances that hosts claim, which is how it is noticed.

Only claims of hosts that are up are controls: such a host compares its
claims with what it has every ``reconcile_interval``, so that they are true.
Those of a host that never comes back stay, though its instances may have been
deleted since.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Collection
from collections.abc import Iterable

from svirt_nova import exception
from svirt_nova.allocator import types

NUMBER = 200
"""How many controls Nova is asked for in a pass; all, if there are fewer.

If a twentieth of all instances is hidden, a pass does not notice in 2.6 % of
all cases (4 or fewer of 200), and as each of three passes draws anew, a run
does not in one of 54,000; at a tenth, one pass of 120,000.
"""

NEWEST = 20
"""How many of them are the newest: an old copy of a database has all but
these. The others are drawn at random."""

TOLERANCE = 50
"""One control of so many may be missing.

What is left of a deleted instance on a host (a file that could not be
removed, say) keeps its claim. With fewer controls than this, none may be.
"""

_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def of_hosts_up(
    held: Iterable[types.Allocation], hosts_up: Collection[str]
) -> list[types.Allocation]:
    """What hosts that are up claim.

    :raises ComputeApiError: there is nothing
    """
    claimed = [each for each in held if each.hosts]
    found = [each for each in claimed if not each.hosts.isdisjoint(hosts_up)]
    if found:
        return found
    if claimed:
        raise exception.ComputeApiError(
            f'nothing tells whether this is the Nova of the hosts that use '
            f'the store: {len(claimed)} instances are claimed, such as '
            f'{claimed[0].instance_uuid} by '
            f'{", ".join(sorted(claimed[0].hosts))}, but by no host that Nova '
            f'lists as up. Check the endpoint and the region in '
            f'[svirt_nova_api], and that computes run'
        )
    raise exception.ComputeApiError(
        'nothing tells whether this is the Nova of the hosts that use the '
        'store: no host claims an instance that Nova could show. Levels are '
        'retired as soon as one does. If you know that the instances are '
        'gone, see "svirt-nova reap --without-controls"'
    )


def choose(
    claimed: Collection[types.Allocation],
    chance: random.Random,
    number: int = NUMBER,
) -> list[types.Allocation]:
    """The newest, and a random sample of the others.

    :param chance: draws the sample
    :param number: how many are chosen at most; a tenth of them are the newest
    """
    ordered = sorted(claimed, key=lambda each: each.created_at or _LONG_AGO)
    newest = number * NEWEST // NUMBER
    old, new = ordered[:-newest], ordered[-newest:]
    return [*chance.sample(old, min(number - newest, len(old))), *new]


def judge(number: int, hidden: Collection[types.Allocation]) -> None:
    """Check that Nova has shown the controls.

    :param number: how many there were
    :param hidden: those of which Nova says that they are not there
    :raises ComputeApiError: too many were hidden
    """
    if len(hidden) <= number // TOLERANCE:
        return
    first = next(iter(hidden))
    raise exception.ComputeApiError(
        f'Nova does not show {len(hidden)} of {number} instances that hosts '
        f'claim that are up, such as {first.instance_uuid} on '
        f'{", ".join(sorted(first.hosts))}. Either the credentials, the '
        f'endpoint or the region in [svirt_nova_api] are not those of an '
        f'administrator of this cloud, or Nova has deleted the instances and '
        f'something of them is left on these hosts: their logs say what'
    )
