# SPDX-License-Identifier: Apache-2.0

import io
import json

import fixtures

from svirt_nova.allocator import types
from tests.unit.cmd import fake

NAMES = ['Trusted', 'Since', 'Reason', 'Awaited Hosts', 'Generation']


class Allocator(fake.Allocator):
    """Is distrusted and trusted as it is told."""

    state = types.Trust(42)

    def show_trust(self):
        return self.state

    def distrust(self, reason):
        self.state = types.Trust(42, fake.BORN, reason, ('host1', 'host2'))

    def trust(self):
        self.state = types.Trust(43)


class StoreTest(fake.ProgramTestCase):
    def setUp(self):
        self.made = Allocator(None)
        super().setUp()

    def allocator(self, conf):
        return self.made

    def typed(self, text, tty=True):
        stdin = io.StringIO(text)
        stdin.isatty = lambda: tty
        self.useFixture(fixtures.MonkeyPatch('sys.stdin', stdin))

    def ask(self, *args):
        status, out, err = self.program('store', *args, '-f', 'json')
        self.assertEqual(0, status, err)
        found = json.loads(out)
        self.assertEqual(NAMES, list(found))
        return [*found.values()]

    def refuse_trust(self):
        status, out, err = self.program('store', 'trust')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('nothing was changed', err)
        self.assertFalse(self.made.state.is_trusted)
        return err

    def test_store_that_is_trusted_is_shown(self):
        self.assertEqual([True, None, None, [], 42], self.ask('show'))

    def test_store_is_distrusted_for_a_reason(self):
        moment = '2026-11-01T12:30:05+00:00'
        hosts = ['host1', 'host2']
        self.assertEqual(
            [False, moment, 'an operator says so', hosts, 42],
            self.ask('distrust'),
        )
        self.assertEqual(
            [False, moment, 'restored', hosts, 42],
            self.ask('distrust', '--reason', 'restored'),
        )

    def test_distrust_ends_when_it_is_confirmed_at_the_terminal(self):
        self.made.distrust('it is old')
        self.typed('no\n')
        error = self.refuse_trust()
        for text in ('it is old', 'host1, host2', 'type yes'):
            self.assertIn(text, error)
        self.typed('yes\n')
        self.assertEqual([True, None, None, [], 43], self.ask('trust'))

    def test_distrust_ends_without_a_terminal_only_with_the_option(self):
        self.made.distrust('it is old')
        self.typed('yes\n', tty=False)
        self.assertIn('--yes', self.refuse_trust())
        self.assertEqual(
            [True, None, None, [], 43], self.ask('trust', '--yes')
        )

    def test_trust_of_a_store_that_is_trusted_asks_nothing(self):
        self.typed('', tty=False)
        self.assertEqual([True, None, None, [], 43], self.ask('trust'))
