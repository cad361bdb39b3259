# SPDX-License-Identifier: Apache-2.0
"""Which cloud a store belongs to.

Nova's API names neither its region nor its cells. What it shows of both are
its compute services. The UUID of one is drawn when nova-compute first starts
on a host, is kept in the database of its cell through upgrades
(``nova.objects.Service``), and no other Nova has it. So a cloud is known by
the UUIDs of its compute services: hosts come and go, but not all between two
looks.

A copy of Nova's databases, as for a test of an upgrade, has the same UUIDs.
Its services are down, because the hosts report to the original: those that
are down say nothing about which cloud it is.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable

from svirt_nova import exception

HEARD = datetime.timedelta(hours=1)
"""For how long a host that calls is not noted again."""


@dataclasses.dataclass(frozen=True, slots=True)
class ComputeService:
    """A compute service, as Nova's API shows it.

    :param host: the host's name in Nova, which claims have, too
    :param uuid: the service's
    :param is_up: whether its host has reported to this Nova of late
    """

    host: str
    uuid: str
    is_up: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """An instance, as Nova's API shows it to an administrator.

    :param project_id: its project; None where Nova does not say
    :param host: that it is on; None for none, or where Nova does not say
    :param name: that its owner gave it; None where Nova does not say
    """

    project_id: str | None
    host: str | None
    name: str | None = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Cloud:
    """A cloud, as Nova's API shows it.

    :param name: where it was asked, for people
    """

    name: str
    services: tuple[ComputeService, ...]

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts of all compute services."""
        return frozenset(each.host for each in self.services)

    @property
    def hosts_up(self) -> frozenset[str]:
        """The hosts that have reported to this Nova of late."""
        return frozenset(each.host for each in self.services if each.is_up)


@dataclasses.dataclass(frozen=True, slots=True)
class KnownHost:
    """A host that a store remembers.

    :param name: as Nova and claims have it
    :param service_uuid: of its compute service; None for a stranger, which
        has claimed an instance and was never listed by the store's cloud
    :param missing_since: since when it was neither listed nor heard of, in
        UTC, to an hour; None while Nova lists it
    """

    name: str
    service_uuid: str | None
    missing_since: datetime.datetime | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class KnownCloud:
    """The cloud that a store belongs to, as the store remembers it.

    :param name: where it was asked, for people; empty for none yet
    :param hosts: all that it has listed, and strangers; sorted by name
    :param asked_at: when the store was asked, by the clock that
        ``missing_since`` was read from; None where an older service answers
    """

    name: str = ''
    hosts: tuple[KnownHost, ...] = ()
    asked_at: datetime.datetime | None = dataclasses.field(
        default=None, compare=False
    )

    @property
    def uuids(self) -> frozenset[str]:
        """The UUIDs of its compute services; empty when none is known."""
        return frozenset(
            each.service_uuid for each in self.hosts if each.service_uuid
        )

    @property
    def is_known(self) -> bool:
        """Whether the store belongs to a cloud yet."""
        return bool(self.uuids)

    @property
    def strangers(self) -> tuple[str, ...]:
        """The hosts that claim, or claimed, and that it never listed."""
        return tuple(
            each.name for each in self.hosts if each.service_uuid is None
        )

    @property
    def listed(self) -> frozenset[str]:
        """The hosts that Nova lists."""
        return frozenset(
            each.name
            for each in self.hosts
            if each.service_uuid and each.missing_since is None
        )

    def hear(self, host: str, now: datetime.datetime) -> KnownCloud:
        """What is remembered once a host has called.

        :param now: in UTC
        """
        return dataclasses.replace(
            self,
            hosts=tuple(
                dataclasses.replace(each, missing_since=now)
                if each.name == host
                and each.missing_since is not None
                and each.missing_since <= now - HEARD
                else each
                for each in self.hosts
            ),
        )

    def check(self, cloud: Cloud) -> None:
        """Check that the cloud that answered is this one.

        :raises OtherCloud: this one is known, and none of its compute
            services is among those that are up
        """
        up = [each for each in cloud.services if each.is_up]
        if not self.is_known or not self.uuids.isdisjoint(
            each.uuid for each in up
        ):
            return
        mine = next(each for each in self.hosts if each.service_uuid)
        theirs = (
            f'which has {len(up)} that are up, such as that of {up[0].host} '
            f'({up[0].uuid})'
            if up
            else 'of whose compute services none is up'
        )
        raise exception.OtherCloud(
            f'the store belongs to the cloud that answered at {self.name}, '
            f'with {len(self.uuids)} compute services, such as that of '
            f'{mine.name} ({mine.service_uuid}); none of them is up in the '
            f'cloud at {cloud.name}, {theirs}. Correct the endpoint and '
            f'the region in [svirt_nova_api], or see "svirt-nova cloud accept"'
        )

    def meet(
        self,
        cloud: Cloud,
        strangers: Iterable[str],
        now: datetime.datetime,
        *,
        replaces: bool = False,
    ) -> KnownCloud:
        """What is remembered once a cloud has answered.

        :param strangers: hosts that claim and that it does not list
        :param now: in UTC
        :param replaces: whether this one is forgotten
        :raises OtherCloud: see :meth:`check`
        """
        if replaces:
            return KnownCloud().meet(cloud, strangers, now)
        self.check(cloud)
        known = {each.name: each for each in self.hosts}
        for name, host in known.items():
            if host.service_uuid and host.missing_since is None:
                known[name] = dataclasses.replace(host, missing_since=now)
        for name in {*strangers, *self.strangers}:
            host = known.get(name) or KnownHost(name, None)
            # A former release did not note since when.
            since = host.missing_since or now
            known[name] = dataclasses.replace(host, missing_since=since)
        for service in cloud.services:
            known[service.host] = KnownHost(service.host, service.uuid)
        return KnownCloud(
            cloud.name, tuple(known[name] for name in sorted(known)), now
        )
