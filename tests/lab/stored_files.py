# SPDX-License-Identifier: Apache-2.0
"""The files of instances where they are stored, and what they must carry."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from svirt_nova.lifecycle import audit
from tests.lab import acts
from tests.lab import isolation
from tests.lab import storage
from tests.lab import survey
from tests.lab import views
from tests.lab.cloud import Cloud
from tests.lab.file_samples import Wanted
from tests.lab.isolation import Confined

#: The type of what every guest may read and none may write.
_CONTENT = 'virt_content_t'


@dataclass(frozen=True)
class Rules:
    """What must hold of the files of running instances.

    :ivar wanted: by path, what a file must carry
    :ivar holders: by directory, whose all other files in it are
    """

    wanted: Mapping[str, Wanted]
    holders: Mapping[str, Wanted]

    @property
    def places(self) -> list[str]:
        """What has to be looked at: directories, and files elsewhere."""
        return [
            *self.holders,
            *(
                path
                for path in self.wanted
                if path.rpartition('/')[0] not in self.holders
            ),
        ]


def _paths(instances: Sequence[Confined]) -> Iterator[tuple[str, Confined]]:
    """Give the paths of the files of instances on the server."""
    for each in instances:
        for name in each.files:
            if name.startswith('volume-'):
                yield f'{storage.VOLUMES}/{name}', each
            else:
                yield f'{storage.SHARED_INSTANCES}/{each.uuid}/{name}', each


def rules(
    cloud: Cloud, servers: Sequence[Any], instances: Sequence[Confined]
) -> Rules:
    """Say what the files of instances must carry as long as they run.

    The level is the allocator's, and the group the one that QEMU runs as.
    The base of their disks is everybody's to read.

    :param servers: the same instances, as Nova's API has them
    """
    hosts = {host.name: host for host in cloud.hosts}
    holders: dict[str, Wanted] = {}
    by_uuid: dict[str, Wanted] = {}
    wanted: dict[str, Wanted] = {}
    levels = {each.uuid: each.categories for each in instances}
    images = {server.id: server.image.id for server in servers}
    for domain in acts.look(cloud):
        if domain['uuid'] not in levels:
            continue
        group = int(
            hosts[domain['host']].run(f'stat -c %g /proc/{domain["pid"]}')
        )
        [label] = domain['seclabels']
        found = Wanted(
            levels[domain['uuid']],
            isolation.type_of(label['imagelabel']),
            group,
        )
        by_uuid[domain['uuid']] = found
        holders[f'{storage.SHARED_INSTANCES}/{domain["uuid"]}'] = found
        base = survey.base_of(images[domain['uuid']])
        wanted[f'{storage.SHARED_INSTANCES}/_base/{base}'] = Wanted(
            frozenset(), _CONTENT, group, stat.S_IRGRP
        )
    wanted |= {path: by_uuid[each.uuid] for path, each in _paths(instances)}
    return Rules(wanted, holders)


def labels_on_server(
    cloud: Cloud, instances: Sequence[Confined]
) -> tuple[dict[str, str], list[str]]:
    """Look at the files of instances where they are stored.

    :returns: the contexts by path, and what is not as it must be
    """
    paths = dict(_paths(instances))
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
