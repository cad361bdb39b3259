# SPDX-License-Identifier: Apache-2.0

import json

import testtools

from svirt_nova import exception
from svirt_nova import level as levels
from svirt_nova.cmd import label
from tests.unit.cmd import fake


class ParseTargetTest(testtools.TestCase):
    def test_levels_contexts_and_ranges_give_the_high_level(self):
        for text in (
            's0:c1,c2',
            's0:c2,c1',
            's0-s0:c1,c2',
            's0:c1-s0:c1,c2',
            'system_u:system_r:svirt_t:s0:c1,c2',
            'system_u:object_r:svirt_image_t:s0:c2,c1\0',
        ):
            with self.subTest(text):
                self.assertEqual(
                    levels.Level(frozenset({1, 2})), label.parse_target(text)
                )

    def test_a_uuid_is_made_canonical(self):
        uuid = fake.WEB.instance_uuid
        for text in (uuid, uuid.upper(), uuid.replace('-', '')):
            self.assertEqual(uuid, label.parse_target(text))

    def test_anything_else_is_refused_by_name(self):
        for text in ('', 'web1', 's0', 'c1,c2', 's0:c1024', 's0:c01', 'a:b:c'):
            with self.subTest(text):
                error = self.assertRaises(
                    (exception.InvalidLevel, exception.InvalidContext),
                    label.parse_target,
                    text,
                )
                self.assertIn("'", str(error))
                self.assertNotIn('\n', str(error))


class LabelListTest(fake.ProgramTestCase):
    def rows(self, *args):
        status, out, err = self.program('label', 'list', '-f', 'json', *args)
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)

    def test_json_has_plain_values(self):
        self.assertEqual(
            [
                {
                    'Level': 's0:c1,c2',
                    'State': 'held',
                    'Instance': fake.WEB.instance_uuid,
                    'Project': 'p1',
                    'Hosts': ['host1', 'host2'],
                    'Since': '2026-11-01T12:30:05+00:00',
                },
                {
                    'Level': 's0:c3,c4',
                    'State': 'cooling',
                    'Instance': fake.OLD.instance_uuid,
                    'Project': 'p2',
                    'Hosts': [],
                    'Since': '2026-11-01T12:30:05+00:00',
                },
                {
                    'Level': 's0:c7,c8',
                    'State': 'reserved',
                    'Instance': None,
                    'Project': None,
                    'Hosts': [],
                    'Since': '2026-11-01T12:30:05+00:00',
                },
            ],
            self.rows(),
        )

    def test_filters(self):
        def levels_of(*args):
            return [row['Level'] for row in self.rows(*args)]

        self.assertEqual(['s0:c1,c2'], levels_of('--host', 'host1'))
        self.assertEqual([], levels_of('--host', 'host3'))
        self.assertEqual(['s0:c3,c4'], levels_of('--project', 'p2'))
        self.assertEqual(
            ['s0:c3,c4', 's0:c7,c8'],
            levels_of('--state', 'cooling', '--state', 'reserved'),
        )

    def test_the_table_is_for_people(self):
        status, out, _ = self.program('label', 'list')
        self.assertEqual(0, status)
        self.assertIn('| host1, host2 | 2026-11-01 12:30:05 |', out)
        self.assertNotIn('None', out)

    def test_an_unknown_state_is_a_usage_error(self):
        status, out, err = self.program('label', 'list', '--state', 'lost')
        self.assertEqual((2, ''), (status, out))
        self.assertIn("invalid choice: 'lost'", err)


class LabelShowTest(fake.ProgramTestCase):
    def show(self, target):
        status, out, err = self.program('label', 'show', '-f', 'json', target)
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)

    def test_by_instance_by_level_and_by_context(self):
        for target in (
            fake.OLD.instance_uuid,
            's0:c4,c3',
            'system_u:system_r:svirt_t:s0:c3,c4',
        ):
            found = self.show(target)
            self.assertEqual('s0:c3,c4', found['Level'])
            self.assertEqual('cooling', found['State'])
            self.assertEqual('2026-11-01T13:30:05+00:00', found['Retired'])

    def test_a_reserved_level_says_why(self):
        self.assertEqual('a container', self.show('s0:c7,c8')['Note'])

    def test_a_free_level_is_no_error(self):
        found = self.show('s0:c20,c10')
        self.assertEqual('s0:c10,c20', found['Level'])
        self.assertEqual('free', found['State'])
        self.assertIsNone(found['Instance'])

    def test_refusals_are_one_line_and_status_1(self):
        for target, reason in (
            ('s0:c1', 'not one of the space'),
            ('s0:c5,c6', 'not one of the space'),
            ('s0:c1,c01', 'is not a category'),
            ('11111111-0000-4000-8000-000000000001', 'holds no level'),
            ('web1', 'neither the UUID of an instance nor a level'),
        ):
            with self.subTest(target):
                status, out, err = self.program('label', 'show', target)
                self.assertEqual((1, ''), (status, out))
                self.assertIn(reason, err)
                self.assertEqual(1, err.count('\n'), err)


class LabelStatsTest(fake.ProgramTestCase):
    def test_counts(self):
        status, out, _ = self.program('label', 'stats', '-f', 'json')
        self.assertEqual(0, status)
        self.assertEqual(
            {
                'Levels': 4851,
                'Free': 4848,
                'Held': 1,
                'Retired': 0,
                'Cooling': 1,
                'Reserved': 1,
                'Used %': 0.062,
            },
            json.loads(out),
        )


class SpaceShowTest(fake.ProgramTestCase):
    def test_canonical_categories(self):
        status, out, _ = self.program('space', 'show', '-f', 'json')
        self.assertEqual(0, status)
        self.assertEqual(
            {'Categories': 'c0.c4,c6.c99', 'Per Level': 2, 'Levels': 4851},
            json.loads(out),
        )
