# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import json
import re

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.cmd import label
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.unit.cmd import fake

DAY = datetime.timedelta(days=1)


class ParseTargetTest(testtools.TestCase):
    def test_levels_contexts_and_ranges_give_the_high_level(self):
        for text in (
            's0:c1,c2',
            's0:c2,c1',
            's0-s0:c1,c2',
            's0:c1-s0:c1,c2',
            'system_u:system_r:svirt_t:s0:c1,c2',
            'system_u:object_r:svirt_image_t:s0:c2,c1\0',
            'c1,c2',
            ' s0:c1,c2 ',
            'tcontext=system_u:object_r:svirt_image_t:s0:c1,c2',
            'system_u:object_r:svirt_image_t:s0:c1,c2 /a/my disk',
            '-rw-r--r--. 1 q q system_u:object_r:svirt_image_t:s0:c1,c2 1 x',
            'system_u:system_r:svirt_t:s0:c1,c2 42 ? 00:00:01 qemu-system-x86',
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
        for text in (
            '',
            'web1',
            's0',
            'c1,c1024',
            's0:c1024',
            's0:c01',
            'a:b:c',
            'a:b:c_t:s0:c1,c2 x a:b:c_t:s0:c3,c4',
            'type=AVC msg=audit(1.0:1): avc:  denied  { read } for  pid=1 '
            'scontext=a:b:c:s0:c1,c2 tcontext=a:b:c:s0:c3,c4 tclass=file',
        ):
            with self.subTest(text):
                error = self.assertRaises(
                    (exception.InvalidLevel, exception.InvalidContext),
                    label.parse_target,
                    text,
                )
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

    def test_filters_leave_out_what_does_not_match(self):
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

    def test_a_label_is_found_by_instance_by_level_and_by_context(self):
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

    def test_a_level_that_changed_hands_says_so(self):
        found = self.show('c2,c1')
        self.assertEqual(fake.WEB.instance_uuid, found['Instance'])
        self.assertIn(f'{fake.GONE_UUID} until 2026-11-01', found['Before'])
        self.assertIn('--at', found['Before'])
        by_instance = self.show(fake.WEB.instance_uuid)
        self.assertEqual(found, by_instance)
        for other in ('s0:c3,c4', 's0:c7,c8', 's0:c20,c10'):
            self.assertIsNone(self.show(other)['Before'])

    def test_a_free_level_that_the_history_knows_says_so(self):
        for level in ('s0:c8,c9', 's0:c200,c201'):

            def history(allocator, asked, level=level):
                past = types.Holding(
                    fake.GONE_UUID, 'p3', fake.EARLIER, fake.BORN
                )
                return [past] if str(asked) == level else []

            self.useFixture(
                fixtures.MonkeyPatch(
                    'tests.unit.cmd.fake.Allocator.history', history
                )
            )
            found = self.show(level)
            self.assertEqual('free', found['State'])
            self.assertIn(f'{fake.GONE_UUID} until 2026', found['Before'])

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
    def test_statistics_count_each_state(self):
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
                'Per Day': 0.5,
                'Full At': '2051-06-23T12:30:05+00:00',
            },
            json.loads(out),
        )


class LabelUsageTest(fake.ProgramTestCase):
    def test_projects_and_hosts(self):
        for by, expected in (
            ('project', [{'Project': 'p1', 'Levels': 2}]),
            (
                'host',
                [
                    {
                        'Host': 'host1',
                        'Claims': 1,
                        'Of Limit': '0 %',
                        'Nova': None,
                    }
                ],
            ),
        ):
            status, out, _ = self.program(
                'label', 'usage', '--by', by, '-f', 'json'
            )
            self.assertEqual(0, status)
            self.assertEqual(expected, json.loads(out)[:1])


class LabelHistoryTest(fake.ProgramTestCase):
    def history(self, *args):
        status, out, err = self.program(
            'label', 'history', 's0:c2,c1', '-f', 'json', *args
        )
        self.assertEqual((0, ''), (status, err))
        return [row['Project'] for row in json.loads(out)]

    def test_history_lists_all_holders_newest_last(self):
        self.assertEqual(['p3', 'p1'], self.history())

    def test_the_holder_at_a_time_is_shown(self):
        for moment, expected in (
            ('2026-10-01', []),
            ('2026-10-30T00:00:00+00:00', ['p3']),
            ('2026-11-01 12:30:04', ['p3']),
            ('2026-11-01 12:30:06', ['p1']),
            ('1793536206.5', ['p1']),
            ('1793536206.5:1234', ['p1']),
            ('1793400000.465:1234', ['p3']),
            ('audit(1793536206.465:1234)', ['p1']),
            ('audit(1793400000.465:1234)', ['p3']),
            ('msg=audit(1793400000.465:1234):', ['p3']),
            ('2027-01-01T00:00:00Z', ['p1']),
        ):
            with self.subTest(moment):
                self.assertEqual(expected, self.history('--at', moment))

    def test_a_word_that_is_no_time_is_refused(self):
        for word in (
            'yesterday',
            'nan',
            'inf',
            '1e300',
            'audit(1)(2)',
            '9' * 99,
        ):
            status, _, err = self.program(
                'label', 'history', 's0:c2,c1', '--at', word
            )
            self.assertEqual(2, status)
            self.assertIn(word, err)
            self.assertIn('is no time', err)
            self.assertNotIn('parse_moment', err)

    def test_who_had_a_level_is_told_while_it_cooled(self):
        def history(allocator, level):
            return [
                types.Holding(fake.GONE_UUID, 'p3', fake.EARLIER, fake.BORN),
                types.Holding(
                    fake.WEB.instance_uuid, 'p1', fake.GONE + DAY, None
                ),
            ]

        self.useFixture(
            fixtures.MonkeyPatch(
                'tests.unit.cmd.fake.Allocator.history', history
            )
        )
        for moment, expected in (
            ('2026-11-01 12:40:00', ['p3']),
            ('2026-11-01 13:40:00', []),
            ('2026-11-02 12:30:06', []),
            ('2026-11-02 13:30:06', ['p1']),
        ):
            self.assertEqual(expected, self.history('--at', moment))

    def test_a_history_of_an_instance_is_refused(self):
        status, out, err = self.program(
            'label', 'history', fake.WEB.instance_uuid
        )
        self.assertEqual((1, ''), (status, out))
        self.assertIn('is an instance', err)


class LabelReserveTest(fake.ProgramTestCase):
    def setUp(self):
        super().setUp()
        self.asked = []

        def reserve(allocator, level, note):
            self.asked.append((str(level), note))
            return dataclasses.replace(fake.KEPT, level=level, note=note)

        self.useFixture(
            fixtures.MonkeyPatch(
                'tests.unit.cmd.fake.Allocator.reserve', reserve
            )
        )

    def test_a_level_of_the_space(self):
        status, out, _ = self.program(
            'label', 'reserve', 's0:c8,c6', '--note', 'why', '-f', 'json'
        )
        self.assertEqual(0, status)
        self.assertEqual([('s0:c6,c8', 'why')], self.asked)
        self.assertEqual(
            [{'Level': 's0:c6,c8', 'State': 'reserved', 'Note': 'why'}],
            json.loads(out),
        )

    def test_a_larger_level_reserves_what_it_would_open(self):
        self.assertEqual(0, self.program('label', 'reserve', 's0:c1.c3')[0])
        self.assertEqual(
            ['s0:c1,c2', 's0:c1,c3', 's0:c2,c3'],
            [level for level, _ in self.asked],
        )

    def test_a_level_that_meets_none(self):
        status, out, err = self.program('label', 'reserve', 's0:c200,c201')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('nothing to reserve', err)
        self.assertEqual([], self.asked)


class SpaceSetTest(fake.ProgramTestCase):
    def test_needs_a_space(self):
        status, out, err = self.program('space', 'set')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('--categories', err)

    def test_a_scheme_with_projects(self):
        asked = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'tests.unit.cmd.fake.Allocator.set_space',
                lambda allocator, space: asked.append(space),
            )
        )
        status, _, err = self.program(
            'space',
            'set',
            '--categories',
            'c256.c1023',
            '--project-categories',
            'c0.c255',
        )
        self.assertEqual((0, ''), (status, err))
        self.assertEqual(
            [spaces.LevelSpace.parse('c256.c1023', 2, '', 'c0.c255')], asked
        )


class SpaceShowTest(fake.ProgramTestCase):
    def test_canonical_categories(self):
        status, out, _ = self.program('space', 'show', '-f', 'json')
        self.assertEqual(0, status)
        self.assertEqual(
            {
                'Scheme': 'instance',
                'Categories': 'c0.c4,c6.c99',
                'Per Level': 2,
                'Project Categories': None,
                'Per Project': 0,
                'Levels': 4851,
            },
            json.loads(out),
        )


class ForgedRowsTest(fake.ProgramTestCase):
    """What a service that lies, or an old store, has of texts."""

    FORGED = 'a\nfree\x1b[2J\u202e,"b'

    def setUp(self):
        super().setUp()
        forged = self.FORGED

        class Allocator(fake.Allocator):
            rows = (
                types.Allocation(
                    fake.WEB.level,
                    forged,
                    forged,
                    frozenset({forged, 'host1'}),
                    fake.BORN,
                    note=forged,
                ),
            )

            def find(self, level):
                return self.rows[0]

            def usage(self):
                return types.Usage({forged: 1}, {forged: 2}, None, None)

            def history(self, level):
                return [types.Holding(forged, forged, fake.BORN, None)]

            def show_trust(self):
                return types.Trust(1, fake.BORN, forged, (forged,))

        self.useFixture(
            fixtures.MockPatch('svirt_nova.allocator.base.load', Allocator)
        )

    COMMANDS = (
        ('label', 'list'),
        ('label', 'show', 's0:c1,c2'),
        ('label', 'usage'),
        ('label', 'usage', '--by', 'host'),
        ('label', 'history', 's0:c1,c2'),
        ('claim', 'list'),
        ('store', 'show'),
    )

    def test_texts_have_no_lines_of_their_own_for_people_and_scripts(self):
        for command in self.COMMANDS:
            for kind in ('table', 'value'):
                status, out, _ = self.program(*command, '-f', kind)
                self.assertEqual(0, status)
                # A list is written as Python does, which doubles them.
                single = re.sub(r'\\+', r'\\', out)
                self.assertIn('a\\nfree\\x1b[2J\\u202e', single)
                for line in out.splitlines():
                    self.assertTrue(line.isprintable(), line)
                    self.assertFalse(line.startswith('free'), line)

    def test_texts_are_as_they_are_in_json(self):
        for command in self.COMMANDS:
            status, out, _ = self.program(*command, '-f', 'json')
            self.assertEqual(0, status)
            self.assertIn(json.dumps(self.FORGED), out)
            self.assertNotIn('\x1b', out)
