# SPDX-License-Identifier: Apache-2.0
"""The evacuation of a host that is cut off, and its return: done and judged.

The host is not fenced: it reaches the storage again while its guests still
run there, and these end in one way or another.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from svirt_nova.lifecycle import audit
from tests.lab import acts
from tests.lab import moves
from tests.lab import storage
from tests.lab import stored_files
from tests.lab import views
from tests.lab.cloud import Cloud
from tests.lab.file_samples import FileSamples
from tests.lab.host import Host
from tests.lab.progress import LabError

#: Seconds for a command in a host that was cut off a moment ago.
_PATIENCE = 300.0


class End(enum.Enum):
    """How the guest ends that an evacuation has left behind."""

    BY_NOVA = 'nova-compute, started anew, destroys its domain'
    BY_ITSELF = 'it shuts itself down'
    KILLED = 'its QEMU is killed'


@dataclass
class Evacuation:
    """Instances rebuilt elsewhere, and the return of the host they were on.

    :ivar claims: by UUID, the hosts that claimed an instance: before, while
        its host was cut off, and after that was back
    :ivar stored: what the files carried all the while
    """

    claims: Mapping[str, list[list[str]]]
    stored: FileSamples
    faults: list[str]


def evacuate(
    cloud: Cloud,
    servers: Sequence[Any],
    evacuees: Sequence[tuple[Any, End]],
) -> Evacuation:
    """Cut a host off, rebuild its instances on another one; let it return.

    :param servers: all that must stay behind their levels
    :param evacuees: instances of one host, and how their guests end there
    """
    lost = moves.home_of(cloud, evacuees[0][0])
    instances = acts.show_levels(cloud, servers).instances
    before = {each.uuid: each.categories for each in instances}
    rules = stored_files.rules(cloud, servers, instances)
    claims = {each.id: [_claims(cloud, each)] for each, _ in evacuees}
    with cloud.hosts[0].files_sampled(rules.places) as seen:
        faults = _outage(cloud, lost, evacuees, claims)
    stored = FileSamples(seen)
    faults += stored.faults(rules.wanted, rules.holders)
    found = acts.show_levels(cloud, servers, before)
    faults += found.faults
    faults += stored_files.labels_on_server(cloud, found.instances)[1]
    faults += _left(cloud, lost, evacuees)
    return Evacuation(claims, stored, faults)


def _outage(
    cloud: Cloud,
    lost: Host,
    evacuees: Sequence[tuple[Any, End]],
    claims: Mapping[str, list[list[str]]],
) -> list[str]:
    """Do it, and note the claims; say what was not as it must be."""
    refuge = moves.other(cloud, lost)
    compute = cloud.api.compute
    [service] = compute.services(binary='nova-compute', host=lost.name)
    lost.set_links(up=False)
    try:
        # What an operator does who has seen that the host is gone. Until
        # then its QEMU holds the lock of the disk.
        storage.expire(cloud.hosts[0], lost)
        compute.update_service_forced_down(service, forced=True)
        for each, _ in evacuees:
            compute.evacuate_server(each, host=refuge.name)
        for each, _ in evacuees:
            _await_rebuilt(cloud, each, refuge)
            claims[each.id].append(_claims(cloud, each))
    finally:
        lost.set_links(up=True)
    faults = [
        f'while {lost.name} was away, {claims[each.id][-1]} had claims'
        for each, _ in evacuees
        if claims[each.id][-1] != sorted([lost.name, refuge.name])
    ]
    written = {each.id: _activity(refuge, each)[0] for each, _ in evacuees}
    for each, end in evacuees:
        if end is not End.BY_NOVA:
            faults += _end_guest(cloud, lost, each, end)
    cloud.restart_compute(lost)
    compute.update_service_forced_down(service, forced=False)
    for each, _ in evacuees:
        for _ in cloud.poll(f'{each.name} gone from {lost.name}'):
            if _claims(cloud, each) == [refuge.name]:
                break
        claims[each.id].append(_claims(cloud, each))
        writes, failed = _activity(refuge, each)
        if failed:
            faults.append(f'{each.name}: {failed} accesses failed')
        if writes <= written[each.id]:
            faults.append(f'{each.name} does not write any more')
    return faults


def _await_rebuilt(cloud: Cloud, server: Any, refuge: Host) -> None:
    compute = cloud.api.compute
    for _ in cloud.poll(f'{server.name} on {refuge.name}'):
        found = compute.get_server(server.id)
        if found.status == 'ERROR':
            raise LabError(f'{server.name} was not evacuated: {found}')
        if found.compute_host == refuge.name and not found.task_state:
            break
    if found.status != 'ACTIVE':
        compute.start_server(server)
        cloud.wait_active(server)


def _end_guest(cloud: Cloud, host: Host, server: Any, end: End) -> list[str]:
    """End the guest that an evacuation has left behind.

    A guest that waits for a lost write hears of its power button later.
    """
    ask = f'virsh -q domstate {server.id} || true'
    state = host.run(ask, timeout=_PATIENCE).strip()
    if state != 'running':
        return [f'{server.name} on {host.name} was {state!r}, not running']
    # By systemd, because the policy lets no shell end these.
    kill = (
        f'name=$(virsh -q domname {server.id}); '
        'pid=$(cat /run/libvirt/qemu/$name.pid); '
        'systemd-run -q --wait sh -c "kill -9 $pid"'
        if end is End.KILLED
        else f'virsh -q shutdown {server.id} || true'
    )
    host.run(kill, timeout=_PATIENCE)
    for _ in cloud.poll(f'{server.name} off on {host.name}'):
        if 'shut off' in host.run(ask, timeout=_PATIENCE):
            break
        if end is End.BY_ITSELF:
            host.run(kill, timeout=_PATIENCE)
    return []


def _activity(host: Host, server: Any) -> tuple[int, int]:
    """Give how often a guest wrote, and how many accesses failed."""
    answer = json.loads(
        host.run(
            f'virsh -q qemu-monitor-command {server.id} '
            '\'{"execute": "query-blockstats"}\''
        )
    )
    found = [each['stats'] for each in answer['return']]
    return (
        sum(each['wr_operations'] for each in found),
        sum(
            count
            for each in found
            for name, count in each.items()
            if name.startswith('failed_')
        ),
    )


def _left(
    cloud: Cloud, lost: Host, evacuees: Sequence[tuple[Any, End]]
) -> list[str]:
    """Say what the host still has of the instances."""
    uuids = [each.id for each, _ in evacuees]
    refuge = moves.other(cloud, lost)
    return [
        str(each)
        for each in audit.audit(
            [
                each
                for each in acts.allocations(cloud)
                if each.instance_uuid in uuids
            ],
            [
                views.host(
                    lost.name,
                    [],
                    remains=acts.remains(lost, uuids, with_directories=False),
                )
            ],
            {
                uuid: audit.InstanceView(frozenset([refuge.name]))
                for uuid in uuids
            },
            is_settled=True,
        )
    ]


def _claims(cloud: Cloud, server: Any) -> list[str]:
    return sorted(
        row['Host']
        for row in cloud.svirt_nova('claim', 'list')
        if row['Instance'] == server.id
    )
