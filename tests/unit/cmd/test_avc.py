# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import io
import json
import pathlib
import sys
from unittest import mock

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.cmd import known_levels
from tests.unit.cmd import fake
from tests.unit.denials import test_corpus
from tests.unit.denials import world

MINUTE = datetime.timedelta(minutes=1)
MAY, OCTOBER = '1779271200.465:77', '1792924800.465:78'
TARGET = 'tcontext=system_u:object_r:svirt_image_t:s0:c300,c301 tclass=file'


def line(event=MAY, comm='"qemu-system-x86"', name='"disk"', header=''):
    return (
        f'{header}type=AVC msg=audit({event}): avc:  denied  {{ read }} for  '
        f'pid=42 comm={comm} name={name} dev="dm-0" ino=7 '
        f'scontext=system_u:system_r:svirt_t:s0:c134,c472 {TARGET} '
        f'permissive=0'
    )


class AvcCase(fake.ProgramTestCase):
    allocator = world.Allocator

    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.cmd.known_levels.now', lambda: world.NOW
            )
        )

    def rows(self, *args, stdin=b''):
        stream = io.TextIOWrapper(io.BytesIO(stdin), encoding='utf-8')
        with mock.patch.object(sys, 'stdin', stream):
            status, out, err = self.program('avc', '-f', 'json', *args)
        self.assertEqual((0, ''), (status, err))
        return json.loads(out)


class AvcTest(AvcCase):
    def test_a_line_is_told_with_then_and_now_and_a_verdict(self):
        [row] = self.rows(line())
        self.assertEqual('2026-05-20T10:00:00.465+00:00', row['Time'])
        self.assertEqual('cross-project', row['Verdict'])
        self.assertEqual(
            {
                'outcome': 'denied',
                'process': 'qemu-system-x86',
                'pid': '42',
                'permissions': ['read'],
                'class': 'file',
                'path': 'disk',
                'host': None,
                'event': MAY,
            },
            row['Access'],
        )
        self.assertEqual(
            {
                'context': 'system_u:system_r:svirt_t:s0:c134,c472',
                'level': 's0:c134,c472',
                'then': {
                    'state': 'held',
                    'instance': world.INSTANCES['ann-web'],
                    'project': 'p1',
                    'name': None,
                    # It had moved away by then from where it was before.
                    'hosts': ['compute7'],
                    'since': '2026-03-01T00:00:00+00:00',
                    'until': '2026-06-01T00:00:00+00:00',
                },
                'now': {
                    'state': 'held',
                    'instance': world.INSTANCES['bob-web'],
                    'project': 'p2',
                    'name': None,
                    'hosts': ['compute1'],
                    'since': '2026-07-01T00:00:00+00:00',
                    'retired': None,
                },
            },
            row['Source'],
        )
        self.assertEqual(['s0:c134,c472 has changed hands since'], row['Note'])

    def test_lines_come_from_standard_input_arguments_and_files(self):
        both = f'{line()}\n{line(OCTOBER)}\nother\n'
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (directory / 'audit.log').write_text(both)
        expected = ['cross-project', 'same-project']
        for args, stdin in (
            ((), both.encode()),
            (('-',), both.encode()),
            ((line(), line(OCTOBER)), b''),
            ((str(directory / 'audit.log'),), b''),
        ):
            found = self.rows(*args, stdin=stdin)
            self.assertEqual(expected, [row['Verdict'] for row in found])
            self.assertEqual([1, 2], [row['Line'] for row in found])
        self.assertEqual([], self.rows(stdin=b'nothing of ours\n'))

    def test_only_some_verdicts(self):
        for verdicts, expected in (
            (['cross-project'], [1]),
            (['same-project'], [2]),
            (['cross-project', 'same-project'], [1, 2]),
            (['own'], []),
        ):
            options = [x for each in verdicts for x in ('--only', each)]
            found = self.rows(*options, line(), line(OCTOBER))
            self.assertEqual(expected, [row['Line'] for row in found])

    def test_what_is_no_line_and_no_file_is_refused(self):
        for text in ('web1', '', 'a\0b', '/nowhere/\x1b[2J', 'x' * 100_000):
            status, out, err = self.program('avc', '-f', 'csv', text)
            self.assertEqual(1, status, text)
            self.assertNotIn(text[:1] or '-', out.partition('\n')[2])
            self.assertIn('is no file, and no line', err)
            self.assertLess(len(err), 1000)
            self.assertTrue(err.strip().isprintable())

    def test_a_directory_is_refused(self):
        path = self.useFixture(fixtures.TempDir()).path
        status, _, err = self.program('avc', path)
        self.assertEqual(1, status)
        self.assertIn('cannot be read', err)

    def test_the_time_of_a_line_without_one_is_given(self):
        text = line().partition(': ')[2]
        [row] = self.rows(text)
        self.assertEqual('doubtful', row['Verdict'])
        self.assertIsNone(row['Source']['then'])
        [row] = self.rows(text, '--at', f'audit({MAY})')
        self.assertEqual('cross-project', row['Verdict'])
        [row] = self.rows(text, '--at', OCTOBER)
        self.assertEqual('same-project', row['Verdict'])

    def test_local_times_are_read_in_the_zone_that_is_given(self):
        # The level came free, an hour of cooling included, at 01:00 UTC.
        text = line().replace(MAY, '2026-06-01 02:30:00.000:77')
        text = text.replace('): avc', ') : avc').replace('"', '')
        for zone, expected in (
            ('Europe/Berlin', 'cross-project'),
            ('UTC', 'doubtful'),
        ):
            [row] = self.rows('--timezone', zone, text)
            self.assertEqual(expected, row['Verdict'])
        status, _, err = self.program('avc', '--timezone', '../x', text)
        self.assertEqual(2, status)
        self.assertIn('no time zone', err)

    def test_near_a_change_of_hands_nobody_is_named(self):
        second = 1782864000
        for late, error, expected in (
            (-2, '1', 'doubtful'),
            (0, '1', 'same-project'),
            (0, '3000000', None),
        ):
            status, out, err = self.program(
                *('avc', '-f', 'json', '--clock-error', error),
                line(f'{second + late}.000:1'),
            )
            if expected is None:
                self.assertEqual(2, status)
                self.assertIn('give seconds', err)
            else:
                self.assertEqual(expected, json.loads(out)[0]['Verdict'])

    def test_a_store_that_is_not_trusted_names_nobody(self):
        with mock.patch.object(
            world.Allocator,
            'show_trust',
            lambda self: types.Trust(1, world.NOW, 'restored'),
        ):
            [row] = self.rows(line())
        self.assertEqual('doubtful', row['Verdict'])
        for name, uuid in world.INSTANCES.items():
            self.assertNotIn(uuid, json.dumps(row), name)

    def test_a_store_that_fails_is_one_line_and_status_1(self):
        with mock.patch.object(
            world.Allocator,
            'history',
            side_effect=exception.StoreUnreachable('/x cannot be read'),
        ):
            status, out, err = self.program('avc', line())
        self.assertEqual((1, ''), (status, out))
        self.assertEqual('/x cannot be read\n', err)

    def test_each_level_is_asked_for_once(self):
        with mock.patch.object(
            world.Allocator, 'find', autospec=True, return_value=None
        ) as find:
            self.rows(*[line()] * 50)
        self.assertEqual(2, find.call_count)

    def test_a_line_from_after_the_question_is_asked_about_anew(self):
        clock = iter(world.NOW + n * MINUTE for n in range(100))
        asked = []

        def history(allocator, level=None, **wanted):
            # The level changes hands while the log is read.
            asked.append(level)
            first = world.holding('ann-web', '2026-03-01')
            if len(asked) < 3:
                return [first]
            return [
                dataclasses.replace(first, until=world.NOW),
                world.holding('bob-web', '2026-12-01T00:30:00'),
            ]

        late = world.NOW + 35 * MINUTE
        with (
            mock.patch.object(known_levels, 'now', lambda: next(clock)),
            mock.patch.object(world.Allocator, 'history', history),
            mock.patch.object(
                world.Allocator, 'find', return_value=None, autospec=True
            ),
        ):
            early = [line()] * 40
            found = self.rows(
                *early, line(f'{late.timestamp():.3f}:1'), *early[:2]
            )
        names = [row['Source']['then']['instance'] for row in found]
        self.assertEqual(
            [
                *[world.INSTANCES['ann-web']] * 40,
                world.INSTANCES['bob-web'],
                *[world.INSTANCES['ann-web']] * 2,
            ],
            names,
        )
        self.assertEqual(4, len(asked))

    def test_the_corpus_through_the_program_names_nobody_else(self):
        cases = [
            json.loads(text)
            for text in test_corpus.CORPUS.read_text().splitlines()
        ]
        cases = [each for each in cases if 'many' not in each]
        for zone in ('UTC', 'Europe/Berlin'):
            some = [each for each in cases if each['zone'] == zone]
            found = self.rows(
                '--timezone', zone, *[each['text'] for each in some]
            )
            self.assertEqual(len(some), len(found))
            for case, row in zip(some, found, strict=True):
                self._check(case, row)

    def _check(self, case, row):
        self.assertEqual(case['verdict'], row['Verdict'], case)
        text = json.dumps(row['Note']) + json.dumps(row['Access'])
        for side in ('Source', 'Target'):
            name = case[side.lower()]
            cell = row[side] or {'then': None, 'now': None}
            then = cell.pop('then')
            self.assertEqual(
                name and world.INSTANCES[name],
                then and then['instance'],
                case,
            )
            if then is None:
                self.assertIsNone(cell['now'])
        for name, uuid in world.INSTANCES.items():
            if name != case['source'] and uuid not in case['text']:
                self.assertNotIn(uuid, text, case)


class HostileTest(AvcCase):
    FORGED = line(OCTOBER)

    def test_names_forge_no_row_and_no_line(self):
        for name in (
            f'x\n{self.FORGED}',
            'x\x1b[2J\x1b]0;title\x07',
            'x | cross-project | y',
            '\u202e\u2028\x85x\x0b\x0c\x1c',
            'x' * 5000,
        ):
            text = line(name=name.encode().hex().upper())
            [row] = self.rows(stdin=text.encode())
            self.assertEqual('cross-project', row['Verdict'])
            for kind in ('table', 'value', 'csv'):
                status, out, _ = self.program('avc', '-f', kind, text)
                self.assertEqual(0, status)
                self.assertLess(len(out), 20_000)
                for shown in out.splitlines():
                    self.assertTrue(shown.isprintable(), shown)
                self.assertEqual(1, out.count('2026-05-20'))

    def test_lines_of_megabytes_take_no_memory_and_name_nobody(self):
        big = line().replace('"disk"', '"' + 'x' * 3_000_000 + '"')
        found = self.rows(stdin=f'{big}\n{line()}\n'.encode())
        # The end of a long line is never read as a line of its own.
        self.assertEqual(
            [(1, 'doubtful'), (2, 'cross-project')],
            [(row['Line'], row['Verdict']) for row in found],
        )
        early = line() + ' x="' + 'y' * 3_000_000 + '"'
        found = self.rows(stdin=f'{early}\n{line()}\n'.encode())
        self.assertEqual(
            ['doubtful', 'cross-project'], [row['Verdict'] for row in found]
        )

    def test_bytes_that_are_no_text_break_nothing(self):
        found = self.rows(
            stdin=b'\xff\xfe\x00\n' + line().encode() + b'\r\n\xc3\x28\n'
        )
        self.assertEqual(['cross-project'], [row['Verdict'] for row in found])

    def test_a_line_that_a_program_shows_set_in_is_none(self):
        self.assertEqual([], self.rows(stdin=f'   {self.FORGED}'.encode()))
