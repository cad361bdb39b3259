# SPDX-License-Identifier: Apache-2.0
"""What arrives by live migration is read back."""

from __future__ import annotations

from types import SimpleNamespace

import fixtures
from nova import exception as nova_exception
from nova.objects import migrate_data
from nova.virt import event as virt_event

from svirt_nova.virt import extension
from tests.unit.virt import cloud_case

UUID = cloud_case.UUID


def without_label(xml):
    return cloud_case.with_seclabel(xml, lambda seclabel: '')


class ArrivalTestCase(cloud_case.CloudTestCase):
    """An instance that runs on A and is about to migrate to B."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level

    def _other_level(self, xml):
        return cloud_case.with_seclabel(
            xml,
            lambda seclabel: seclabel.replace(str(self.level), 's0:c5,c6'),
        )


class ArrivalTest(ArrivalTestCase):
    """What Nova tells of when the guest runs at its destination."""

    def _migrate_as(self, change):
        """Migrate a guest whose source does not do as it should.

        :param change: makes of the XML that it runs with what is sent
        """
        self.driver('A')._extension = extension.Extension()
        record = self.record('A')
        self.redefine('A', live=change(record.live))
        self.api.migrate_live(UUID, 'B')

    def _check_stopped(self, text):
        self.assertIn(text, self.log.output)
        self.assertIsNone(self.record('B').live)
        self.assertEqual('error', self.instance().vm_state)
        self.assertEqual('B', self.instance().host)

    def test_a_guest_at_its_level_runs_on(self):
        self.api.migrate_live(UUID, 'B')
        self.assertIsNotNone(self.record('B').live)
        self.assertEqual('active', self.instance().vm_state)
        self.assertNotIn('must not run', self.log.output)

    def test_a_guest_without_a_label_is_stopped(self):
        self._migrate_as(without_label)
        self._check_stopped('without an SELinux label')

    def test_a_guest_at_another_level_cannot_open_its_disks_here(self):
        """svirt-nova has labelled them, and libvirt leaves them alone."""
        self._migrate_as(self._other_level)
        self.assertIsNone(self.record('B'))
        self.assertIsNotNone(self.record('A').live)

    def _storage_without_labels(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read', lambda path: None
            )
        )

    def test_a_guest_on_storage_without_labels_is_stopped(self):
        self._storage_without_labels()
        self.api.migrate_live(UUID, 'B')
        self._check_stopped('carries no SELinux labels')

    def test_storage_without_labels_may_be_accepted(self):
        self.flag('unlabeled_storage', 'warn')
        self._storage_without_labels()
        self.api.migrate_live(UUID, 'B')
        self.assertIsNotNone(self.record('B').live)
        self.assertIn('NOT isolated', self.log.output)

    def test_a_guest_on_a_host_that_does_not_enforce_by_then_is_stopped(self):
        def permissive(xml):
            before = self.driver('B')._extension.guard_arrival

            def guard_arrival(instance):
                guard = before(instance)
                self.below.kernel.enforces = 0
                return guard

            self.driver('B')._extension.guard_arrival = guard_arrival
            return xml

        self._migrate_as(permissive)
        self._check_stopped('does not enforce SELinux')

    def test_a_host_that_does_not_enforce_refuses_before_anything_moves(self):
        self.driver('B')
        self.below.kernel.permissive = {'svirt_t'}
        self.api.migrate_live(UUID, 'B')
        self.assertIsNotNone(self.record('A').live)
        self.assertIsNone(self.record('B'))
        self.assertEqual('active', self.instance().vm_state)

    def test_a_permissive_mode_lets_it_run(self):
        self.flag('mode', 'permissive')
        self._migrate_as(without_label)
        self.assertIsNotNone(self.record('B').live)
        self.assertIn('NOT isolated', self.log.output)


class EarlyArrivalTest(ArrivalTestCase):
    """What libvirt tells of while the guest still runs at its source."""

    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.virt.starts.threading',
                SimpleNamespace(Thread=InlineThread),
            )
        )
        self.to = self.driver('B')

    def _prepare(self):
        self.to.pre_live_migration(
            None,
            self.instance(),
            {'block_device_mapping': []},
            None,
            None,
            migrate_data.LibvirtLiveMigrateData(is_shared_instance_path=False),
        )

    def _start(self, change=lambda xml: xml):
        record = self.record('A')
        self.cloud.hosts['B'].put(
            UUID,
            record.but(
                definition=None,
                live=change(record.live).replace('/A/', '/B/'),
                is_paused=True,
            ),
        )
        self._tell(virt_event.EVENT_LIFECYCLE_STARTED)

    def _tell(self, transition):
        self.to.emit_event(virt_event.LifecycleEvent(UUID, transition))

    def test_a_guest_at_another_level_is_stopped_before_it_runs(self):
        self._prepare()
        self._start(self._other_level)
        self.assertIsNone(self.record('B'))
        self.assertIsNotNone(self.record('A').live)
        self.assertIn('stopped before it ran here', self.log.output)

    def test_a_guest_at_its_level_is_left_to_arrive(self):
        self._prepare()
        self._start()
        self.assertIsNotNone(self.record('B').live)

    def test_a_guest_that_does_not_arrive_is_not_read(self):
        self._start(self._other_level)
        self.assertIsNotNone(self.record('B').live)

    def test_a_guest_whose_migration_was_rolled_back_is_not_waited_for(self):
        self._prepare()
        self.to.rollback_live_migration_at_destination(
            None,
            self.instance(),
            [],
            {'block_device_mapping': []},
            destroy_disks=False,
            migrate_data=migrate_data.LibvirtLiveMigrateData(
                is_shared_instance_path=False
            ),
        )
        self._start(self._other_level)
        self.assertIsNotNone(self.record('B').live)

    def test_only_the_start_of_a_guest_is_heard(self):
        self._prepare()
        record = self.record('A')
        self.cloud.hosts['B'].put(
            UUID, record.but(live=without_label(record.live))
        )
        self._tell(virt_event.EVENT_LIFECYCLE_RESUMED)
        self.assertIsNotNone(self.record('B').live)

    def test_a_guest_that_has_gone_again_is_no_error(self):
        self._prepare()
        self._tell(virt_event.EVENT_LIFECYCLE_STARTED)
        self.assertNotIn('must not run', self.log.output)

    def test_an_arrival_that_libvirt_told_of_is_checked_again(self):
        self._prepare()
        self._start()
        record = self.record('B')
        self.redefine('B', live=without_label(record.live))
        self.assertRaises(
            nova_exception.InternalError,
            self.to.post_live_migration_at_destination,
            None,
            self.instance(),
            None,
        )
        self.assertIsNone(self.record('B'))


class InlineThread:
    def __init__(self, target, args, daemon):
        self.start = lambda: target(*args)
