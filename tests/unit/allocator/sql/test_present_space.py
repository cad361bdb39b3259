# SPDX-License-Identifier: Apache-2.0

import time
from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import present_space
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import spaces
from tests import quick_store

OTHER = spaces.LevelSpace.parse('c20.c29')


class PresentSpaceTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        quick = self.useFixture(quick_store.QuickStore())
        self.store = stores.Store(quick.conf())
        self.addCleanup(self.store.close)
        self.space = present_space.PresentSpace(self.store)

    def close(self):
        return self.store.write(space_rows.close)

    def open(self, generation, space=OTHER):
        self.store.write(lambda c: space_rows.change(c, space, generation))

    def test_candidates_stay_until_the_space_is_forgotten(self):
        cache = self.space.cache()
        self.assertEqual(contract.SPACE, cache.space)
        self.open(self.close())
        self.assertIs(cache, self.space.cache())
        self.assertEqual(OTHER, self.space.stored().space)
        self.space.forget()
        self.assertEqual(OTHER, self.space.cache().space)

    def test_work_on_a_space_that_has_changed_is_done_again(self):
        seen = []

        def work(cache):
            seen.append(cache.space)
            if len(seen) == 1:
                self.open(self.close())
                raise errors.SpaceChanged
            return 'done'

        self.assertEqual('done', self.space.run(work))
        self.assertEqual([contract.SPACE, OTHER], seen)

    def test_a_level_outside_a_former_space_is_looked_for_in_the_present(
        self,
    ):
        level = next(iter(OTHER))
        self.space.cache()
        self.open(self.close())
        self.assertIsNone(
            self.space.run(lambda cache: cache.space.check(level))
        )

    def test_a_level_outside_the_present_space_is_refused_at_once(self):
        looks = []

        def work(cache):
            looks.append(cache)
            cache.space.check(next(iter(OTHER)))

        self.assertRaises(exception.NotInSpace, self.space.run, work)
        self.assertEqual(1, len(looks))

    def test_work_waits_for_a_change_and_is_done_in_the_new_space(self):
        seen = []
        generations = []

        def work(cache):
            seen.append(cache.space)
            if len(seen) == 1:
                generations.append(self.close())
                raise errors.SpaceChanged
            return 'done'

        with mock.patch.object(present_space.time, 'sleep') as sleep:
            sleep.side_effect = lambda _seconds: self.open(*generations)
            self.assertEqual('done', self.space.run(work))
        self.assertEqual([contract.SPACE, OTHER], seen)

    def test_a_space_that_is_being_changed_is_waited_for(self):
        generation = self.close()
        with mock.patch.object(present_space.time, 'sleep') as sleep:
            sleep.side_effect = lambda _seconds: self.open(generation)
            self.space.wait_until_open(time.monotonic() + 60)
        sleep.assert_called_once_with(present_space._PAUSE)

    def test_a_space_that_does_not_open_in_time_is_given_up(self):
        self.close()
        error = self.assertRaises(
            exception.StoreUnreachable,
            self.space.wait_until_open,
            time.monotonic() - 1,
        )
        self.assertIn('is being changed', str(error))
        self.assertIn(str(self.store), str(error))
