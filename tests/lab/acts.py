# SPDX-License-Identifier: Apache-2.0
"""What the lab shows, act by act: on a running cloud, with real guests.

Each act returns what it saw and says what was not as it must be; the demo
prints it, the lab's tests assert on it.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels
from tests.lab import isolation
from tests.lab import views
from tests.lab.cloud import Cloud
from tests.lab.cloud import DRIVER
from tests.lab.host import Host
from tests.lab.isolation import Attack
from tests.lab.isolation import Confined
from tests.lab.isolation import Kind
from tests.lab.storage import INSTANCES


@dataclass
class Levels:
    """Who carries which level.

    :ivar violated: the UUIDs of instances that the audit found at fault
    """

    instances: list[Confined]
    faults: list[str]
    violated: frozenset[str] = frozenset()


@dataclass
class Assault:
    """Every guest on every guest's files.

    :ivar denials: how many refusals the attack met in the audit log
    """

    attack: Attack
    denials: int
    faults: list[str]


@dataclass
class Contrast:
    """Two domains at one level, outside of Nova."""

    level: str
    attack: Attack
    faults: list[str]


@dataclass
class Departure:
    """What deleted instances left.

    :ivar states: the store's state of each level, by UUID
    """

    states: Mapping[str, str]
    faults: list[str] = field(default_factory=list)


def names_of(servers: Sequence[Any]) -> dict[str, str]:
    """Map UUIDs to names."""
    return {server.id: server.name for server in servers}


def allocations(cloud: Cloud) -> list[types.Allocation]:
    """Give the levels that are not free at this moment."""
    return views.allocations(cloud.svirt_nova('label', 'list'))


def look(cloud: Cloud) -> list[dict[str, Any]]:
    """Describe the domains of all hosts, each with its ``host``."""
    seen = cloud.on_hosts(lambda host: host.probe('look'))
    return [
        {**domain, 'host': host.name}
        for host, domains in zip(cloud.hosts, seen, strict=True)
        for domain in domains
    ]


def show_levels(
    cloud: Cloud,
    servers: Sequence[Any],
    first: Mapping[str, frozenset[int]] | None = None,
) -> Levels:
    """Judge what store, processes and files say of running instances.

    :param first: the categories that each had before, by UUID
    """
    names = names_of(servers)
    rows = cloud.svirt_nova('label', 'list')
    seen = look(cloud)
    nova = {
        uuid: audit.InstanceView(levels=frozenset([levels.Level(categories)]))
        for uuid, categories in (first or {}).items()
    }
    found = audit.audit(
        views.allocations(rows),
        [
            views.host(
                host.name, [each for each in seen if each['host'] == host.name]
            )
            for host in cloud.hosts
        ],
        nova,
    )
    return Levels(
        isolation.confined(names, rows, seen),
        views.faults(names, found, seen),
        frozenset(each.instance_uuid for each in found),
    )


def attack(
    cloud: Cloud, servers: Sequence[Any], *, by_qemu: bool = True
) -> Assault:
    """Let every guest's QEMU open every guest's files; ask the kernels.

    :param by_qemu: False while a guest migrates: libvirt passes nothing on
        to its QEMU, so processes in the QEMUs' contexts do it
    """
    seen = look(cloud)
    outcome, begin = try_all(cloud, servers, seen, by_qemu=by_qemu)
    missing = cloud.on_hosts(
        lambda host: _unproven(
            host, outcome.on(host.name), seen, begin[host.name]
        )
    )
    unproven = list(itertools.chain.from_iterable(missing))
    faults = outcome.faults() + [
        f'no enforced AVC denial in the audit log for {attempt}'
        for attempt in unproven
    ]
    return Assault(
        outcome, outcome.counts()['foreign_denied'] - len(unproven), faults
    )


def try_all(
    cloud: Cloud,
    servers: Sequence[Any],
    seen: Sequence[Mapping[str, Any]],
    *,
    by_qemu: bool = True,
) -> tuple[Attack, dict[str, str]]:
    """Let the guests of all hosts open the files of all that was seen.

    :param by_qemu: as in ``attack``
    :returns: the outcome, and each host's time before it
    """
    names = names_of(servers)
    order = list(names)
    files = {
        file['path']: domain['uuid']
        for domain in seen
        for file in domain['files']
        if domain['uuid'] in names
    }
    wanted = json.dumps(
        [{'owner': owner, 'path': path} for path, owner in files.items()]
    )

    def one(host: Host) -> tuple[str, list[dict[str, Any]]]:
        begin = host.run('date +%s.%N').strip()
        rows = host.probe(
            'attack' if by_qemu else 'attack-as',
            wanted,
            timeout=300,
            unit=not by_qemu,
        )
        return begin, [{**row, 'host': host.name} for row in rows]

    answers = cloud.on_hosts(one)
    rows = sorted(
        (row for _, found in answers for row in found),
        key=lambda row: (
            order.index(row['attacker']),
            order.index(row['owner']),
        ),
    )
    begin = {
        host.name: answer[0]
        for host, answer in zip(cloud.hosts, answers, strict=True)
    }
    return Attack(rows, names), begin


def _unproven(
    host: Host,
    outcome: Attack,
    seen: Sequence[Mapping[str, Any]],
    begin: str,
) -> list[str]:
    """Say which refusals on a host its audit log does not tell of."""
    deadline = time.monotonic() + 30
    while True:
        # auditd may write a moment later than the kernel refused.
        found = outcome.unproven(seen, host.probe('denials', begin))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(2)


def one_on_each_host(cloud: Cloud, names: Sequence[str]) -> list[Any]:
    """Boot an instance on each host, with a volume; its guest writes."""
    name_of = dict(zip(cloud.hosts, names, strict=True))

    def boot(host: Host) -> Any:
        name = name_of[host]
        [server] = cloud.boot([name], image='writer', host=host)
        cloud.attach(server, cloud.make_volume(f'data of {name}'))
        return server

    return cloud.on_hosts(boot)


def usual_denials(cloud: Cloud, outcome: Attack) -> frozenset[Kind]:
    """Give what the policy refuses guests with any driver.

    For a time when Nova's own driver is the only one that they had.

    :param outcome: an attack on all their files
    """
    denials = cloud.on_hosts(lambda host: host.probe('denials', '0'))
    return outcome.usual(itertools.chain.from_iterable(denials))


def share_a_level(cloud: Cloud, one: Any, other: Any) -> str:
    """Give an instance the level that libvirt drew for another's guest.

    As independent draws come to do it: 50 % at 853 guests. The domain is
    started anew, outside of Nova.

    :returns: the level
    """
    seen = {domain['uuid']: domain for domain in look(cloud)}
    level = isolation.level_of(seen[one.id]['process'])
    [host] = [
        host for host in cloud.hosts if host.name == seen[other.id]['host']
    ]
    host.probe('give', other.id, level)
    return level


def take_over(cloud: Cloud) -> None:
    """Let svirt-nova's driver run all hosts, after :func:`share_a_level`.

    A static level that no store has given looks like one that the store has
    lost, so that it gives none to others before an operator says so.
    """
    cloud.change_driver(DRIVER)
    cloud.svirt_nova('store', 'trust', '--yes')


def contrast(cloud: Cloud) -> Contrast:
    """Show that at one level a guest does open another's disk."""
    host = cloud.hosts[0]
    level = isolation.free_pair(
        isolation.categories(isolation.level_of(domain['process']))
        for domain in host.probe('look')
    )
    answer = host.probe('shared-level', level, timeout=300)
    names = {
        domain['uuid']: domain['name'].rpartition('svirt-nova-')[2]
        for domain in answer['domains']
    }
    outcome = Attack(answer['attack'], names)
    faults = outcome.errors()
    faults += [
        f'{row["path"]} did not open, though both have {level}'
        for row in answer['attack']
        if row['outcome'] == 'denied'
    ]
    if outcome.counts()['foreign_attempts'] != 2:
        faults.append('the contrast had not two foreign disks to try')
    return Contrast(level, outcome, faults)


def depart(cloud: Cloud, servers: Sequence[Any]) -> Departure:
    """Delete the instances; look at what they leave."""
    uuids = [server.id for server in servers]
    cloud.delete(servers)
    gone = {uuid: audit.InstanceView(is_gone=True) for uuid in uuids}
    # Nova's API forgets an instance a moment before the host's last word.
    deadline = time.monotonic() + 90
    while True:
        hosts = [
            views.host(host.name, [], remains=remains(host, uuids))
            for host in cloud.hosts
        ]
        left = [
            each for each in allocations(cloud) if each.instance_uuid in gone
        ]
        states = {each.instance_uuid: each.state for each in left}
        faults = [
            *map(str, audit.audit(left, hosts, gone, is_settled=True)),
            # The cooling time of the lab is longer than this takes.
            *(f'{uuid}: its level is free' for uuid in gone.keys() - states),
        ]
        if not faults or time.monotonic() > deadline:
            return Departure(
                {uuid: states.get(uuid, 'free') for uuid in uuids}, faults
            )


def remains(
    host: Host, uuids: Sequence[str], *, with_directories: bool = True
) -> dict[str, list[str]]:
    """Give what a host has of instances: domains and directories.

    :param with_directories: False while an instance lives: hosts may share
        the directories
    """
    commands = {'the domain': 'virsh -q list --all --uuid'}
    if with_directories:
        commands['the directory'] = f'ls {INSTANCES}'
    found: dict[str, list[str]] = {}
    for what, command in commands.items():
        for name in host.run(command).split():
            if name.partition('_')[0] in uuids:
                found.setdefault(name.partition('_')[0], []).append(
                    f'{what} {name}'
                )
    return found
