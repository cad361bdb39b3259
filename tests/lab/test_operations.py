# SPDX-License-Identifier: Apache-2.0
"""What Nova does to an instance leaves it behind its own level.

After every operation the guest's process and files carry the level that
they had at first, and no guest opens a file of another. The tests share
two instances and a volume, and go by their names' order.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from tests.lab import acts
from tests.lab import guest
from tests.lab import isolation
from tests.lab.case import LabTestCase
from tests.lab.storage import VOLUMES

#: Where a host's nova-compute finds the file of a volume.
MOUNTS = '/var/lib/nova/mnt'


class OperationsTest(LabTestCase):
    red: Any
    blue: Any
    #: The category set of each instance, by UUID.
    first: dict[str, frozenset[int]]

    @classmethod
    def prepare(cls) -> None:
        with cls.cloud.progress.step('two instances'):
            cls.red, cls.blue = cls.cloud.boot(['red', 'blue'])
        cls.addClassCleanup(cls.cloud.delete, [cls.red, cls.blue])
        levels = acts.show_levels(cls.cloud, [cls.red, cls.blue])
        assert not levels.faults, levels.faults
        cls.first = {each.uuid: each.categories for each in levels.instances}

    def setUp(self) -> None:
        self.compute = self.cloud.api.compute

    def check(self, *, files: int) -> None:
        """Levels are those of the beginning, and the attack is repelled.

        :param files: how many files the two have in all
        """
        servers = [self.red, self.blue]
        levels = acts.show_levels(self.cloud, servers)
        self.assertEqual([], levels.faults)
        self.assertEqual(
            self.first,
            {each.uuid: each.categories for each in levels.instances},
        )
        self.assertEqual(
            files, sum(len(each.files) for each in levels.instances)
        )
        assault = acts.attack(self.cloud, servers)
        self.assertEqual([], assault.faults)
        counts = assault.attack.counts()
        self.assertEqual(files, counts['own_opened'])
        self.assertEqual(files, counts['foreign_denied'])
        self.assertEqual(files, assault.denials)

    def test_1_a_rebuilt_instance_keeps_its_level(self) -> None:
        before = self.domain_of(self.red)
        image = self.cloud.api.image.find_image('idle')
        self.compute.rebuild_server(self.red, image=image.id)
        self.cloud.wait_active(self.red)
        self.assertNotEqual(before['pid'], self.domain_of(self.red)['pid'])
        self.check(files=4)

    def test_2_a_rescued_instance_and_its_rescue_disk_have_its_level(
        self,
    ) -> None:
        self.compute.rescue_server(self.blue)
        self.cloud.wait_status(self.blue, 'RESCUE')
        rescued = self.domain_of(self.blue)
        names = {file['path'].rpartition('/')[2] for file in rescued['files']}
        self.assertLessEqual({'disk.rescue', 'disk'}, names)
        # The rescue disk, the instance's own, the config drive of each.
        for file in rescued['files']:
            level = isolation.level_of(file['context'])
            self.assertEqual(
                self.first[self.blue.id], isolation.categories(level), file
            )
        assault = acts.attack(self.cloud, [self.red, self.blue])
        self.assertEqual([], assault.faults)
        self.compute.unrescue_server(self.blue)
        self.cloud.wait_active(self.blue)
        self.check(files=4)

    def test_3_an_instance_resized_on_its_host_keeps_its_level(self) -> None:
        small = self.compute.find_flavor('small')
        self.compute.resize_server(self.red, small.id)
        self.cloud.wait_status(self.red, 'VERIFY_RESIZE')
        self.check(files=4)
        self.compute.confirm_server_resize(self.red)
        self.cloud.wait_active(self.red)
        self.check(files=4)

    def test_4_a_shelved_instance_holds_its_level_until_it_returns(
        self,
    ) -> None:
        self.compute.shelve_server(self.blue)
        self.cloud.wait_status(self.blue, 'SHELVED_OFFLOADED')
        held = [
            row
            for row in self.cloud.svirt_nova('label', 'list')
            if row['Instance'] == self.blue.id
        ]
        self.assertEqual(
            [('held', [])], [(row['State'], row['Hosts']) for row in held]
        )
        self.compute.unshelve_server(self.blue)
        self.cloud.wait_active(self.blue)
        self.check(files=4)

    def test_5_a_volume_has_the_level_as_long_as_it_is_attached(self) -> None:
        storage = self.cloud.api.block_storage
        volume = self.cloud.make_volume('data')
        self.cloud.attach(self.red, volume)
        self.check(files=5)
        name = f'volume-{volume.id}'
        mounted = self.host.run(f'ls {MOUNTS}/*/{name}').strip()
        exported = f'{VOLUMES}/{name}'
        seen = self.host.probe('contexts', mounted, exported)
        for path in (mounted, exported):
            # On the client and on the server of NFS.
            self.assertEqual(
                self.first[self.red.id],
                isolation.categories(isolation.level_of(seen[path])),
            )
        self.compute.reboot_server(self.red, 'HARD')
        self.cloud.wait_active(self.red)
        self.check(files=5)
        # A running guest has to let go of a disk itself; this one has no
        # system that could.
        self.compute.stop_server(self.red)
        self.cloud.wait_status(self.red, 'SHUTOFF')
        self.cloud.detach(self.red, volume)
        self.compute.start_server(self.red)
        self.cloud.wait_active(self.red)
        self.check(files=4)
        [context] = self.host.probe('contexts', exported).values()
        self.assertEqual(
            frozenset(), isolation.categories(isolation.level_of(context))
        )
        storage.delete_volume(volume)

    def test_6_a_suspended_instance_goes_on_at_its_level(self) -> None:
        self.compute.suspend_server(self.blue)
        self.cloud.wait_status(self.blue, 'SUSPENDED')
        self.compute.resume_server(self.blue)
        self.cloud.wait_active(self.blue)
        self.check(files=4)

    def test_7_a_snapshot_of_a_running_guest_is_what_its_disk_holds(
        self,
    ) -> None:
        """The guest goes on, and the copy carries nobody's level."""
        before = self.domain_of(self.red)
        snapshot = self.compute.create_server_image(
            self.red, 'of-red', wait=True, timeout=300
        )
        self.cloud.wait_active(self.red)
        self.assertEqual(before['pid'], self.domain_of(self.red)['pid'])
        image = self.cloud.api.image
        with tempfile.TemporaryDirectory() as directory:
            contents = []
            for name in (snapshot.id, image.find_image('idle').id):
                path = os.path.join(directory, name)
                image.download_image(name, output=path)
                contents.append(guest.first_sector(Path(path)))
        self.assertEqual(contents[1], contents[0])
        self.check(files=4)
        image.delete_image(snapshot.id)
