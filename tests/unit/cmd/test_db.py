# SPDX-License-Identifier: Apache-2.0

import json

import fixtures

from svirt_nova import exception
from svirt_nova.mcs import spaces
from tests.unit.cmd import fake


class SyncTest(fake.ProgramTestCase):
    def setUp(self):
        super().setUp()
        self.asked = []
        self.useFixture(
            fixtures.MockPatch(
                'svirt_nova.allocator.sql.engine.stores.sync',
                self.sync,
            )
        )

    def sync(self, conf, space=None):
        self.asked.append(space)
        return space or fake.SPACE

    def test_without_options_the_stores_own_space_will_do(self):
        status, out, err = self.program('db', 'sync', '-f', 'json')
        self.assertEqual((0, ''), (status, err))
        self.assertEqual([None], self.asked)
        self.assertEqual(fake.SPACE.size, json.loads(out)['Levels'])

    def test_each_option_leaves_the_others_at_their_defaults(self):
        for args, space in (
            (('--categories', 'c0.c9'), ('c0.c9', 2, '')),
            (('--per-level', '3'), ('c0.c1023', 3, '')),
            (('--exclude', 'c1,c5.c9'), ('c0.c1023', 2, 'c1,c5.c9')),
        ):
            with self.subTest(args):
                self.assertEqual(0, self.program('db', 'sync', *args)[0])
                self.assertEqual(
                    spaces.LevelSpace.parse(*space), self.asked.pop()
                )

    def test_an_impossible_space_is_refused_before_the_store_is_touched(self):
        for args in (
            ('--categories', 'c9.c0'),
            ('--categories', 'c0.c1024'),
            ('--categories', ''),
            ('--per-level', '0'),
            ('--per-level', '-1'),
            ('--categories', 'c0,c1', '--per-level', '2'),
            ('--exclude', 'c0.c1023'),
            ('--exclude', 'all'),
        ):
            with self.subTest(args):
                status, out, err = self.program('db', 'sync', *args)
                self.assertEqual((1, ''), (status, out))
                self.assertEqual(1, err.count('\n'), err)
        self.assertEqual([], self.asked)

    def test_another_space_than_the_stores_is_refused(self):
        def refuse(conf, space=None):
            raise exception.InvalidSpace('the store has another space')

        self.useFixture(
            fixtures.MockPatch(
                'svirt_nova.allocator.sql.engine.stores.sync', refuse
            )
        )
        self.assertEqual(
            (1, '', 'the store has another space\n'),
            self.program('db', 'sync', '--per-level', '3'),
        )
