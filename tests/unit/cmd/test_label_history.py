# SPDX-License-Identifier: Apache-2.0
"""``svirt-nova label history``."""

import datetime
import json

import fixtures

from svirt_nova.allocator import types
from tests.unit.cmd import fake

DAY = datetime.timedelta(days=1)


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
        def history(allocator, level=None, **wanted):
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

    def rows(self, *args):
        status, out, err = self.program(
            'label', 'history', '-f', 'json', *args
        )
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)

    def test_history_of_an_instance_has_its_levels_and_hosts(self):
        [row] = self.rows(fake.GONE_UUID.upper())
        self.assertEqual(
            {
                'Level': 's0:c1,c2',
                'Instance': fake.GONE_UUID,
                'Project': 'p3',
                'Hosts': [
                    {
                        'host': 'host2',
                        'since': '2026-10-29T12:30:05+00:00',
                        'until': '2026-10-31T12:30:05+00:00',
                    },
                    {
                        'host': 'host3',
                        'since': '2026-10-31T12:30:05+00:00',
                        'until': '2026-11-01T12:30:05+00:00',
                    },
                ],
                'Since': '2026-10-29T12:30:05+00:00',
                'Until': '2026-11-01T12:30:05+00:00',
            },
            row,
        )

    def test_hosts_at_a_time_are_those_of_then(self):
        for moment, hosts in (
            ('2026-10-30', ['host2']),
            ('2026-11-01', ['host3']),
        ):
            [row] = self.rows(fake.GONE_UUID, '--at', moment)
            self.assertEqual(hosts, [each['host'] for each in row['Hosts']])
        # Since when is not known.
        [row] = self.rows(fake.WEB.instance_uuid, '--at', '2026-11-02')
        self.assertEqual(
            [{'host': 'host1', 'since': None, 'until': None}], row['Hosts']
        )

    def test_history_of_a_project_is_listed_with_and_without_a_level(self):
        for args in (['--project', 'p3'], ['c1,c2', '--project', 'p3']):
            self.assertEqual(
                [fake.GONE_UUID], [row['Instance'] for row in self.rows(*args)]
            )
        self.assertEqual([], self.rows('--project', 'p9'))

    def test_hosts_are_lines_for_people_and_one_cell_for_spreadsheets(self):
        for kind, expected in (
            ('table', 'host2 since 2026-10-29 12:30:05 until 2026-10-31 12'),
            ('csv', 'host2 2026-10-29T12:30:05+00:00 2026-10-31T12:30:05'),
        ):
            _, out, _ = self.program(
                'label', 'history', fake.GONE_UUID, '-f', kind
            )
            self.assertIn(expected, out)
            self.assertNotIn('{', out)

    def test_history_that_was_cut_says_how_to_go_on(self):
        status, out, err = self.program(
            'label', 'history', 'c1,c2', '--limit', '1', '-f', 'json'
        )
        self.assertEqual(0, status)
        self.assertEqual(
            [fake.GONE_UUID], [r['Instance'] for r in json.loads(out)]
        )
        [_, _, moment] = err.partition('--after ')
        rest = self.rows('c1,c2', '--after', moment.strip())
        self.assertEqual(
            [fake.WEB.instance_uuid], [row['Instance'] for row in rest]
        )

    def test_history_of_nothing_in_particular_is_refused(self):
        status, out, err = self.program('label', 'history')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('--project', err)
        for number in ('0', '-1', 'x', '9' * 99):
            status, _, err = self.program(
                'label', 'history', 'c1,c2', '--limit', number
            )
            self.assertEqual(2, status)
