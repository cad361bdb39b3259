# SPDX-License-Identifier: Apache-2.0
"""Whether the allocator, the hosts and Nova agree: one judgement for all.

:func:`audit` compares what the allocator has allocated with what hosts were
seen to have and with what Nova says, and names each promise that is broken.
It is pure: whoever looks (a reconciliation, an operator's command, a test)
says what was seen.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping

from svirt_nova.allocator import types
from svirt_nova.lifecycle import views
from svirt_nova.mcs import levels

# Callers take what they hand to audit() from its module.
Guest = views.Guest
HostView = views.HostView
InstanceView = views.InstanceView
Sight = views.Sight


class Kind(enum.StrEnum):
    """Which promise is broken."""

    LEVELS_MEET = 'levels meet'
    """Of the levels of two holders, one contains the other."""

    LEVEL_CHANGED = 'level changed'
    """An instance has another level than it had before."""

    UNCONFINED = 'unconfined'
    """A guest runs without an SELinux label on a host that confines."""

    DRAWN_LEVEL = 'drawn level'
    """A guest runs at a level that libvirt drew."""

    UNKNOWN_LEVEL = 'unknown level'
    """Something carries the level of an instance that holds none."""

    OTHER_LEVEL = 'other level'
    """Something of an instance carries another level than its own."""

    UNCLAIMED = 'unclaimed'
    """A host has something of an instance and does not claim its level."""

    EARLY_RELEASE = 'early release'
    """A level is free, or about to be, though somebody still needs it."""

    STALE_CLAIM = 'stale claim'
    """A host claims an instance that it has nothing of."""

    LEAK = 'leak'
    """A level is held though nothing of its instance is left anywhere."""


AT_REST = frozenset([Kind.STALE_CLAIM, Kind.LEAK])
"""What may be so for a while, until reconciliation and reaper have run."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A promise that is broken.

    :param instance_uuid: whose level it is about; None for one that is
        reserved
    :param host: the host where it was seen; None where no host matters
    :param text: what was found, for people
    """

    kind: Kind
    instance_uuid: str | None
    host: str | None
    text: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.text}'


def audit(
    allocations: Iterable[types.Allocation],
    hosts: Iterable[HostView],
    instances: Mapping[str, InstanceView] | None = None,
    *,
    is_at_rest: bool = False,
) -> list[Violation]:
    """Name every promise that is broken.

    :param allocations: all levels that are not free
    :param hosts: what was seen; nothing is concluded from hosts that were
        not looked at
    :param instances: what Nova says, by UUID: an instance that is missing is
        gone; None where Nova was not asked
    :param is_at_rest: whether reconciliation and reaper have run since the
        last operation; without it, kinds :data:`AT_REST` are not judged
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
        *itertools.chain.from_iterable(_on_host(each, held) for each in seen),
    ]
    if instances is not None:
        for uuid, instance in instances.items():
            found += _of_instance(uuid, instance, held.get(uuid), seen)
    if is_at_rest:
        for allocation in held.values():
            found += _left_over(allocation, seen, instances)
    return found


def _holders(
    allocations: Iterable[types.Allocation],
    held: Mapping[str, types.Allocation],
    hosts: Iterable[HostView],
) -> dict[frozenset[int], dict[str, str | None]]:
    """Who has a level, by its categories: a name for people, and the UUID.

    What carries the part that a project shares is meant for several
    instances, and is left out.
    """
    holders: dict[frozenset[int], dict[str, str | None]] = (
        collections.defaultdict(dict)
    )
    for each in allocations:
        name = f'instance {each.instance_uuid}'
        if each.instance_uuid is None:
            name = f'what {each.level} is reserved for'
        holders[each.level.categories][name] = each.instance_uuid
    for sight in itertools.chain.from_iterable(each.sights for each in hosts):
        uuid = sight.instance_uuid
        if uuid not in held or sight.level != held[uuid].project_level:
            holders[sight.level.categories][f'instance {uuid}'] = uuid
    return holders


def _levels_that_meet(
    holders: Mapping[frozenset[int], Mapping[str, str | None]],
) -> Iterator[Violation]:
    """Find levels of two holders of which one contains the other."""
    for categories, names in holders.items():
        level = levels.Level(categories)
        for one, other in itertools.combinations(sorted(names), 2):
            yield Violation(
                Kind.LEVELS_MEET,
                names[one],
                None,
                f'{one} and {other} both have the level {level}',
            )
    for upper, lower in levels.dominations(map(levels.Level, holders)):
        for one, other in itertools.product(
            holders[upper.categories], holders[lower.categories]
        ):
            if one != other:
                yield Violation(
                    Kind.LEVELS_MEET,
                    holders[upper.categories][one],
                    None,
                    f'{one} at {upper} can open the files of {other} at '
                    f'{lower}',
                )


def _on_host(
    host: HostView, held: Mapping[str, types.Allocation]
) -> Iterator[Violation]:
    """Judge what one host has."""
    for guest in host.guests:
        uuid = guest.instance_uuid
        if host.confines and not guest.is_labelled:
            yield Violation(
                Kind.UNCONFINED,
                uuid,
                host.name,
                f'instance {uuid} runs unconfined on {host.name}',
            )
        elif host.confines and not guest.is_static:
            yield Violation(
                Kind.DRAWN_LEVEL,
                uuid,
                host.name,
                f'instance {uuid} runs on {host.name} at a level that '
                f'libvirt drew',
            )
    for sight in host.sights:
        yield from _at_level(host, sight, held.get(sight.instance_uuid))
    for uuid in sorted(host.present):
        allocation = held.get(uuid)
        if allocation is not None and host.name not in allocation.hosts:
            yield Violation(
                Kind.UNCLAIMED,
                uuid,
                host.name,
                f'{host.name} has something of instance {uuid} and does not '
                f'claim its level {allocation.level}',
            )


def _at_level(
    host: HostView, sight: Sight, allocation: types.Allocation | None
) -> Iterator[Violation]:
    """Judge one thing that carries a level."""
    uuid = sight.instance_uuid
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
                f'{name} has something of instance {uuid}, whose level is '
                f'free',
            )
    if instance.is_gone:
        return
    if instance.levels and (
        allocation is None or allocation.state is not types.State.HELD
    ):
        state = 'free' if allocation is None else allocation.state.value
        yield Violation(
            Kind.EARLY_RELEASE,
            uuid,
            None,
            f'Nova has instance {uuid}, and its level is {state}',
        )
    seen = set(instance.levels)
    if allocation is not None and seen:
        seen.add(allocation.level)
    if len(seen) > 1:
        named = ', '.join(sorted(map(str, seen)))
        yield Violation(
            Kind.LEVEL_CHANGED,
            uuid,
            None,
            f'instance {uuid} has had the levels {named}',
        )


def _left_over(
    allocation: types.Allocation,
    hosts: Iterable[HostView],
    instances: Mapping[str, InstanceView] | None,
) -> Iterator[Violation]:
    """Judge claims and levels that nobody seems to need."""
    uuid = allocation.instance_uuid
    assert uuid is not None
    instance = InstanceView(is_gone=instances is not None)
    if instances is not None:
        instance = instances.get(uuid, instance)
    if instance.is_busy:
        return
    having = set()
    for host in hosts:
        if uuid in host.present:
            having.add(host.name)
        elif host.name in allocation.hosts and (
            # The host that the instance lives on may start it at any time.
            instance.is_gone or host.name not in instance.hosts
        ):
            yield Violation(
                Kind.STALE_CLAIM,
                uuid,
                host.name,
                f'{host.name} claims instance {uuid} and has nothing of it',
            )
    if (
        instance.is_gone
        and not having
        and not allocation.hosts
        and allocation.state is types.State.HELD
    ):
        yield Violation(
            Kind.LEAK,
            uuid,
            None,
            f'the level {allocation.level} of instance {uuid} is held '
            f'though nothing of the instance is left',
        )
