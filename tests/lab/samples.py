# SPDX-License-Identifier: Apache-2.0
"""What was seen of running guests, sample after sample, on several hosts.

Pure: takes the lines of ``probe.py watch``.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from tests.lab import views

#: Seconds without a sample in which a level may have been another one
#: unseen. libvirtd answers late while it migrates: 3.8 s on an idle machine.
LONGEST_GAP = 10.0


@dataclass(frozen=True)
class Samples:
    """What the hosts showed.

    :ivar hosts: the samples of each host, in the order of their times
    """

    hosts: Mapping[str, Sequence[Mapping[str, Any]]]

    def __str__(self) -> str:
        return (
            f'{self.count} samples, '
            f'{self.usual_gap():.1f} s apart, '
            f'{self.longest_gap():.1f} s at most'
        )

    @property
    def count(self) -> int:
        """How many there are, of all hosts."""
        return sum(map(len, self.hosts.values()))

    def _gaps(self) -> list[float]:
        return [
            later['time'] - earlier['time']
            for samples in self.hosts.values()
            for earlier, later in itertools.pairwise(samples)
        ]

    def usual_gap(self) -> float:
        """Give the median time between two samples of a host, in seconds."""
        return statistics.median(self._gaps() or [0.0])

    def longest_gap(self) -> float:
        """Give the longest time between two samples of a host, in seconds."""
        return max(self._gaps(), default=0.0)

    def of(self, uuid: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Give each sight of an instance: its host and what was seen."""
        return [
            (host, domain)
            for host, samples in self.hosts.items()
            for sample in samples
            for domain in sample['domains']
            if domain['uuid'] == uuid
        ]

    def views(self) -> list[audit.HostView]:
        """Give all that each host ever showed, for an audit of levels.

        What a host had some time ago needs no claim today, so nothing counts
        as present.
        """
        found = []
        for name, samples in self.hosts.items():
            guests: set[audit.Guest] = set()
            sights: set[audit.Sight] = set()
            for sample in samples:
                for domain in sample['domains']:
                    guests.add(views.guest(domain))
                    sights.update(views.sights(domain))
            found.append(
                audit.HostView(
                    name, guests=tuple(guests), sights=tuple(sights)
                )
            )
        return found

    def faults(self, allocations: Sequence[types.Allocation]) -> list[str]:
        """Say who was ever seen at another level, or not at all.

        A time that nobody saw is a fault, too.

        :param allocations: what the allocator says of all instances
        """
        found = [
            f'{host} has no samples'
            for host, samples in self.hosts.items()
            if not samples
        ]
        if self.longest_gap() > LONGEST_GAP:
            found.append(f'for {self.longest_gap():.1f} s there was no sample')
        found += [
            f'{each.instance_uuid} was never seen'
            for each in allocations
            if each.state is types.State.HELD
            and not self.of(str(each.instance_uuid))
        ]
        return found + list(map(str, audit.audit(allocations, self.views())))
