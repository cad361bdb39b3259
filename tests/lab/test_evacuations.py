# SPDX-License-Identifier: Apache-2.0
"""Guests that an evacuation has left behind take nothing from anybody.

Their host was not fenced. It returns while they still run there, and one
shuts itself down, the QEMU of the other is killed.
"""

from __future__ import annotations

from typing import Any

from tests.lab import acts
from tests.lab import cloud as clouds
from tests.lab import evacuation
from tests.lab.case import LabTestCase
from tests.lab.progress import Progress


class EvacuationsTest(LabTestCase):
    servers: list[Any]

    @classmethod
    def make_cloud(cls) -> clouds.Cloud:
        return clouds.Cloud(Progress(), hosts=2, volumes=True)

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('two instances'):
            # The storage server stays.
            cls.servers = cls.cloud.boot(
                ['itself', 'killed'],
                image='writer',
                host=cls.cloud.hosts[1],
            )
        cls.addClassCleanup(cls.cloud.delete, cls.servers)

    def test_guests_that_end_on_a_host_that_returns_take_no_label_off(
        self,
    ) -> None:
        itself, killed = self.servers
        found = evacuation.evacuate(
            self.cloud,
            self.servers,
            [
                (itself, evacuation.End.BY_ITSELF),
                (killed, evacuation.End.KILLED),
            ],
        )
        self.cloud.progress.say(f'evacuation: {found.stored}')
        self.assertEqual([], found.faults)
        here, there = (host.name for host in self.cloud.hosts)
        for claims in found.claims.values():
            self.assertEqual([[there], [here, there], [here]], claims)
        self.assertEqual([], acts.show_levels(self.cloud, self.servers).faults)
        assault = acts.attack(self.cloud, self.servers)
        self.assertEqual([], assault.faults)
