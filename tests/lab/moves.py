# SPDX-License-Identifier: Apache-2.0
"""Migration of instances between hosts: done and judged.

Live, with the guests' writes going on, watched on all hosts and where the
files are stored, and attacked meanwhile; and cold.
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

from tests.lab import acts
from tests.lab import guest
from tests.lab import storage
from tests.lab import stored_files
from tests.lab.acts import Assault
from tests.lab.cloud import Cloud
from tests.lab.file_samples import FileSamples
from tests.lab.guest import Writes
from tests.lab.host import Host
from tests.lab.isolation import Kind
from tests.lab.progress import LabError
from tests.lab.samples import Samples

#: MiB a second of a migration that is to last, and of one that is to end.
_SLOW = 1
_FAST = 10_000


@dataclass
class Journey:
    """Instances migrated live, again and again, while they wrote.

    :ivar hosts: where each was, one after the other, by its name
    :ivar seconds: how long each migration took, as Nova's API tells it
    :ivar elapsed: the seconds that all took together
    :ivar during: the attack in the middle of the first migration
    :ivar samples: what the hosts showed all the while
    :ivar stored: what the files carried all the while
    :ivar denials: accesses that the kernels refused their processes, but for
        those of the attack and those that any driver's guest has
    """

    hosts: Mapping[str, list[str]]
    seconds: list[float]
    elapsed: float
    during: Assault
    samples: Samples
    stored: FileSamples
    denials: list[Mapping[str, Any]]
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
    cloud: Cloud,
    servers: Sequence[Any],
    meanwhile: Callable[[], None] | None = None,
) -> list[float]:
    """Migrate instances live, each to the other host, through Nova's API.

    They do not wait for each other's arrival. A host does nothing for most
    of the time of one migration, but wait for the other host.

    :param meanwhile: what to do when both hosts have the guest of the first;
        its migration lasts for as long as that, and the others set out
        afterwards
    :returns: the seconds from each one's departure until it was seen to have
        arrived, for which one waits in the order of the instances
    :raises LabError: one did not get there
    """
    routes = [(server, home_of(cloud, server)) for server in servers]
    begins = []
    for number, (server, source) in enumerate(routes):
        begins.append(time.monotonic())
        _set_out(cloud, server, source, None if number else meanwhile)
    seconds = []
    for begin, (server, source) in zip(begins, routes, strict=True):
        _await_at(cloud, server, other(cloud, source))
        seconds.append(round(time.monotonic() - begin, 1))
    return seconds


def _set_out(
    cloud: Cloud,
    server: Any,
    source: Host,
    meanwhile: Callable[[], None] | None,
) -> None:
    """Have an instance migrated live, and do something in the middle."""
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
    wanderers: Sequence[Any],
    rounds: int,
    usual: Set[Kind],
) -> Journey:
    """Migrate instances back and forth, watched; attack in the first.

    :param servers: all whose guests attack, the wanderers among them
    :param wanderers: those that migrate, in each round all at the same time;
        in the first round the first of them alone, as long as the attack
    :param usual: kinds of denials that guests have with Nova's driver too
    """
    begin = {
        host.name: host.run('date +%s.%N').strip() for host in cloud.hosts
    }
    instances = acts.show_levels(cloud, servers).instances
    levels = {each.uuid: each.categories for each in instances}
    rules = stored_files.rules(cloud, servers, instances)
    hosts = {each.id: [home_of(cloud, each).name] for each in wanderers}
    seconds = []
    assaults: list[Assault] = []

    def assault() -> None:
        assaults.append(acts.attack(cloud, servers, by_qemu=False))

    with contextlib.ExitStack() as stack:
        seen = stack.enter_context(cloud.hosts[0].files_sampled(rules.places))
        shown = {
            host.name: stack.enter_context(host.watched())
            for host in cloud.hosts
        }
        started = time.monotonic()
        for number in range(rounds):
            seconds += migrate(cloud, wanderers, None if number else assault)
            for each in wanderers:
                hosts[each.id].append(home_of(cloud, each).name)
        elapsed = round(time.monotonic() - started, 1)
    samples = Samples(shown)
    stored = FileSamples(seen)
    allocations = acts.allocations(cloud)
    [during] = assaults
    denials = _denials_beside(cloud, during, wanderers, levels, begin, usual)
    faults = samples.faults(allocations)
    faults += stored.faults(rules.wanted, rules.holders)
    # The audit compares with the end; this compares with the beginning.
    faults += acts.show_levels(cloud, servers, levels).faults
    names = acts.names_of(wanderers)
    for uuid, name in names.items():
        unseen = set(hosts[uuid]) - {host for host, _ in samples.of(uuid)}
        faults += [f'{name} was never seen on {host}' for host in unseen]
        faults += [f'refused to {name}: {denial}' for denial in denials[uuid]]
    on_both = {
        row['host']
        for row in during.attack.attempts
        if row['attacker'] == wanderers[0].id
    }
    if len(on_both) != len(cloud.hosts):
        faults.append(f'during the migration only {on_both} had the guest')
    return Journey(
        {names[uuid]: where for uuid, where in hosts.items()},
        seconds,
        elapsed,
        during,
        samples,
        stored,
        [each for found in denials.values() for each in found],
        faults,
    )


def _denials_beside(
    cloud: Cloud,
    during: Assault,
    wanderers: Sequence[Any],
    levels: Mapping[str, frozenset[int]],
    begin: Mapping[str, str],
    usual: Set[Kind],
) -> dict[str, list[Mapping[str, Any]]]:
    """Give what the kernels refused instances, but for the attack.

    :param begin: since when, by the clock of each host
    :returns: by UUID
    """
    found: dict[str, list[Mapping[str, Any]]] = {
        each.id: [] for each in wanderers
    }
    for host in cloud.hosts:
        denials = host.probe('denials', begin[host.name])
        for uuid, beside in found.items():
            beside += during.attack.on(host.name).beside(
                denials, uuid, levels[uuid], usual
            )
    return found


def read_writes(cloud: Cloud, servers: Sequence[Any]) -> list[Writes]:
    """Stop instances, judge what their guests wrote; start them again."""
    for server in servers:
        cloud.api.compute.stop_server(server)
    found = []
    for server in servers:
        cloud.wait_status(server, 'SHUTOFF')
        text = home_of(cloud, server).run(
            f'cd {storage.INSTANCES}/{server.id}; '
            'qemu-img convert -O raw disk /run/svirt-nova-disk; '
            f'dd if=/run/svirt-nova-disk bs={guest.SECTOR} '
            f'skip={guest.FIRST_SECTOR} count={guest.SLOTS} status=none '
            '| base64'
        )
        found.append(guest.read_writes(base64.b64decode(text)))
        cloud.api.compute.start_server(server)
    for server in servers:
        cloud.wait_active(server)
    return found
