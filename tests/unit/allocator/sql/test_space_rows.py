# SPDX-License-Identifier: Apache-2.0
"""How the row of the space is changed."""

import sqlalchemy as sa
import testtools

from svirt_nova.allocator import contract
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import spaces
from tests import quick_store

OTHER = spaces.LevelSpace.parse('c20.c29')
THIRD = spaces.LevelSpace.parse('c30.c39')


class SpaceRowsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.quick = self.useFixture(quick_store.QuickStore())
        self.store = stores.Store(self.quick.conf())
        self.addCleanup(self.store.close)

    def close(self):
        return self.store.write(space_rows.close)

    def change(self, space, generation):
        return self.store.write(
            lambda c: space_rows.change(c, space, generation)
        )

    def stored(self):
        return self.store.read(lambda c: space_rows.read(c, 'it'))

    def test_a_change_whose_answer_was_lost_has_succeeded(self):
        generation = self.close()
        self.assertEqual([], self.change(OTHER, generation))
        changed = self.stored()

        self.assertEqual([], self.change(OTHER, generation))

        self.assertEqual(changed, self.stored())

    def test_a_change_after_that_of_somebody_else_is_refused(self):
        generation = self.close()
        self.change(OTHER, generation)
        changed = self.stored()

        self.assertRaises(errors.SpaceChanged, self.change, THIRD, generation)

        self.assertEqual(changed, self.stored())

    def test_a_change_that_others_made_and_closed_again_is_refused(self):
        generation = self.close()
        self.change(OTHER, generation)
        self.close()

        self.assertRaises(errors.SpaceChanged, self.change, OTHER, generation)

    def test_a_change_to_a_space_that_others_made_later_is_refused(self):
        generation = self.close()
        self.change(THIRD, generation)
        self.change(OTHER, self.close())

        self.assertRaises(errors.SpaceChanged, self.change, OTHER, generation)

    def test_a_level_is_outside_until_the_space_has_it_again(self):
        allocator = self.quick.make()
        allocator.acquire(contract.new_uuid(), 'p', 'a')
        for space, expected in ((OTHER, True), (contract.SPACE, False)):
            self.assertEqual([], self.change(space, self.close()))
            outside = self.store.read(
                lambda c: c.execute(
                    sa.select(schema.allocation.c.is_outside)
                ).scalar_one()
            )
            self.assertIs(expected, outside)
            self.assertEqual(int(not expected), self.store_held())

    def store_held(self):
        return self.quick.make().stats().held

    def test_the_oldest_release_is_only_raised(self):
        for before, after in (
            ('', schema.OLDEST_RELEASE),
            (schema.OLDEST_RELEASE, schema.OLDEST_RELEASE),
            ('zzzz', 'zzzz'),
        ):
            self.quick_sql(before)
            self.store.write(space_rows.raise_oldest_release)
            self.assertEqual(after, self.store.read(space_rows.oldest_release))

    def quick_sql(self, oldest):
        self.store.write(
            lambda c: c.execute(
                schema.level_space.update().values(oldest_release=oldest)
            )
        )
