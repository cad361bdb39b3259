# SPDX-License-Identifier: Apache-2.0
"""What the lab saw, as ``svirt_nova.lifecycle.audit`` compares it.

Pure: takes what ``probe.py`` and the operator's command printed. Levels are
read by :func:`tests.lab.isolation.categories`, not by svirt_nova's parser, so
that a mistake of that parser is not repeated here.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels
from tests.lab import isolation

# The list of levels does not say when a level was retired, only that it was.
_LONG_AGO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def level(text: str) -> levels.Level:
    """Give the level of a text such as ``s0:c1,c2``."""
    return levels.Level(isolation.categories(text))


def allocations(rows: Iterable[Mapping[str, Any]]) -> list[types.Allocation]:
    """Give what the allocator says.

    :param rows: the answer of ``svirt-nova label list``
    """
    found = []
    for row in rows:
        is_retired = row['State'] in ('retired', 'cooling')
        allocation = types.Allocation(
            level=level(row['Level']),
            instance_uuid=row['Instance'],
            project_id=row['Project'],
            hosts=frozenset(row['Hosts']),
            retired_at=_LONG_AGO if is_retired else None,
        )
        assert allocation.state.value == row['State'], row
        found.append(allocation)
    return found


def host(
    name: str,
    domains: Collection[Mapping[str, Any]],
    *,
    remains: Mapping[str, Collection[str]] | None = None,
) -> audit.HostView:
    """Give what a host has.

    :param domains: the answer of ``probe.py look``
    :param remains: what else it has of instances, by UUID: directories, or
        domains that do not run
    """
    traces = {each['uuid']: ['a running domain'] for each in domains}
    for uuid, found in (remains or {}).items():
        traces.setdefault(uuid, []).extend(found)
    return audit.HostView(
        name,
        present=frozenset(traces),
        guests=tuple(guest(each) for each in domains),
        sights=tuple(sight for each in domains for sight in sights(each)),
        traces=traces,
    )


def guest(domain: Mapping[str, Any]) -> audit.Guest:
    """Give how libvirt labels a running domain.

    :param domain: one of ``probe.py look`` or ``probe.py watch``
    """
    labels = domain['seclabels']
    return audit.Guest(
        domain['uuid'],
        is_labelled=any(each['label'] for each in labels),
        is_static=any(each['type'] == 'static' for each in labels),
    )


def sights(domain: Mapping[str, Any]) -> Iterator[audit.Sight]:
    """Give at which levels a running domain and its files are."""
    yield _sight(domain, 'the process', domain['process'])
    for each in domain['seclabels']:
        if each['label']:
            yield _sight(domain, 'the domain in libvirt', each['label'])
    for file in domain['files']:
        yield _sight(domain, file['path'], file['context'])


def _sight(domain: Mapping[str, Any], what: str, context: str) -> audit.Sight:
    return audit.Sight(
        domain['uuid'],
        f'{what} with {context}',
        level(isolation.level_of(context)),
    )


def faults(
    names: Mapping[str, str],
    found: Iterable[audit.Violation],
    domains: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Name violations, and what an audit cannot know to be missing.

    An instance must have been seen, with a disk and a config drive.

    :param names: the names of the instances that must run, by UUID
    """
    files: dict[str, set[str]] = {uuid: set() for uuid in names}
    for domain in domains:
        if domain['uuid'] in files:
            files[domain['uuid']] |= {
                file['path'].rpartition('/')[2] for file in domain['files']
            }
    return [
        *(f'{names.get(each.instance_uuid, "?")}: {each}' for each in found),
        *(
            f'{names[uuid]} ({uuid}) has no disk and config drive, but '
            f'{sorted(seen) or "was not seen at all"}'
            for uuid, seen in files.items()
            if not {'disk', 'disk.config'} <= seen
        ),
    ]
