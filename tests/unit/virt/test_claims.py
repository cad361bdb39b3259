# SPDX-License-Identifier: Apache-2.0
"""Claims of hosts, through whole operations in a fake cloud."""

from __future__ import annotations

from unittest import mock

import fixtures
import testtools
from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import outages
from tests.unit.virt import cloud_case
from tests.unit.virt.cloud_case import UUID

OTHER_LEVEL = levels.Level.parse('s0:c0,c1')


class MovesMixin:
    """What must be so whether storage is shared or not."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))

    def test_a_live_migration_drops_the_claim_of_its_source(self):
        self.api.migrate_live(UUID, 'B')
        self.assertEqual({'B'}, self.claimants())
        self.assertIs(types.State.HELD, self.allocator.get(UUID).state)

    def test_a_live_migration_that_is_refused_leaves_the_source_its_claim(
        self,
    ):
        self.cloud.hosts['B'].refused.add(UUID)
        self.api.migrate_live(UUID, 'B')
        self.assertIn('A', self.claimants())
        self.assertIsNotNone(self.record('A').live)

    def test_a_migration_claims_on_both_hosts_until_it_is_confirmed(self):
        self.api.migrate(UUID, 'B')
        self.assertEqual({'A', 'B'}, self.claimants())
        self.api.confirm(UUID)
        self.assertEqual({'B'}, self.claimants())

    def test_a_migration_that_is_reverted_leaves_the_source_its_claim(self):
        self.api.migrate(UUID, 'B')
        self.api.revert(UUID)
        self.assertEqual({'A'}, self.claimants())

    def test_a_resized_instance_that_is_deleted_gives_its_level_back(self):
        """Nova saves that it is not being deleted any more, on the way."""
        self.api.migrate(UUID, 'B')
        self.api.delete(UUID)
        self.assertIs(types.State.COOLING, self.allocator.get(UUID).state)

    def test_an_offloaded_instance_keeps_its_level_without_a_claim(self):
        self.api.offload(UUID)
        found = self.allocator.get(UUID)
        self.assertEqual(frozenset(), found.hosts)
        self.assertIs(types.State.HELD, found.state)

    def test_a_reclaimed_instance_gives_its_level_back(self):
        self.api.delete_softly(UUID)
        self.assertIs(types.State.HELD, self.allocator.get(UUID).state)
        with self.cloud.processes.on('A'):
            self.cloud.compute('A').reclaim()
        self.assertIs(types.State.COOLING, self.allocator.get(UUID).state)

    def test_a_source_that_returns_from_an_evacuation_drops_its_claim(self):
        self.cloud.processes.down.add('A')
        self.api.evacuate(UUID, 'B')
        self.assertEqual({'A', 'B'}, self.claimants())
        self.cloud.processes.down.clear()
        self.cloud.restart('A')
        self.assertEqual({'B'}, self.claimants())


class LocalMovesTest(MovesMixin, cloud_case.CloudTestCase):
    pass


class SharedMovesTest(MovesMixin, cloud_case.CloudTestCase):
    is_shared = True

    def test_a_source_that_returns_gives_the_files_their_level_back(self):
        """Libvirt takes it off when the stale domain ends."""
        level = str(self.allocator.get(UUID).level)
        self.cloud.processes.down.add('A')
        self.api.evacuate(UUID, 'B')
        self.cloud.processes.down.clear()
        self.cloud.restart('A')
        path = f'/shared/instances/{UUID}/disk'
        self.assertEqual(level, self.label(path))

    def test_files_that_a_deletion_left_keep_the_level(self):
        self.cloud.hosts['A'].cannot_delete = True
        self.api.delete(UUID)
        self.assertEqual({'A'}, self.claimants())


class OutageTest(cloud_case.CloudTestCase):
    """An instance keeps the level that its domain has."""

    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.level = self.allocator.get(UUID).level
        self.cloud.faults.is_away = True

    def _reboot(self):
        self.driver()._hard_reboot(None, self.instance(), None, None)

    def test_a_guest_reboots_at_the_level_of_its_domain(self):
        self._reboot()
        self.assertIn(str(self.level), self.record().live)
        self.assertEqual('', self.record().omitted)
        self.assertIn('keeps the level', self.log.output)

    def test_a_domain_at_another_level_than_remembered_is_not_believed(self):
        xml = self.record().definition.replace(
            str(self.level), str(OTHER_LEVEL)
        )
        self.redefine('A', definition=xml)
        self.assertRaises(nova_exception.InternalError, self._reboot)

    def test_a_domain_whose_label_libvirt_drew_is_not_believed(self):
        xml = self.record().definition.replace('static', 'dynamic')
        self.redefine('A', definition=xml)
        self.assertRaises(nova_exception.InternalError, self._reboot)

    def test_what_is_remembered_without_a_domain_is_not_believed(self):
        self.cloud.hosts['A'].put(UUID, None)
        self.assertRaises(nova_exception.InternalError, self._reboot)

    def test_a_domain_alone_is_not_believed(self):
        instance = self.instance()
        instance.system_metadata = {}
        instance.save()
        self.assertRaises(nova_exception.InternalError, self._reboot)

    def test_a_guest_is_not_migrated(self):
        self.api.migrate_live(UUID, 'B')
        self.assertIsNone(self.record('B'))
        self.assertIsNotNone(self.record('A').live)


class LevelsTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.claims = self.driver()._extension.claims
        self.level = self.allocator.get(UUID).level

    def test_a_level_is_held_until_it_is_given_back(self):
        self.assertTrue(self.claims.is_held(self.level))
        self.allocator.give_back(UUID, 'A')
        self.assertFalse(self.claims.is_held(self.level))

    def test_a_store_that_is_away_does_not_say_whether_a_level_is_held(self):
        self.cloud.faults.is_away = True
        self.assertRaises(
            exception.StoreUnreachable, self.claims.is_held, self.level
        )

    def test_given_are_the_remembered_level_and_that_of_the_domain(self):
        instance = self.instance()
        self.assertEqual({self.level}, self.claims.levels_given(instance))
        instance.system_metadata[claims.LEVEL_KEY] = str(OTHER_LEVEL)
        self.assertEqual(
            {self.level, OTHER_LEVEL}, self.claims.levels_given(instance)
        )
        self.cloud.hosts['A'].put(UUID, None)
        self.assertEqual({OTHER_LEVEL}, self.claims.levels_given(instance))
        instance.system_metadata = {}
        self.assertEqual(set(), self.claims.levels_given(instance))

    def test_a_level_that_did_not_change_is_not_written_again(self):
        instance = self.instance()
        kept = dict(instance.system_metadata)
        instance.system_metadata = _ReadOnly(kept)
        self.claims.claim(instance)
        self.assertEqual(kept, instance.system_metadata)

    def test_a_claim_is_dropped_once_nothing_is_left(self):
        instance = self.instance()
        self.assertFalse(self.claims.settle(instance))
        self.assertEqual({'A'}, self.claimants())
        self.cloud.hosts['A'].put(UUID, None)
        self.cloud.storage.remove(f'/A/instances/{UUID}')
        self.assertTrue(self.claims.settle(instance))
        found = self.allocator.get(UUID)
        self.assertEqual(frozenset(), found.hosts)
        self.assertIs(types.State.HELD, found.state)

    def test_a_level_is_given_back_if_the_call_began_as_a_deletion(self):
        self.cloud.hosts['A'].put(UUID, None)
        self.cloud.storage.remove(f'/A/instances/{UUID}')
        self.assertTrue(self.claims.settle(self.instance(), was_gone=True))
        self.assertIs(types.State.COOLING, self.allocator.get(UUID).state)


class _ReadOnly(dict):
    def __setitem__(self, key, value):
        raise AssertionError(f'{key} is written')


class AnswerTest(testtools.TestCase):
    """What the allocator answers is compared with what is known."""

    def test_another_level_than_a_moment_ago_is_refused_and_logged(self):
        log = self.useFixture(fixtures.FakeLogger())
        allocator = mock.create_autospec(base.Allocator, instance=True)
        held = claims.HostClaims(
            allocator, 'A', None, outages.OutageMemory(), mock.Mock()
        )
        known = levels.Level.parse('s0:c2,c3')
        allocator.acquire.return_value = types.Allocation(
            OTHER_LEVEL, UUID, 'p', frozenset('A')
        )
        error = self.assertRaises(
            exception.WrongAnswer,
            held.hold,
            allocator.acquire,
            UUID,
            'p',
            known=known,
        )
        self.assertIn(f'expected {known}, got {OTHER_LEVEL}', str(error))
        self.assertIn(str(error), log.output)
        got = held.hold(allocator.acquire, UUID, 'p', known=OTHER_LEVEL)
        self.assertEqual(OTHER_LEVEL, got.level)
