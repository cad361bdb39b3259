# SPDX-License-Identifier: Apache-2.0
"""What instances go through that have several hosts: done and judged.

Live migration with the guest's writes going on, watched on all hosts and
attacked meanwhile; and the evacuation of a host that is cut off.
"""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from svirt_nova.lifecycle import audit
from tests.lab import acts
from tests.lab import guest
from tests.lab import isolation
from tests.lab import storage
from tests.lab import views
from tests.lab.acts import Assault
from tests.lab.cloud import Cloud
from tests.lab.guest import Writes
from tests.lab.host import Host
from tests.lab.isolation import Confined
from tests.lab.isolation import Kind
from tests.lab.progress import LabError
from tests.lab.samples import Samples

#: MiB a second of a migration that is to last, and of one that is to end.
_SLOW = 1
_FAST = 10_000


@dataclass
class Journey:
    """An instance migrated live, again and again, while it wrote.

    :ivar hosts: where it was, one after the other
    :ivar seconds: how long each migration took, as Nova's API tells it
    :ivar during: the attack in the middle of the first migration
    :ivar samples: what the hosts showed all the while
    :ivar denials: accesses that the kernels refused its process, but for
        those of the attack and those that any driver's guest has
    """

    hosts: list[str]
    seconds: list[float]
    during: Assault
    samples: Samples
    denials: list[Mapping[str, Any]]
    faults: list[str]


@dataclass
class Evacuation:
    """An instance rebuilt elsewhere, and the return of the host it was on.

    :ivar claims: the hosts that claimed it: before, while its host was cut
        off, and after that was back
    """

    claims: list[list[str]]
    faults: list[str]


def home_of(cloud: Cloud, server: Any) -> Host:
    """Give the host that an instance is on, as Nova has it."""
    name = cloud.api.compute.get_server(server.id).compute_host
    home: Host = next(host for host in cloud.hosts if host.name == name)
    return home


def other(cloud: Cloud, host: Host) -> Host:
    """Give a host that is not this one."""
    found: Host = next(each for each in cloud.hosts if each is not host)
    return found


def migrate(
    cloud: Cloud, server: Any, meanwhile: Callable[[], None] | None = None
) -> None:
    """Migrate an instance live to the other host, through Nova's API.

    :param meanwhile: what to do when both hosts have the guest; the
        migration lasts for as long as that
    :raises LabError: it did not get there
    """
    source = home_of(cloud, server)
    destination = other(cloud, source)
    speed = f'virsh -q migrate-setspeed {server.id}'
    if meanwhile is not None:
        source.run(f'{speed} {_SLOW}')
    cloud.api.compute.live_migrate_server(
        server, host=destination.name, block_migration='auto'
    )
    if meanwhile is not None:
        for _ in cloud.poll(f'{server.name} on both hosts'):
            if server.id in destination.run(
                'virsh -q list --uuid --all'
            ) and 'Unbounded' in source.run(
                f'virsh domjobinfo {server.id} || true'
            ):
                break
        meanwhile()
        if 'Unbounded' not in source.run(
            f'virsh domjobinfo {server.id} || true'
        ):
            raise LabError(f'the migration of {server.name} did not wait')
        source.run(f'{speed} {_FAST}')
    _await_at(cloud, server, destination)


def migrate_cold(cloud: Cloud, server: Any) -> None:
    """Migrate an instance to the other host, not live, and confirm it.

    :raises LabError: it did not get there
    """
    destination = other(cloud, home_of(cloud, server))
    cloud.api.compute.migrate_server(server, host=destination.name)
    cloud.wait_status(server, 'VERIFY_RESIZE')
    cloud.api.compute.confirm_server_resize(server)
    _await_at(cloud, server, destination)


def _await_at(cloud: Cloud, server: Any, destination: Host) -> None:
    cloud.wait_active(server)
    if home_of(cloud, server) is not destination:
        raise LabError(f'{server.name} did not get to {destination.name}')


def wander(
    cloud: Cloud,
    servers: Sequence[Any],
    wanderer: Any,
    times: int,
    usual: Set[Kind],
) -> Journey:
    """Migrate an instance back and forth, watched; attack in the first.

    :param servers: all whose guests attack, the wanderer among them
    :param usual: kinds of denials that guests have with Nova's driver too
    """
    begin = {
        host.name: host.run('date +%s.%N').strip() for host in cloud.hosts
    }
    levels = {
        each.uuid: each.categories
        for each in acts.show_levels(cloud, servers).instances
    }
    hosts = [home_of(cloud, wanderer).name]
    seconds = []
    assaults: list[Assault] = []

    def assault() -> None:
        assaults.append(acts.attack(cloud, servers, by_qemu=False))

    with contextlib.ExitStack() as stack:
        shown = {
            host.name: stack.enter_context(host.watched())
            for host in cloud.hosts
        }
        for number in range(times):
            started = time.monotonic()
            migrate(cloud, wanderer, None if number else assault)
            seconds.append(round(time.monotonic() - started, 1))
            hosts.append(home_of(cloud, wanderer).name)
    samples = Samples(shown)
    allocations = acts.allocations(cloud)
    [during] = assaults
    denials = [
        denial
        for host in cloud.hosts
        for denial in during.attack.on(host.name).beside(
            host.probe('denials', begin[host.name]),
            wanderer.id,
            levels[wanderer.id],
            usual,
        )
    ]
    faults = samples.faults(allocations)
    # The audit compares with the end; this compares with the beginning.
    faults += acts.show_levels(cloud, servers, levels).faults
    unseen = set(hosts) - {host for host, _ in samples.of(wanderer.id)}
    faults += [f'{wanderer.name} was never seen on {host}' for host in unseen]
    faults += [f'refused to {wanderer.name}: {denial}' for denial in denials]
    on_both = {
        row['host']
        for row in during.attack.attempts
        if row['attacker'] == wanderer.id
    }
    if len(on_both) != len(cloud.hosts):
        faults.append(f'during the migration only {on_both} had the guest')
    return Journey(hosts, seconds, during, samples, denials, faults)


def read_writes(cloud: Cloud, server: Any) -> Writes:
    """Stop an instance, judge what its guest has written; start it again."""
    cloud.api.compute.stop_server(server)
    cloud.wait_status(server, 'SHUTOFF')
    text = home_of(cloud, server).run(
        f'cd {storage.INSTANCES}/{server.id}; '
        'qemu-img convert -O raw disk /run/svirt-nova-disk; '
        f'dd if=/run/svirt-nova-disk bs={guest.SECTOR} '
        f'skip={guest.FIRST_SECTOR} count={guest.SLOTS} status=none | base64'
    )
    cloud.api.compute.start_server(server)
    cloud.wait_active(server)
    return guest.read_writes(base64.b64decode(text))


def labels_on_server(
    cloud: Cloud, instances: Sequence[Confined]
) -> tuple[dict[str, str], list[str]]:
    """Look at the files of instances where they are stored.

    :returns: the contexts by path, and what is not as it must be
    """
    paths = {
        (
            f'{storage.VOLUMES}/{name}'
            if name.startswith('volume-')
            else f'{storage.SHARED_INSTANCES}/{each.uuid}/{name}'
        ): each
        for each in instances
        for name in each.files
    }
    seen = cloud.hosts[0].probe('contexts', *paths)
    server = audit.HostView(
        'the storage server',
        sights=tuple(
            audit.Sight(
                each.uuid,
                f'{path} with {seen[path]}',
                views.level(isolation.level_of(seen[path])),
            )
            for path, each in paths.items()
            if seen[path] is not None
        ),
    )
    found = audit.audit(acts.allocations(cloud), [server])
    faults = [
        f'{path} of {each.name} is not on the server'
        for path, each in paths.items()
        if seen[path] is None
    ]
    return seen, faults + list(map(str, found))


def evacuate(cloud: Cloud, servers: Sequence[Any], evacuee: Any) -> Evacuation:
    """Cut an instance's host off, rebuild the instance on another one.

    Then the host is back, with the guest still running, and nova-compute
    is started anew, as after a real outage.

    :param servers: all that must stay behind their levels
    """
    lost = home_of(cloud, evacuee)
    refuge = other(cloud, lost)
    before = {
        each.uuid: each.categories
        for each in acts.show_levels(cloud, servers).instances
    }
    claims = [_claims(cloud, evacuee)]
    compute = cloud.api.compute
    [service] = compute.services(binary='nova-compute', host=lost.name)
    lost.set_links(up=False)
    try:
        # What an operator does who has seen that the host is gone. Until
        # then its QEMU holds the lock of the disk.
        time.sleep(2 * storage.LEASE)
        compute.update_service_forced_down(service, forced=True)
        compute.evacuate_server(evacuee, host=refuge.name)
        for _ in cloud.poll(f'{evacuee.name} on {refuge.name}'):
            found = compute.get_server(evacuee.id)
            if found.status == 'ERROR':
                raise LabError(f'{evacuee.name} was not evacuated: {found}')
            if found.compute_host == refuge.name and not found.task_state:
                break
        if found.status != 'ACTIVE':
            compute.start_server(evacuee)
            cloud.wait_active(evacuee)
        claims.append(_claims(cloud, evacuee))
    finally:
        lost.set_links(up=True)
    cloud.restart_compute(lost)
    compute.update_service_forced_down(service, forced=False)
    for _ in cloud.poll(f'{evacuee.name} gone from {lost.name}'):
        if _claims(cloud, evacuee) == [refuge.name]:
            break
    claims.append(_claims(cloud, evacuee))
    seen = acts.show_levels(cloud, servers, before)
    _, faults = labels_on_server(cloud, seen.instances)
    # libvirt took the labels off for a moment. A client that looked then
    # takes that for the truth until its cache of attributes ends.
    deadline = time.monotonic() + storage.ATTRIBUTES
    while seen.faults and time.monotonic() < deadline:
        time.sleep(2)
        seen = acts.show_levels(cloud, servers, before)
    faults += seen.faults
    if claims[1] != sorted([lost.name, refuge.name]):
        faults.append(f'while {lost.name} was away, {claims[1]} had claims')
    allocations = acts.allocations(cloud)
    uuids = [evacuee.id]
    faults += map(
        str,
        audit.audit(
            [each for each in allocations if each.instance_uuid in uuids],
            [
                views.host(
                    lost.name,
                    [],
                    remains=acts.remains(lost, uuids, with_directories=False),
                )
            ],
            {evacuee.id: audit.InstanceView(frozenset([refuge.name]))},
            is_settled=True,
        ),
    )
    return Evacuation(claims, faults)


def _claims(cloud: Cloud, server: Any) -> list[str]:
    return sorted(
        row['Host']
        for row in cloud.svirt_nova('claim', 'list')
        if row['Instance'] == server.id
    )
