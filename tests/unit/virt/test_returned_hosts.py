# SPDX-License-Identifier: Apache-2.0
"""A host that was not fenced takes nothing from an instance elsewhere.

When a domain ends, libvirt takes the labels and owners of its files away, on
shared storage too, unless the XML of the domain says that they are not its.
"""

from __future__ import annotations

from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID


class ReturnedHostTest(cloud_case.CloudTestCase):
    is_shared = True

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',), 1)
        [name] = self.cloud.database.volumes_of(UUID)
        self.files = [
            f'/shared/instances/{UUID}/disk',
            f'/volumes/hash/{name}',
        ]
        self.level = self.allocator.get(UUID).level
        # From here on, every label that any file of the instance gets.
        self.seen = []
        write, remove = self.cloud.storage.write, self.cloud.storage.remove

        def note(path, text):
            if path in self.files:
                self.seen.append(text)
            write(path, text)

        def forbid(path):
            self.assertNotIn(path, self.files)
            remove(path)

        self.cloud.storage.write = note
        self.cloud.storage.remove = forbid

    def evacuate(self):
        self.cloud.processes.down.add('A')
        self.api.evacuate(UUID, 'B')
        self.assertIsNotNone(self.record('A').live)
        self.assertIsNotNone(self.record('B').live)

    def check_never_without(self):
        self.assertEqual(
            set(), {text for text in self.seen if str(self.level) not in text}
        )
        for path in self.files:
            self.assertEqual(str(self.level), self.label(path))

    def test_a_guest_that_shuts_itself_down_takes_nothing(self):
        self.evacuate()
        self.driver('A')._host.get_guest(self.instance()).end()
        self.assertIsNone(self.record('A').live)
        self.check_never_without()

    def test_a_host_that_loses_power_takes_nothing(self):
        self.evacuate()
        self.cloud.hosts['A'].lose_power()
        self.check_never_without()

    def test_a_host_that_comes_back_takes_nothing(self):
        self.evacuate()
        self.cloud.processes.down.clear()
        self.cloud.restart('A')
        record = self.record('A')
        self.assertTrue(record is None or record.live is None)
        self.check_never_without()
        self.assertEqual({'B'}, self.claimants())

    def test_a_guest_that_ends_where_it_migrated_from_takes_nothing(self):
        self.api.migrate_live(UUID, 'B')
        self.assertIsNotNone(self.record('B').live)
        self.check_never_without()

    def test_a_guest_that_is_stopped_keeps_its_files(self):
        self.api.stop(UUID)
        self.check_never_without()
        self.api.start(UUID)
        self.check_never_without()

    def test_a_volume_that_another_instance_has_by_now_is_its(self):
        """The instance was deleted while nova-compute was down."""
        self.api.boot(OTHER, ('B',))
        other = self.allocator.get(OTHER).level
        path = self.files.pop()
        # Its new holder has labelled it.
        self.cloud.files.put(path, other)
        self.driver('A')._host.get_guest(self.instance()).end()
        self.assertEqual(str(other), self.label(path))
