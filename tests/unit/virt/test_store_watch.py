# SPDX-License-Identifier: Apache-2.0
"""A store that was restored from a backup, below two hosts."""

from __future__ import annotations

import datetime

import fixtures
from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova.allocator import types
from tests import samples
from tests.fakes import level_stores
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import OTHER
from tests.unit.virt.cloud_case import UUID

THIRD = '33333333-3333-4333-8333-333333333333'


class RestoredCase(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MockPatchObject(
                types, 'LEAST_DISTRUST', datetime.timedelta()
            )
        )
        for name in 'AB':
            self.driver(name)

    def restore(self, *lost):
        """Restore the store from before instances were built.

        :returns: the levels that they have, by instance
        """
        store = self.levels._store
        found = {}
        for uuid in lost:
            found[uuid] = self.allocator.get(uuid).level
            del store.allocations[found[uuid]]
        store.generation = 1
        return found

    def look(self, *names):
        """Let hosts report their resources to Nova, as every minute."""
        for name in names:
            with self.cloud.processes.on(name):
                self.driver(name)._extension.reconcile_if_due()

    def refuse_boot(self, uuid=THIRD, host='A'):
        self.api.boot(uuid, (host,))
        self.assertIsNone(self.record(host, uuid))
        self.assertRaises(exception.UnknownInstance, self.allocator.get, uuid)


class RestoredStoreTest(RestoredCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.api.boot(OTHER, ('B',))

    def test_new_instance_is_refused_at_once(self):
        self.restore(UUID, OTHER)
        self.refuse_boot()
        self.assertFalse(self.allocator.show_trust().is_trusted)
        self.assertIn('has seen its generation', self.log.output)
        self.assertIn('svirt-nova store show', self.log.output)

    def test_store_is_trusted_when_both_hosts_have_told_their_levels(self):
        lost = self.restore(UUID, OTHER)
        self.look('A')
        self.assertEqual(('B',), self.allocator.show_trust().awaited)
        self.refuse_boot()
        self.look('B')
        self.assertTrue(self.allocator.show_trust().is_trusted)
        for uuid, level in lost.items():
            self.assertEqual(level, self.allocator.get(uuid).level)
            self.assertIsNotNone(self.record('AB'[uuid == OTHER], uuid).live)
        self.api.boot(THIRD, ('A',))
        self.assertNotIn(self.allocator.get(THIRD).level, lost.values())

    def test_guests_that_run_are_not_touched(self):
        self.restore(UUID, OTHER)
        before = [self.record('A'), self.record('B', OTHER)]
        self.refuse_boot()
        self.look('A', 'B')
        self.assertEqual(before, [self.record('A'), self.record('B', OTHER)])

    def test_operator_ends_it_where_a_host_stays_away(self):
        self.restore(UUID)
        self.cloud.processes.down.add('B')
        self.look('A')
        self.look('A')
        self.assertEqual(('B',), self.allocator.show_trust().awaited)
        self.allocator.trust()
        self.api.boot(THIRD, ('A',))
        self.assertIsNotNone(self.record('A', THIRD).live)

    def test_lost_level_is_noticed_without_a_generation(self):
        """The backup is so young that the generation has not grown since."""
        generation = self.levels._store.generation
        self.restore(UUID)
        self.levels._store.generation = generation
        self.cloud.now += 3600
        self.look('A')
        self.assertIn(UUID, self.allocator.show_trust().reason)
        self.look('A', 'B')
        self.assertTrue(self.allocator.show_trust().is_trusted)

    def test_host_whose_level_another_instance_has_does_not_report(self):
        lost = self.restore(UUID)
        self.levels._store.distrust('it was restored')
        self.allocator.adopt(THIRD, 'project', 'B', lost[UUID])
        self.look('A', 'B')
        self.assertEqual(('A',), self.allocator.show_trust().awaited)
        self.assertIn(f'instances have on host A: {UUID}', self.log.output)
        # It is not over when the other one is said to be gone, which anybody
        # may say, but when the level of that one has cooled.
        self.allocator.give_back(THIRD, 'B')
        self.look('A')
        self.assertEqual(('A',), self.allocator.show_trust().awaited)
        self.levels.pass_time(level_stores.COOLING + 1)
        self.look('A')
        self.assertTrue(self.allocator.show_trust().is_trusted)
        self.assertEqual(lost[UUID], self.allocator.get(UUID).level)

    def test_host_with_an_adopted_guest_records_its_level_again(self):
        record = self.record().live.replace('static', 'dynamic')
        head, tail = record.rsplit('</domain>', 1)
        self.redefine('A', live=f'{head}{samples.OWNER}</domain>{tail}')
        lost = self.restore(UUID)
        self.look('A', 'B')
        self.look('A', 'B')
        self.assertTrue(self.allocator.show_trust().is_trusted)
        found = self.allocator.get(UUID)
        self.assertEqual((lost[UUID], {'A'}), (found.level, found.hosts))

    def test_files_without_a_domain_keep_the_level_that_nova_remembers(self):
        lost = self.restore(UUID)
        self.cloud.hosts['A'].put(UUID, None)
        self.look('A', 'B')
        self.assertEqual(lost[UUID], self.allocator.get(UUID).level)

    def test_domain_of_an_instance_that_nova_does_not_have_awaits_nobody(
        self,
    ):
        self.restore(UUID)
        self.instance().destroy()
        self.look('A', 'B')
        self.assertTrue(self.allocator.show_trust().is_trusted)

    def test_store_of_a_former_release_is_told_of_once(self):
        def unknown(*_):
            raise exception.StoreUnusable('upgrade it before computes')

        self.allocator.meet = self.allocator.doubt = unknown
        self.look('A')
        self.look('A')
        self.assertEqual(1, self.log.output.count('upgrade it before'))
        self.restore(UUID)
        self.cloud.now += 3600
        self.look('A')
        self.assertEqual({'A'}, self.claimants())


class RememberedLevelTest(RestoredCase):
    """The level that Nova remembers, and what the store answers."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level

    def take(self):
        """Restore the store, and give the level to another instance."""
        self.restore(UUID)
        self.allocator.adopt(OTHER, 'project', 'B', self.level)
        self.levels._store.generation = types.LEAP

    def test_instance_that_the_store_lost_gets_the_level_back(self):
        self.api.stop(UUID)
        self.restore(UUID)
        self.api.start(UUID)
        self.assertEqual(self.level, self.allocator.get(UUID).level)
        self.assertIn(str(self.level), self.record().live)

    def test_start_at_another_level_than_remembered_is_refused(self):
        self.api.stop(UUID)
        self.take()
        error = self.assertRaises(
            nova_exception.InternalError, self.api.start, UUID
        )
        self.assertIn(f'remembers the level {self.level}', str(error))
        self.assertIn('Hard-reboot the instance', str(error))
        self.assertIsNone(self.record().live)
        self.assertEqual(
            str(self.level),
            self.instance().system_metadata['svirt_nova_level'],
        )
        self.assertRaises(exception.UnknownInstance, self.allocator.get, UUID)

    def test_hard_reboot_gives_another_level_and_says_so(self):
        self.take()
        self.api.reboot(UUID, 'HARD')
        other = self.allocator.get(UUID).level
        self.assertNotEqual(self.level, other)
        self.assertIn(str(other), self.record().live)
        self.assertIn(
            f'had the level {self.level}, and gets the level {other}',
            self.log.output,
        )

    def test_hard_reboot_is_refused_while_the_store_is_not_trusted(self):
        self.take()
        self.allocator.distrust('it was restored')
        before = self.record()
        self.assertIsNotNone(before.live)
        self.api.reboot(UUID, 'HARD')
        self.assertEqual(before, self.record())
        self.assertIn('it was restored', self.log.output)

    def test_stale_record_of_nova_does_not_keep_a_guest_from_its_level(self):
        self.api.stop(UUID)
        instance = self.instance()
        other = next(
            each for each in self.allocator.space() if each != self.level
        )
        instance.system_metadata['svirt_nova_level'] = str(other)
        instance.save()
        self.api.start(UUID)
        self.assertIn(str(self.level), self.record().live)
        self.assertEqual(self.level, self.allocator.get(UUID).level)

    def test_level_without_sense_is_told_and_forgotten(self):
        self.api.stop(UUID)
        instance = self.instance()
        instance.system_metadata['svirt_nova_level'] = 'nonsense'
        instance.save()
        self.api.start(UUID)
        self.assertIn('as the level of the instance is none', self.log.output)
        self.assertEqual(
            str(self.level),
            self.instance().system_metadata['svirt_nova_level'],
        )
