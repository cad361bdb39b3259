# SPDX-License-Identifier: Apache-2.0

import time
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import project_parts
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import project_rows
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import ranking
from svirt_nova.mcs import spaces
from tests import quick_store

SPACE = spaces.LevelSpace.parse('c14.c17', 2, '', 'c10.c13')


class PartsCase(testtools.TestCase):
    space = SPACE

    def setUp(self):
        super().setUp()
        self.quick = self.useFixture(quick_store.QuickStore(self.space))
        self.store = stores.Store(self.quick.conf())
        self.addCleanup(self.store.close)
        self.free_cooled = mock.Mock(return_value=0)
        self.parts = project_parts.ProjectParts(self.store, self.free_cooled)
        self.cache = self.make_cache()

    def make_cache(self):
        """What another process knows of the space."""
        return candidates.CandidateCache(
            self.store.read(lambda c: space_rows.read(c, ''))
        )

    def acquire(self, project, patience=60.0, cache=None):
        return self.parts.acquire(
            cache or self.cache, project, time.monotonic() + patience
        )


class ProjectPartsTest(PartsCase):
    def test_each_project_gets_a_part_of_its_own_and_keeps_it(self):
        got = {self.acquire(f'p{n}') for n in range(SPACE.projects)}
        self.assertEqual(SPACE.projects, len(got))
        self.assertTrue(all(SPACE.has_part(part) for part in got))
        other = self.make_cache()
        again = {self.acquire(f'p{n}', cache=other) for n in range(6)}
        self.assertEqual(got, again)

    def test_refused_claim_leaves_no_part_behind(self):
        allocator = self.quick.make()
        uuid = contract.new_uuid()
        held = allocator.acquire(uuid, 'p', 'a')
        for number in range(3):
            self.assertRaises(
                exception.NotAllowed,
                allocator.acquire,
                uuid,
                f'made-up-{number}',
                'evil',
            )
        self.assertEqual(
            [held.project_level], list(self.store.read(project_rows.parts))
        )

    def test_a_part_that_is_known_is_not_read_again(self):
        part = self.acquire('p')
        with mock.patch.object(self.store, 'read', side_effect=AssertionError):
            self.assertEqual(part, self.acquire('p'))

    def test_a_new_project_takes_the_part_of_one_without_levels(self):
        got = [self.acquire(f'p{n}') for n in range(SPACE.projects)]
        self.assertIn(self.acquire('new'), got)
        self.free_cooled.assert_not_called()

    def test_no_other_part_is_freed_than_the_one_that_is_named(self):
        got = sorted(
            (self.acquire(f'p{n}') for n in range(SPACE.projects)),
            key=lambda part: ranking.rank(part.categories),
        )
        freed = got.pop(len(got) // 2)
        self.store.write(lambda c: project_rows.free(c, freed))
        self.assertCountEqual(got, self.store.read(project_rows.parts))

    def test_no_part_is_left_when_all_projects_have_levels(self):
        allocator = self.quick.make()
        for n in range(SPACE.projects):
            allocator.acquire(contract.new_uuid(), f'p{n}', 'a')
        error = self.assertRaises(exception.SpaceFull, self.acquire, 'new')
        self.assertIn('new', str(error))
        self.assertIn('6 projects have instances', str(error))

    def test_a_part_that_others_take_all_the_time_is_given_up(self):
        with mock.patch.object(candidates, 'pick_set', return_value=None):
            error = self.assertRaises(
                exception.StoreUnreachable, self.acquire, 'p', -1
            )
        self.assertIn('project p', str(error))

    def test_a_part_that_others_took_once_is_looked_for_again(self):
        pick = candidates.pick_set
        misses = [None]

        def miss_first(*args):
            return misses.pop() if misses else pick(*args)

        with mock.patch.object(candidates, 'pick_set', miss_first):
            part = self.acquire('p')
        self.assertTrue(SPACE.has_part(part))
        self.assertEqual([], misses)

    def test_a_part_that_another_process_gave_meanwhile_is_the_projects(self):
        part = self.acquire('p', cache=self.make_cache())
        found = [None]
        find = project_rows.find

        def miss_first(connection, project):
            return found.pop() if found else find(connection, project)

        with mock.patch.object(project_rows, 'find', miss_first):
            self.assertEqual(part, self.acquire('p'))

    def test_parts_are_taken_from_the_space_that_the_store_has(self):
        generation = self.store.write(space_rows.close)
        self.assertRaises(errors.SpaceChanged, self.acquire, 'p')
        self.store.write(
            lambda c: space_rows.change(c, contract.SPACE, generation)
        )
        self.assertRaises(errors.SpaceChanged, self.acquire, 'p')
        self.assertIsNone(self.acquire('p', cache=self.make_cache()))

    def test_a_part_in_use_does_not_keep_others_from_being_freed(self):
        allocator = self.quick.make()
        for n in range(SPACE.projects):
            self.acquire(f'p{n}')
        refused = []
        free = project_rows.free

        def refuse_first(connection, part):
            if not refused:
                refused.append(part)
                raise errors.Conflict
            free(connection, part)

        with mock.patch.object(project_rows, 'free', refuse_first):
            got = allocator.acquire(contract.new_uuid(), 'new', 'a')
        self.assertNotIn(got.project_level, refused)
        self.assertEqual(1, len(refused))


class ManyPartsTest(PartsCase):
    """Parts that are too many for one window."""

    space = spaces.LevelSpace.parse('c0.c9', 2, '', 'c1019.c1023', 3)

    def test_the_last_parts_are_found(self):
        self.useFixture(
            fixtures.MonkeyPatch(f'{candidates.__name__}.WINDOW', 3)
        )
        got = {self.acquire(f'p{n}') for n in range(10)}
        self.assertEqual(10, len(got))
