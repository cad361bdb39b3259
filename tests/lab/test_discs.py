# SPDX-License-Identifier: Apache-2.0
"""Guests of one ISO image read on, whichever of them starts or ends.

The disc is the file of the image cache that all of them read.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from tests.lab import acts
from tests.lab import guest
from tests.lab import isolation
from tests.lab import survey
from tests.lab.case import LabTestCase
from tests.lab.forgery import Forger
from tests.lab.storage import INSTANCES


class DiscTest(LabTestCase):
    """Two instances of one ISO image."""

    forger: Forger

    @classmethod
    def prepare(cls) -> None:
        cls.forger = Forger(cls.host)

    def setUp(self) -> None:
        self.api = self.cloud.api
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, 'disc.iso')
            path.write_bytes(guest.disc())
            self.image = self.api.create_image(
                'disc',
                filename=str(path),
                wait=True,
                disk_format='iso',
                container_format='bare',
                visibility='public',
                min_disk=0,
                timeout=120,
            )
        self.base = f'{INSTANCES}/_base/{survey.base_of(self.image.id)}'
        self.addCleanup(self.host.run, f'rm -f {self.base}')
        self.addCleanup(self.api.image.delete_image, self.image.id)

    def check_reads(self, server: Any) -> None:
        """The firmware of a guest reads the disc, and every read succeeds."""
        before, _ = self.forger.reads(server)
        self.forger.reset(server)
        for _ in self.cloud.poll(f'reads of {server.name}'):
            after, failed = self.forger.reads(server)
            if after > before or failed:
                break
        self.assertEqual(0, failed, server.name)
        self.assertGreater(after, before, server.name)

    def test_two_guests_of_one_disc_read_on_and_its_label_stays(self) -> None:
        [one] = self.cloud.boot(['disc-1'], image='disc')
        self.addCleanup(self.cloud.delete, [one])
        seen = self.forger.look([self.base])[self.base]
        with self.forger.sampled(self.base) as samples:
            [two] = self.cloud.boot(['disc-2'], image='disc')
            self.addCleanup(self.cloud.delete, [two])
            levels = acts.show_levels(self.cloud, [one, two])
            self.check_reads(one)
            self.check_reads(two)
            # The first of them ends while the second goes on.
            self.cloud.delete([one])
            self.check_reads(two)
            self.cloud.delete([two])
        self.assertEqual([], levels.faults)
        self.cloud.progress.say(
            f'the disc: {samples["count"]} samples, '
            f'{samples["longest"]:.2f} s apart at most'
        )
        # JSON has no tuples.
        self.assertEqual(
            [[seen['context'], seen['uid'], seen['gid']]], samples['seen']
        )
        self.assertGreater(samples['count'], 50)
        self.assertEqual(
            frozenset(),
            isolation.categories(isolation.level_of(seen['context'])),
        )
