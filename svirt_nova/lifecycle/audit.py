# SPDX-License-Identifier: Apache-2.0
"""Whether the allocator, the hosts and Nova agree: one judgement for all.

:func:`audit` compares what the allocator has allocated with what hosts were
seen to have and with what Nova says, and names each promise that is broken.
It is pure: whoever looks (a reconciliation, an operator's command, a test)
says what was seen.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

from svirt_nova.allocator import types
from svirt_nova.lifecycle import views
from svirt_nova.lifecycle import violations
from svirt_nova.mcs import levels

# Callers find what audit() takes and gives in its module.
Guest = views.Guest
HostView = views.HostView
InstanceView = views.InstanceView
Sight = views.Sight
Kind = violations.Kind
Violation = violations.Violation
AT_REST = violations.AT_REST
SETTLED = violations.SETTLED


def audit(
    allocations: Iterable[types.Allocation],
    hosts: Iterable[HostView],
    instances: Mapping[str, InstanceView] | None = None,
    *,
    is_settled: bool = False,
    is_at_rest: bool = False,
) -> list[Violation]:
    """Name every promise that is broken.

    :param allocations: all levels that are not free
    :param hosts: what was seen; nothing is concluded from hosts that were
        not looked at
    :param instances: what Nova says, by UUID: an instance that is missing is
        gone; None where Nova was not asked
    :param is_settled: whether Nova and the hosts have had the time to clean
        up after the last operation. Then an instance is where Nova has it
        and nowhere else, and no other host claims a level that is held,
        whether that host was looked at or not. It is judged by Nova's word,
        and not where Nova was not asked.
    :param is_at_rest: whether reconciliation and reaper have run since the
        last operation

    Without either of the two, their kinds, :data:`SETTLED` and
    :data:`AT_REST`, are not judged.
    """
    known = [*allocations]
    seen = [*hosts]
    held = {
        each.instance_uuid: each
        for each in known
        if each.instance_uuid is not None
    }
    found = [
        *_levels_that_meet(_holders(known, held, seen)),
        *_levels_without_categories(held),
        *itertools.chain.from_iterable(_on_host(each, held) for each in seen),
    ]
    if instances is not None:
        for uuid, instance in instances.items():
            found += _of_instance(uuid, instance, held.get(uuid), seen)
        if is_settled:
            found += _left_over(seen, instances)
    for allocation in held.values():
        found += _not_given_back(
            allocation,
            seen,
            instances,
            is_settled=is_settled and instances is not None,
            is_at_rest=is_at_rest,
        )
    return found


def _claimed(allocation: types.Allocation) -> str:
    """Name the hosts that claim an instance."""
    return f'claimed by {", ".join(sorted(allocation.hosts)) or "no host"}'


def _holders(
    allocations: Iterable[types.Allocation],
    held: Mapping[str, types.Allocation],
    hosts: Iterable[HostView],
) -> dict[levels.Level, dict[str, str | None]]:
    """Who has a level: a name for people, and the UUID of an instance.

    What carries the part that a project shares is meant for several
    instances, and is left out.
    """
    holders: dict[levels.Level, dict[str, str | None]] = (
        collections.defaultdict(dict)
    )
    for each in allocations:
        name = f'instance {each.instance_uuid}'
        if each.instance_uuid is None:
            name = f'what {each.level} is reserved for'
        holders[each.level][name] = each.instance_uuid
    sights = ((host, each) for host in hosts for each in host.sights)
    for host, sight in sights:
        uuid = sight.instance_uuid
        if uuid is None:
            holders[sight.level][f'{sight.what} on {host.name}'] = None
        elif uuid not in held or sight.level != held[uuid].project_level:
            holders[sight.level][f'instance {uuid}'] = uuid
    return holders


def _levels_that_meet(
    holders: Mapping[levels.Level, Mapping[str, str | None]],
) -> Iterator[Violation]:
    """Find levels of two holders of which one contains the other.

    One of the two is an instance: what is none may have what is reserved.
    """
    for level, names in holders.items():
        for one, other in itertools.combinations(sorted(names), 2):
            if uuid := names[one] or names[other]:
                yield Violation(
                    Kind.LEVELS_MEET,
                    uuid,
                    None,
                    f'{one} and {other} both have the level {level}: each can '
                    f'open the files of the other',
                )
    for upper, lower in levels.dominations(holders):
        for one, other in itertools.product(holders[upper], holders[lower]):
            uuid = holders[upper][one] or holders[lower][other]
            if uuid and one != other:
                yield Violation(
                    Kind.LEVELS_MEET,
                    uuid,
                    None,
                    f'{one} at {upper} can open the files of {other} at '
                    f'{lower}',
                )


def _levels_without_categories(
    held: Mapping[str, types.Allocation],
) -> Iterator[Violation]:
    for uuid, allocation in held.items():
        if not allocation.level.categories:
            yield Violation(
                Kind.NO_CATEGORY,
                uuid,
                None,
                f'the level {allocation.level} of instance {uuid}, '
                f'{_claimed(allocation)}, has no category: every guest can '
                f'open what carries it',
            )


def _on_host(
    host: HostView, held: Mapping[str, types.Allocation]
) -> Iterator[Violation]:
    """Judge what one host has."""
    for guest in host.guests:
        yield from _started(host, guest)
    for sight in host.sights:
        if sight.instance_uuid is not None:
            yield from _at_level(host, sight.instance_uuid, sight, held)
    for uuid in sorted(host.present):
        text = (
            f'{host.name} has {host.describe(uuid)} of instance {uuid} and '
            f'does not claim '
        )
        allocation = held.get(uuid)
        if allocation is None:
            if not host.requires_claims:
                continue
            text += 'it: the instance holds no level'
        elif host.name in allocation.hosts:
            continue
        else:
            text += f'its level {allocation.level}, {_claimed(allocation)}'
        yield Violation(Kind.UNCLAIMED, uuid, host.name, text)


def _started(host: HostView, guest: Guest) -> Iterator[Violation]:
    """Judge how a guest was started."""
    uuid = guest.instance_uuid
    if not host.confines:
        return
    if not guest.is_labelled:
        text = (
            f'libvirt on {host.name} runs instance {uuid} without an SELinux '
            f'label'
        )
        yield Violation(Kind.UNCONFINED, uuid, host.name, text)
    elif not guest.is_static:
        text = (
            f'instance {uuid} runs on {host.name} at a level that libvirt drew'
        )
        yield Violation(Kind.DRAWN_LEVEL, uuid, host.name, text)
    elif guest.omitted:
        text = f'instance {uuid} runs on {host.name}, and {guest.omitted}'
        yield Violation(Kind.UNCHECKED_START, uuid, host.name, text)


def _at_level(
    host: HostView,
    uuid: str,
    sight: Sight,
    held: Mapping[str, types.Allocation],
) -> Iterator[Violation]:
    """Judge one thing of an instance that carries a level."""
    allocation = held.get(uuid)
    where = f'{sight.what} of instance {uuid} on {host.name}'
    if allocation is None:
        yield Violation(
            Kind.UNKNOWN_LEVEL,
            uuid,
            host.name,
            f'{where} is at {sight.level}, and the instance holds no level: '
            f'another one may get this',
        )
        return
    if sight.level not in (allocation.level, allocation.project_level):
        yield Violation(
            Kind.OTHER_LEVEL,
            uuid,
            host.name,
            f'{where} is at {sight.level}, and the level of the instance is '
            f'{allocation.level}',
        )
    if allocation.state is types.State.COOLING:
        yield Violation(
            Kind.EARLY_RELEASE,
            uuid,
            host.name,
            f'the level {allocation.level} is cooling while {where} has it',
        )


def _of_instance(
    uuid: str,
    instance: InstanceView,
    allocation: types.Allocation | None,
    hosts: Iterable[HostView],
) -> Iterator[Violation]:
    """Judge an instance by what Nova says of it."""
    present = [host.name for host in hosts if uuid in host.present]
    if instance.levels and allocation is None:
        for name in present:
            yield Violation(
                Kind.EARLY_RELEASE,
                uuid,
                name,
                f'{name} has something of instance {uuid}, whose level '
                f'{_named(instance.levels)} is free',
            )
    seen = set(instance.levels)
    now = ''
    if not instance.is_gone and seen:
        state = 'free'
        if allocation is not None:
            # A late call may give an instance that is gone another level.
            seen.add(allocation.level)
            now = f' and has {allocation.level} now'
            state = allocation.state.value
        if state != types.State.HELD.value:
            text = (
                f'Nova has instance {uuid}, and its level '
                f'{_named(instance.levels)} is {state}'
            )
            yield Violation(Kind.EARLY_RELEASE, uuid, None, text)
    if len(seen) > 1:
        text = (
            f'instance {uuid} has been seen at {_named(instance.levels)}{now}'
        )
        yield Violation(Kind.LEVEL_CHANGED, uuid, None, text)


def _named(found: Iterable[levels.Level]) -> str:
    return ' and '.join(sorted(map(str, found)))


def _left_over(
    hosts: Iterable[HostView], instances: Mapping[str, InstanceView]
) -> Iterator[Violation]:
    """Judge what hosts have of instances that Nova does not have there."""
    for host in hosts:
        for uuid in sorted(host.present):
            instance = instances.get(uuid, InstanceView(is_gone=True))
            is_there = not instance.is_gone and host.name in instance.hosts
            if not is_there and not instance.is_busy:
                yield Violation(
                    Kind.LEFTOVER,
                    uuid,
                    host.name,
                    f'{host.name} still has {host.describe(uuid)} of '
                    f'instance {uuid}, which {instance.describe()}',
                )


def _not_given_back(
    allocation: types.Allocation,
    hosts: Iterable[HostView],
    instances: Mapping[str, InstanceView] | None,
    *,
    is_settled: bool,
    is_at_rest: bool,
) -> Iterator[Violation]:
    """Judge claims and levels that nobody seems to need."""
    uuid = allocation.instance_uuid
    assert uuid is not None
    instance = InstanceView(is_gone=instances is not None)
    if instances is not None:
        instance = instances.get(uuid, instance)
    if instance.is_busy:
        return
    is_held = allocation.state is types.State.HELD
    empty = {host.name for host in hosts if uuid not in host.present}
    having = {host.name for host in hosts if uuid in host.present}
    # The host that the instance lives on may start it at any time.
    home = frozenset[str]() if instance.is_gone else instance.hosts
    for name in sorted(allocation.hosts - having - home):
        if (is_at_rest and name in empty) or (is_settled and is_held):
            yield Violation(
                Kind.STALE_CLAIM,
                uuid,
                name,
                f'{name} claims instance {uuid}, '
                + (
                    'and has nothing of it'
                    if name in empty
                    else f'which {instance.describe()}'
                ),
            )
    if (
        instance.is_gone
        and is_held
        and not having
        and (is_settled or (is_at_rest and not allocation.hosts))
    ):
        yield Violation(
            Kind.LEAK,
            uuid,
            None,
            f'the level {allocation.level} of instance {uuid}, '
            f'{_claimed(allocation)}, is still held though the instance is '
            f'deleted and nothing of it is left',
        )
