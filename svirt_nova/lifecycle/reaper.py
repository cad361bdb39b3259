# SPDX-License-Identifier: Apache-2.0
"""Retires levels of instances that Nova no longer knows.

Some instances are deleted without any host being told: shelved ones, failed
builds, those of hosts that never come back. One incomplete answer of Nova is
not enough to free a level that may be in use, so nothing is retired unless
every question of several passes was answered, by the Nova of the cloud that
the store belongs to, and to somebody who sees all of it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Protocol

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.lifecycle import controls
from svirt_nova.lifecycle import gone_hosts

LOG = logs.get_logger(__name__)

_STATES = frozenset((types.State.HELD, types.State.RETIRED))
"""The states of levels that do not come free by themselves."""


class Servers(Protocol):
    """What the reaper asks Nova."""

    def check(self) -> clouds.Cloud:
        """Check that Nova answers, and to an administrator.

        :returns: the cloud, with all its compute services
        :raises ComputeApiError: it does not
        """

    def exists(self, instance_uuid: str) -> bool:
        """Whether Nova knows an instance that is not deleted.

        :raises ComputeApiError: no certain answer
        """


def _absent(
    allocations: Iterable[types.Allocation], servers: Servers
) -> dict[str, types.Allocation]:
    return {
        allocation.instance_uuid: allocation
        for allocation in allocations
        if allocation.instance_uuid is not None
        and not servers.exists(allocation.instance_uuid)
    }


class _Witness:
    """Decides whether Nova's word counts, once in each pass.

    :param number: how many instances Nova must show that are claimed; 0 for
        none
    :param gone: tells which strangers have been silent for long enough
    """

    def __init__(
        self,
        allocator: base.Allocator,
        servers: Servers,
        *,
        number: int,
        gone: gone_hosts.GoneHosts,
        chance: random.Random,
    ) -> None:
        self._allocator = allocator
        self._servers = servers
        self._number = number
        self._gone = gone
        self._chance = chance

    def check(
        self,
        held: Sequence[types.Allocation],
        claimants: frozenset[str],
    ) -> clouds.KnownCloud:
        """Check that Nova is that of this store, and shows all of it.

        :param held: what Nova must show
        :param claimants: the hosts of all claims, read before Nova is asked
            for its hosts
        :returns: what the store remembers of its cloud from then on
        :raises ComputeApiError: it is not, or does not
        :raises OtherCloud: it is not
        """
        cloud = self._servers.check()
        known = self._allocator.show_cloud()
        known.check(cloud)
        if self._number:
            self._check_controls(held, cloud)
        elif not known.is_known:
            raise exception.ComputeApiError(
                f'the store does not know yet which cloud it belongs to, so '
                f'that controls are needed. If it is that of {cloud.name}, '
                f'see "svirt-nova cloud accept"'
            )
        # A cloud that has shown the controls is the store's from then on.
        known = self._allocator.meet_cloud(
            cloud,
            sorted(
                claimants - cloud.hosts - {each.name for each in known.hosts}
            ),
        )
        silent = self._gone.among(known)
        strangers = [each for each in known.strangers if each not in silent]
        if strangers:
            raise exception.ComputeApiError(
                f'the store has claims, or had, of hosts that Nova at '
                f'{cloud.name} has never listed: '
                f'{", ".join(strangers[:5])}, {len(strangers)} in all. If '
                f'they are of another cloud, its instances look as if they '
                f'were gone: give each cloud a store of its own. If they are '
                f'gone for good, drop their claims with "svirt-nova claim '
                f'purge", and then see "svirt-nova cloud accept"'
            )
        return known

    def _check_controls(
        self, held: Sequence[types.Allocation], cloud: clouds.Cloud
    ) -> None:
        up = cloud.hosts_up
        chosen = controls.choose(
            controls.of_hosts_up(held, up), self._chance, self._number
        )
        hidden = [
            each
            for each in _absent(chosen, self._servers).values()
            if self._is_claimed(each, up)
        ]
        controls.judge(len(chosen), hidden)

    def _is_claimed(
        self, control: types.Allocation, hosts: frozenset[str]
    ) -> bool:
        """Whether an instance was not deleted while Nova was asked for it.

        Its host drops the claim before Nova notes the deletion.
        """
        try:
            found = self._allocator.find(control.level)
        except exception.NotInSpace:
            return False
        return (
            found is not None
            and found.instance_uuid == control.instance_uuid
            and found.state is types.State.HELD
            and not found.hosts.isdisjoint(hosts)
        )


def _unclaimed(
    allocations: Iterable[types.Allocation], gone: Collection[str]
) -> dict[str, types.Allocation]:
    """The instances that no host claims but those that are gone."""
    return {
        each.instance_uuid: each
        for each in allocations
        if each.instance_uuid is not None and each.hosts.issubset(gone)
    }


Read = tuple[Sequence[types.Allocation], Sequence[types.Allocation]]
"""Levels that controls are drawn from, and those that may be retired."""


def look_at_all(allocator: base.Allocator) -> Read:
    """Read all levels, any of which may be retired."""
    found = allocator.list(states=_STATES)
    return found, found


def find(
    allocator: base.Allocator,
    servers: Servers,
    *,
    passes: int = 3,
    interval: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    needs_controls: bool = True,
    gone: gone_hosts.GoneHosts | None = None,
    chance: random.Random | None = None,
    number_of_controls: int = controls.NUMBER,
    look: Callable[[base.Allocator], Read] = look_at_all,
) -> list[types.Allocation]:
    """The levels that no host claims but gone ones, of gone instances.

    :param passes: how many times Nova is asked about each instance
    :param interval: seconds between two passes
    :param needs_controls: whether Nova must first show instances that hosts
        claim; without, a Nova is believed that the store knows
    :param gone: tells which hosts are gone; None for no host is
    :param chance: draws the controls
    :param number_of_controls: how many of them are drawn in each pass
    :param look: reads, in each pass, what may be retired
    :raises ComputeApiError: a pass could not be completed, or Nova does not
        show what it must
    :raises OtherCloud: the store belongs to another cloud
    :raises AllocatorError: the allocator did not answer
    """
    gone = gone or gone_hosts.GoneHosts()
    witness = _Witness(
        allocator,
        servers,
        number=number_of_controls if needs_controls else 0,
        gone=gone,
        chance=chance or random.SystemRandom(),
    )
    suspects: dict[str, types.Allocation] | None = None
    for number in range(passes):
        if number:
            sleep(interval)
        read, found = look(allocator)
        held = [each for each in read if each.state is types.State.HELD]
        unclaimed = _unclaimed(found, gone.in_store(allocator))
        if suspects is not None:
            # An instance that was claimed meanwhile, or that has another
            # level by now, lives.
            unclaimed = {
                uuid: allocation
                for uuid, allocation in unclaimed.items()
                if suspects.get(uuid) == allocation
            }
        # Hosts that Nova does not list are noted also when nothing is to be
        # retired: later, none of their instances may be claimed.
        if unclaimed or (held and not number):
            known = witness.check(
                held, frozenset(host for each in read for host in each.hosts)
            )
            # Nova may list a host again.
            unclaimed = _unclaimed(unclaimed.values(), gone.among(known))
        if not unclaimed:
            return []
        suspects = _absent(unclaimed.values(), servers)
        LOG.info(
            'Pass %d of %d: %d of %d unclaimed instances are gone',
            number + 1,
            passes,
            len(suspects),
            len(unclaimed),
        )
    return [*(suspects or {}).values()]


def retire(
    allocator: base.Allocator,
    found: Iterable[types.Allocation],
    gone: gone_hosts.GoneHosts | None = None,
) -> list[types.Allocation]:
    """Retire what :func:`find` found, and drop claims of gone hosts on it.

    If a host has claimed one of the instances since it was found, the level
    stays with the instance.

    :param gone: tells which hosts are gone; None for no host is
    :returns: what was retired
    :raises AllocatorError: the allocator did not answer
    """
    gone = gone or gone_hosts.GoneHosts()
    retired = []
    for allocation in found:
        assert allocation.instance_uuid is not None
        if not gone.drop_claims(allocator, allocation):
            continue
        allocator.retire(allocation.instance_uuid, allocation.last_claim)
        if _is_held(allocator, allocation):
            LOG.warning(
                'The level %s of instance %s stays held: a host claimed it, '
                'or dropped a claim on it, while Nova was asked. The next '
                'pass looks again',
                allocation.level,
                allocation.instance_uuid,
            )
            continue
        LOG.info(
            'Retired the level %s of instance %s, which Nova no longer knows',
            allocation.level,
            allocation.instance_uuid,
        )
        retired.append(allocation)
    return retired


def _is_held(allocator: base.Allocator, before: types.Allocation) -> bool:
    # Operators may ask for levels, and not for instances.
    now = allocator.find(before.level)
    return (
        now is not None
        and now.instance_uuid == before.instance_uuid
        and now.state is types.State.HELD
    )
