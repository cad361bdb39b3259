# SPDX-License-Identifier: Apache-2.0

import dataclasses
import io
import json

import fixtures

from svirt_nova import exception
from svirt_nova.allocator import clouds
from tests.unit.cmd import fake

WEB = dataclasses.replace(fake.WEB, claims={'host1': 7, 'host2': 5})
# As a service lists it that does not number claims.
GONE = dataclasses.replace(fake.OLD, hosts=frozenset({'host1'}))


class Allocator(fake.Allocator):
    """Remembers which claims it was told to drop."""

    rows = (WEB, GONE, fake.KEPT)

    def __init__(self, conf):
        super().__init__(conf)
        self.dropped = []
        self.known = clouds.KnownCloud()

    def show_cloud(self):
        return self.known

    def unclaim(self, instance_uuid, host, number=None):
        self.dropped.append((instance_uuid, host, number))


class _Base(fake.ProgramTestCase):
    def setUp(self):
        self.made = Allocator(None)
        super().setUp()

    def allocator(self, conf):
        return self.made

    def typed(self, text, tty=True):
        stdin = io.StringIO(text)
        stdin.isatty = lambda: tty
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', stdin))


class ClaimListTest(_Base):
    def rows(self, *args):
        status, out, err = self.program('claim', 'list', '-f', 'json', *args)
        self.assertEqual((0, ''), (status, err))
        return [tuple(row.values()) for row in json.loads(out)]

    def test_a_row_for_each_claim(self):
        web = fake.WEB.instance_uuid
        self.assertEqual(
            [
                ('host1', web, 's0:c1,c2', 'held'),
                ('host1', GONE.instance_uuid, 's0:c3,c4', 'retired'),
                ('host2', web, 's0:c1,c2', 'held'),
            ],
            self.rows(),
        )

    def test_the_claims_of_one_host_are_listed(self):
        self.assertEqual(
            [('host2', fake.WEB.instance_uuid, 's0:c1,c2', 'held')],
            self.rows('--host', 'host2'),
        )
        self.assertEqual([], self.rows('--host', 'host'))


class ClaimPurgeTest(_Base):
    def purge(self, *args):
        return self.program('claim', 'purge', '-f', 'json', *args)

    def assert_purged(self, answer):
        status, out, _ = answer
        self.assertEqual(0, status)
        self.assertEqual(
            {
                'Host': 'host1',
                'Claims dropped': 2,
                'Levels still held': 1,
                'Levels still retired': 0,
                'Levels cooling': 1,
            },
            json.loads(out),
        )
        self.assertEqual(
            [
                (WEB.instance_uuid, 'host1', 7),
                (GONE.instance_uuid, 'host1', None),
            ],
            self.made.dropped,
        )

    def assert_refused(self, answer, reason):
        status, out, err = answer
        self.assertEqual((1, ''), (status, out))
        self.assertIn(reason, err)
        self.assertIn('nothing was changed', err)
        self.assertEqual([], self.made.dropped)

    def test_the_option_confirms(self):
        self.typed('', tty=False)
        self.assert_purged(self.purge('--host', 'host1', '--fenced', 'host1'))

    def test_the_name_typed_at_the_terminal_confirms(self):
        self.typed('host1\n')
        answer = self.purge('--host', 'host1')
        self.assert_purged(answer)
        self.assertIn('host1 claims 2 instances', answer[2])

    def test_anything_else_typed_refuses(self):
        for text in ('', '\n', 'y\n', 'host2\n'):
            with self.subTest(text):
                self.typed(text)
                self.assert_refused(
                    self.purge('--host', 'host1'), "not the host 'host1'"
                )

    def test_without_a_terminal_the_option_is_asked_for(self):
        self.typed('host1\n', tty=False)
        self.assert_refused(self.purge('--host', 'host1'), '--fenced host1')

    def test_the_option_must_name_the_same_host(self):
        for name in ('host2', ''):
            with self.subTest(name):
                self.assert_refused(
                    self.purge('--host', 'host1', '--fenced', name),
                    "not the host 'host1'",
                )

    def test_a_host_without_claims_that_nova_listed_needs_no_word(self):
        self.typed('', tty=False)
        self.made.known = clouds.KnownCloud(
            'here', (clouds.KnownHost('host9', None),)
        )
        status, out, _ = self.purge('--host', 'host9')
        self.assertEqual((0, 0), (status, json.loads(out)['Claims dropped']))

    def test_a_host_that_nobody_knows_is_refused(self):
        self.typed('', tty=False)
        for name in ('host9', 'host', 'HOST1', '', 'x\x1b[2J'):
            with self.subTest(name):
                answer = self.purge('--host', name, '--fenced', name)
                self.assert_refused(answer, 'no host of this name')
                self.assertNotIn('\x1b', answer[2])

    def test_a_store_that_goes_away_says_how_far_it_came(self):
        def unclaim(instance_uuid, host, number):
            if self.made.dropped:
                raise exception.StoreUnreachable('away')
            self.made.dropped.append(instance_uuid)

        self.made.unclaim = unclaim
        status, _, err = self.purge('--host', 'host1', '--fenced', 'host1')
        self.assertEqual(1, status)
        self.assertIn('away; 1 of 2 claims were dropped', err)

    def test_the_host_must_be_named(self):
        status, _, err = self.purge('--fenced', 'host1')
        self.assertEqual(2, status)
        self.assertIn('--host', err)
