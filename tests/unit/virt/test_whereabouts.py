# SPDX-License-Identifier: Apache-2.0
"""Where an instance lives and moves, as Nova's conductor says."""

from __future__ import annotations

import oslo_messaging
from nova import exception as nova_exception

from svirt_nova.virt import whereabouts
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID

OVER = (
    'cancelled',
    'completed',
    'confirmed',
    'done',
    'error',
    'failed',
    'reverted',
)
UNDER_WAY = (
    'accepted',
    'confirming',
    'finished',
    'migrating',
    'post-migrating',
    'pre-migrating',
    'preparing',
    'queued',
    'reverting',
    'running',
)


class _Case(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))

    def migrate(self, status='running', kind='migration', source='A'):
        return self.cloud.database.migrate(
            UUID,
            migration_type=kind,
            source_compute=source,
            dest_compute='B',
            status=status,
        )


class RecordTest(_Case):
    def test_a_record_is_found(self):
        for find in (
            whereabouts.find_instance,
            whereabouts.find_live_instance,
        ):
            self.assertEqual('A', find(UUID).host)
            self.assertRaises(nova_exception.InstanceNotFound, find, OTHER)

    def test_a_deleted_instance_has_a_record_and_does_not_live(self):
        self.instance().destroy()
        self.assertTrue(whereabouts.find_instance(UUID).deleted)
        self.assertRaises(
            nova_exception.InstanceNotFound,
            whereabouts.find_live_instance,
            UUID,
        )


class MigratingTest(_Case):
    def test_a_migration_that_is_under_way_counts_on_both_its_hosts(self):
        found = self.migrate()
        for status in UNDER_WAY:
            self.cloud.database.set_status(found, status)
            for host, is_migrating in (('A', 1), ('B', 1), ('C', 0)):
                self.assertIs(
                    bool(is_migrating),
                    whereabouts.is_migrating(UUID, host),
                    (status, host),
                )

    def test_a_migration_that_is_over_does_not_count(self):
        found = self.migrate()
        for status in OVER:
            self.cloud.database.set_status(found, status)
            self.assertFalse(whereabouts.is_migrating(UUID, 'B'), status)

    def test_one_migration_of_several_counts(self):
        self.migrate('error')
        self.migrate('running')
        self.migrate('completed')
        self.assertTrue(whereabouts.is_migrating(UUID, 'B'))

    def test_an_instance_without_a_migration_does_not_migrate(self):
        self.assertFalse(whereabouts.is_migrating(UUID, 'A'))


class ElsewhereTest(_Case):
    def _may(self, host='A'):
        return whereabouts.may_live_elsewhere(self.instance(), host)

    def test_an_instance_lives_on_its_host(self):
        self.assertFalse(self._may())

    def test_an_instance_of_another_host_lives_there(self):
        self.assertTrue(self._may('B'))

    def test_an_evacuation_that_goes_on_may_run_it_elsewhere(self):
        found = self.migrate(kind='evacuation')
        for status in ('accepted', 'pre-migrating'):
            self.cloud.database.set_status(found, status)
            self.assertTrue(self._may(), status)

    def test_an_evacuation_that_failed_or_is_over_changes_nothing(self):
        found = self.migrate(kind='evacuation')
        for status in ('failed', 'error', 'completed'):
            self.cloud.database.set_status(found, status)
            self.assertFalse(self._may(), status)

    def test_an_evacuation_that_was_done_may_have_come_back(self):
        self.migrate('done', 'evacuation')
        self.assertFalse(self._may())

    def test_an_older_record_than_an_evacuation_is_read_anew(self):
        old = self.instance()
        self.migrate('done', 'evacuation')
        new = self.instance()
        new.host = 'B'
        new.save()
        self.assertTrue(whereabouts.may_live_elsewhere(old, 'A'))

    def test_another_migration_or_source_is_no_evacuation_from_here(self):
        self.migrate('accepted', 'migration')
        self.migrate('accepted', 'evacuation', 'C')
        self.assertFalse(self._may())

    def test_a_conductor_that_does_not_answer_leaves_it_open(self):
        for error in (
            oslo_messaging.MessagingTimeout('conductor'),
            nova_exception.InternalError('conductor'),
        ):

            def fail(filters, error=error):
                raise error

            self.cloud.database.get_by_filters = fail
            self.assertTrue(self._may())
        self.assertIn('Nova does not say', self.log.output)
