# SPDX-License-Identifier: Apache-2.0

import csv
import dataclasses
import io
import json
import re
from unittest import mock

import fixtures

from svirt_nova.allocator import types
from svirt_nova.mcs import spaces
from tests.unit.cmd import fake


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
        self.assertIn('| host1, host2 | 2026-11-01 12:30:05 UTC |', out)
        self.assertNotIn('None', out)

    def test_csv_has_texts_alone(self):
        status, out, _ = self.program('label', 'list', '-f', 'csv')
        self.assertEqual(0, status)
        web, old, kept = list(csv.DictReader(io.StringIO(out)))
        self.assertEqual('host1, host2', web['Hosts'])
        self.assertEqual('', old['Hosts'])
        self.assertEqual(('', ''), (kept['Instance'], kept['Project']))
        self.assertNotIn('None', out)

    def test_no_cell_of_csv_is_a_formula(self):
        for begin in '=+-@':
            project = f'{begin}HYPERLINK("http://x/","y")'
            rows = (dataclasses.replace(fake.WEB, project_id=project),)
            with (
                self.subTest(begin),
                mock.patch.object(fake.Allocator, 'rows', rows),
            ):
                _, out, _ = self.program('label', 'list', '-f', 'csv')
                [row] = csv.DictReader(io.StringIO(out))
                self.assertEqual(f"'{project}", row['Project'])

    def test_a_shell_gets_every_text_as_it_is(self):
        project = '-x'
        rows = (dataclasses.replace(fake.WEB, project_id=project),)
        with mock.patch.object(fake.Allocator, 'rows', rows):
            status, out, _ = self.program(
                'label', 'show', '-f', 'shell', str(fake.WEB.level)
            )
        self.assertEqual(0, status)
        self.assertIn('project="-x"', out)
        self.assertIn('hosts="host1, host2"', out)
        self.assertIn('retired=""', out)

    def test_an_unknown_state_is_a_usage_error(self):
        status, out, err = self.program('label', 'list', '--state', 'lost')
        self.assertEqual((2, ''), (status, out))
        self.assertIn("invalid choice: 'lost'", err)


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

    def set_space(self, *options, present=None):
        """What the allocator is asked for, and what the command says."""
        asked = []
        with (
            mock.patch.object(
                fake.Allocator,
                'set_space',
                lambda allocator, space: asked.append(space),
            ),
            mock.patch.object(fake, 'SPACE', present or fake.SPACE),
        ):
            status, _, err = self.program('space', 'set', *options)
        self.assertEqual(int(not asked), status, err)
        return asked, err

    def test_a_scheme_with_projects(self):
        asked, _ = self.set_space(
            *('--categories', 'c256.c1023'),
            *('--project-categories', 'c0.c255'),
        )
        self.assertEqual(
            [spaces.LevelSpace.parse('c256.c1023', 2, '', 'c0.c255')], asked
        )

    def test_what_is_not_said_is_not_reset(self):
        projects = spaces.LevelSpace.parse('c256.c1023', 3, '', 'c0.c255', 3)
        for options, present, missing in (
            (('--exclude', 'c200'), None, '--categories'),
            (('--per-level', '3'), None, '--categories'),
            (('--categories', 'c256.c1000'), projects, '--per-level'),
            (
                ('--categories', 'c256.c1000', '--per-level', '3'),
                projects,
                '--project-categories',
            ),
            (
                (
                    *('--categories', 'c256.c1000', '--per-level', '3'),
                    *('--project-categories', 'c0.c255'),
                ),
                projects,
                '--per-project',
            ),
        ):
            with self.subTest(options):
                asked, err = self.set_space(*options, present=present)
                self.assertEqual([], asked)
                self.assertIn(missing, err)

    def test_a_scheme_with_projects_is_left_if_that_is_said(self):
        asked, _ = self.set_space(
            *('--categories', 'c0.c99', '--project-categories', ''),
            present=spaces.LevelSpace.parse('c256.c1023', 2, '', 'c0.c255', 3),
        )
        self.assertEqual([spaces.LevelSpace.parse('c0.c99')], asked)


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

            def history(self, level=None, **wanted):
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
