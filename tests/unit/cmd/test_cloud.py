# SPDX-License-Identifier: Apache-2.0

import io
import json

import fixtures

from svirt_nova.allocator import clouds
from tests.unit.cmd import fake

UUID = 'bbbbbbbb-0000-4000-8000-000000000001'
CLOUD = clouds.Cloud(
    'http://nova', (clouds.ComputeService('host1', UUID, True),)
)
BEFORE = clouds.KnownCloud(
    'http://old',
    (
        clouds.KnownHost('a', UUID, fake.GONE),
        clouds.KnownHost('stranger', None),
    ),
)


class Allocator(fake.Allocator):
    def __init__(self, conf):
        super().__init__(conf)
        self.known = BEFORE

    def show_cloud(self):
        return self.known

    def meet_cloud(self, cloud, strangers=(), replaces=False):
        assert replaces
        self.known = clouds.KnownCloud().meet(cloud, strangers, fake.BORN)
        return self.known


class Terminal(io.StringIO):
    def isatty(self):
        return True


class CloudTest(fake.ProgramTestCase):
    def setUp(self):
        self.answered = CLOUD
        self.made = Allocator(None)
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.lifecycle.compute_api.load', lambda conf: self
            )
        )

    def allocator(self, conf):
        return self.made

    def check(self):
        return self.answered

    def cloud(self, *args):
        status, out, err = self.program('cloud', *args, '-f', 'json')
        self.assertEqual(0, status, err)
        return json.loads(out)

    def test_show_names_the_hosts_and_strangers(self):
        self.assertEqual(
            [
                {
                    'Host': 'a',
                    'Compute Service': UUID,
                    'Missing Since': '2026-11-01T13:30:05+00:00',
                    'Cloud': 'http://old',
                },
                {
                    'Host': 'stranger',
                    'Compute Service': None,
                    'Missing Since': None,
                    'Cloud': 'http://old',
                },
            ],
            self.cloud('show'),
        )

    def test_accept_remembers_the_cloud_that_answers(self):
        found = self.cloud('accept', '--yes')
        self.assertEqual(
            [('host1', UUID, 'http://nova')],
            [(r['Host'], r['Compute Service'], r['Cloud']) for r in found],
        )

    def test_accept_asks_at_a_terminal(self):
        for answer, status in (('yes\n', 0), ('y\n', 1), ('', 1)):
            with self.subTest(answer):
                self.made.known = BEFORE
                self.useFixture(
                    fixtures.MonkeyPatch('sys.stdin', Terminal(answer))
                )
                got, _, err = self.program('cloud', 'accept')
                self.assertEqual(status, got, err)
                for said in ('http://old', 'http://nova', 'host1'):
                    self.assertIn(said, err)
                self.assertEqual(bool(status), self.made.known == BEFORE)

    def test_accept_shows_names_that_a_terminal_would_obey_as_escapes(self):
        name = 'host1\x1b[2J\nThe store is yours'
        self.answered = clouds.Cloud(
            'http://nova\x1b[2J', (clouds.ComputeService(name, UUID, True),)
        )
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', Terminal('no\n')))
        status, _, err = self.program('cloud', 'accept')
        self.assertEqual(1, status)
        self.assertNotIn('\x1b', err)
        self.assertIn(ascii(name), err)

    def test_accept_without_a_terminal_needs_the_confirmation(self):
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', io.StringIO('yes')))
        status, _, err = self.program('cloud', 'accept')
        self.assertEqual(1, status)
        self.assertIn('--yes', err)
        self.assertEqual(BEFORE, self.made.known)
