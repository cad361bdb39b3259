# SPDX-License-Identifier: Apache-2.0
"""What is seen of a cloud, for :func:`svirt_nova.lifecycle.audit.audit`."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from tests.fakes import cloud as fake_cloud
from tests.fakes import database
from tests.fakes import domain_records
from tests.fakes import libvirt

SHARED_STORAGE = 'the shared storage'
"""The name of what has files that no host has alone."""


def of_hosts(
    cloud: fake_cloud.Cloud,
    allocations: Iterable[types.Allocation],
    names: Iterable[str] | None = None,
) -> list[audit.HostView]:
    """What hosts, and the storage that they share, have.

    :param allocations: the levels that are not free
    :param names: the hosts that are looked at; None for all
    """
    sights = [*_volumes(cloud)]
    left: set[str] = set()
    if cloud.is_shared:
        [path] = {host.instances for host in cloud.hosts.values()}
        sights += _disks(cloud, path)
        left = {
            uuid
            for uuid in _directories(cloud, path)
            if not cloud.is_known(uuid)
        }
    claims = {each.instance_uuid: each.hosts for each in allocations}
    found = [
        _of_host(
            cloud,
            cloud.hosts[name],
            # What is left of a deleted instance on shared storage is the
            # business of the hosts that claim it.
            {uuid for uuid in left if name in claims.get(uuid, ())},
        )
        for name in (cloud.hosts if names is None else names)
    ]
    return [*found, audit.HostView(SHARED_STORAGE, sights=tuple(sights))]


def _of_host(
    cloud: fake_cloud.Cloud, host: libvirt.Libvirt, left: set[str]
) -> audit.HostView:
    present = {*left}
    guests = []
    sights = []
    for uuid, record in host.records().items():
        present.add(uuid)
        for what, xml in (
            ('the definition', record.definition),
            ('the process', record.live),
            ('the saved memory', record.saved),
        ):
            if xml is None:
                continue
            labels = domain_records.labels_of(xml)
            if labels.level is not None:
                sights.append(audit.Sight(uuid, what, labels.level))
        if record.live is not None:
            labels = domain_records.labels_of(record.live)
            guests.append(
                audit.Guest(
                    uuid,
                    bool(labels.process),
                    labels.is_static,
                    record.omitted,
                )
            )
    if not cloud.is_shared:
        present.update(_directories(cloud, host.instances))
        sights += _disks(cloud, host.instances)
    return audit.HostView(
        host.name,
        frozenset(present),
        tuple(guests),
        tuple(sights),
        requires_claims=True,
    )


def _directories(cloud: fake_cloud.Cloud, instances: str) -> set[str]:
    return {name.partition('_')[0] for name in cloud.storage.names(instances)}


def _level(cloud: fake_cloud.Cloud, path: str) -> levels.Level | None:
    level = contexts.Context.parse(cloud.storage.read(path)).level
    return level if level.categories else None


def _disks(cloud: fake_cloud.Cloud, instances: str) -> Iterator[audit.Sight]:
    for name in cloud.storage.names(instances):
        directory = f'{instances}/{name}'
        for disk in cloud.storage.names(directory):
            if not disk.startswith('disk'):
                continue
            level = _level(cloud, f'{directory}/{disk}')
            if level is not None:
                uuid = name.partition('_')[0]
                yield audit.Sight(uuid, f'{name}/{disk}', level)


def _volumes(cloud: fake_cloud.Cloud) -> Iterator[audit.Sight]:
    """The volumes of instances that live.

    After a crash, one that has lost its instance may keep the level of that,
    which comes free.
    """
    for volume, uuid in cloud.database.holders().items():
        level = _level(cloud, f'{fake_cloud.VOLUMES}/{volume}')
        if level is not None and cloud.is_live(uuid):
            yield audit.Sight(uuid, volume, level)


def of_instances(
    cloud: fake_cloud.Cloud, is_worked_on: Callable[[str], bool]
) -> dict[str, audit.InstanceView]:
    """What Nova says of the instances that it ever had.

    :param is_worked_on: whether something is being done to an instance
    """
    hosts: dict[str, set[str]] = collections.defaultdict(set)
    for migration in cloud.database.migrations():
        if migration.status not in database.ENDED:
            hosts[migration.instance_uuid].add(migration.source_compute)
            hosts[migration.instance_uuid].add(migration.dest_compute)
    found = {}
    for instance in cloud.database.records():
        uuid = instance.uuid
        if instance.host is not None:
            hosts[uuid].add(instance.host)
        is_gone = not cloud.is_live(uuid)
        found[uuid] = audit.InstanceView(
            hosts=frozenset(hosts[uuid]),
            is_gone=is_gone,
            # A deletion that has begun may have given the level back or not.
            is_busy=is_worked_on(uuid) or (is_gone and not instance.deleted),
            levels=frozenset(cloud.faults.levels.get(uuid, ())),
        )
    return found
