# SPDX-License-Identifier: Apache-2.0
"""The census of all hosts: whose everything is, taken, judged, summed up."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from tests.lab import cache
from tests.lab import exposure
from tests.lab.cloud import Cloud
from tests.lab.exposure import Exposure
from tests.lab.host import Host

_ALLOWED = 'census-allowed.list'
#: Seconds in which the audit log must have what the kernel refused.
_AUDIT = 60.0


@dataclass
class Survey:
    """What the guests of all hosts could open.

    :ivar counts: tries, and what opened by whose it is
    :ivar audited: refusals of another's file that the audit log has
    :ivar seconds: the longest time that one guest's tries took
    :ivar stale: patterns that nothing matched on any host
    """

    guests: int
    counts: Mapping[str, int]
    audited: int
    seconds: float
    stale: Sequence[str]
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f'{self.guests} guests tried {self.counts["tried"]} things: '
            f'own {self.counts[exposure.OWN]}, '
            f"their project's {self.counts[exposure.PROJECT]}, "
            f'allowed by pattern {self.counts[exposure.ALLOWED]}, '
            f'foreign: {self.counts[exposure.FOREIGN]}; '
            f"refusals of others' files in the audit log: {self.audited}; "
            f'{self.seconds} s for a guest'
        )


def holders(
    cloud: Cloud,
    servers: Iterable[Any],
    images: Mapping[str, Iterable[str]] | None = None,
) -> dict[str, frozenset[str]]:
    """Say whose is what the names of files tell of.

    :param servers: all instances of the hosts, those that do not run as well
    :param images: the UUIDs of instances that may read an image that is not
        public, by the UUID of the image
    :returns: UUIDs of instances by what is in paths
    """
    found: dict[str, set[str]] = {}
    for server in servers:
        # A name of libvirt's may be in the record of now alone.
        record = cloud.api.compute.get_server(server.id)
        volumes = cloud.api.compute.volume_attachments(server)
        for token in (
            server.id,
            record.instance_name,
            *(each.volume_id for each in volumes),
        ):
            found.setdefault(token, set()).add(server.id)
    for image, instances in (images or {}).items():
        found[base_of(image)] = set(instances)
    return {token: frozenset(each) for token, each in found.items()}


def base_of(image: str) -> str:
    """Name the file of the image cache that has an image."""
    return hashlib.sha1(image.encode(), usedforsecurity=False).hexdigest()


def take(
    cloud: Cloud,
    servers: Sequence[Any],
    images: Mapping[str, Iterable[str]] | None = None,
) -> Survey:
    """Try everything as every guest, on all hosts; judge what opened.

    :param servers: all instances of the hosts, those that do not run as well
    :param images: see :func:`holders`
    """
    owners = holders(cloud, servers, images)
    names = {server.id: server.name for server in servers}
    public = frozenset(
        base_of(image.id)
        for image in cloud.api.image.images(visibility='public')
    )
    allowed = exposure.patterns((cache.HERE / _ALLOWED).read_text())

    def one(host: Host) -> tuple[Exposure, list[str]]:
        found = Exposure(host.census(), names, owners, allowed, public)
        return found, _unproven(host, found)

    answers = cloud.on_hosts(one)
    exposures = [found for found, _ in answers]
    unproven = [each for _, missing in answers for each in missing]
    counts: Counter[str] = Counter()
    for each in exposures:
        counts.update(each.counts())
    guests = [guest for each in exposures for guest in each.seen['guests']]
    stale = set.intersection(*(set(each.stale()) for each in exposures))
    return Survey(
        len(guests),
        counts,
        sum(len(each.refusals()) for each in exposures) - len(unproven),
        max((guest['seconds'] for guest in guests), default=0.0),
        sorted(stale),
        [
            *(fault for each in exposures for fault in each.faults()),
            *(
                f'no enforced AVC denial in the audit log for {each}'
                for each in unproven
            ),
        ],
    )


def _unproven(host: Host, found: Exposure) -> list[str]:
    """Say which refusals on a host its audit log does not tell of."""
    deadline = time.monotonic() + _AUDIT
    while True:
        denials = host.probe('denials', str(found.seen['since']), timeout=300)
        missing = found.unproven(denials)
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(2)
