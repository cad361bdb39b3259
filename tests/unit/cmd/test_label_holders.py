# SPDX-License-Identifier: Apache-2.0

import json

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.cmd import label
from svirt_nova.mcs import levels
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
        for other in ('s0:c3,c4', 's0:c7,c8', 's0:c20,c10'):
            self.assertIsNone(self.show(other)['Before'])

    def test_an_instance_is_shown_to_hosts_which_may_read_no_history(self):
        def refuse(*args):
            raise exception.NotAllowed('only operators may')

        for call in ('find', 'history'):
            self.useFixture(
                fixtures.MonkeyPatch(
                    f'tests.unit.cmd.fake.Allocator.{call}', refuse
                )
            )
        found = self.show(fake.WEB.instance_uuid)
        self.assertEqual('s0:c1,c2', found['Level'])
        self.assertIsNone(found['Before'])

    def test_a_free_level_that_the_history_knows_says_so(self):
        for level in ('s0:c8,c9', 's0:c200,c201'):

            def history(allocator, asked=None, level=level, **wanted):
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
