# SPDX-License-Identifier: Apache-2.0

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import store_trust
from tests import quick_store


class ReportTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.allocator = self.useFixture(quick_store.QuickStore()).make()
        self.allocator.distrust('a test')

    def report(self, host, number, prefix='made-up'):
        self.allocator.report(host, [f'{prefix}{n}' for n in range(number)])

    def test_who_names_many_hosts_is_told(self):
        self.report('b', types.MOST_REPORTED - 10)
        self.assertIn(
            f'Host b names {types.MOST_REPORTED - 10} hosts', self.log.output
        )
        # Whoever comes next is refused, and was named alone.
        self.assertRaises(exception.LimitReached, self.report, 'a', 20, 'real')

    def test_who_names_some_hosts_or_known_ones_is_not(self):
        self.report('b', store_trust.MANY_HOSTS - 1)
        self.report('a', store_trust.MANY_HOSTS - 1)
        self.report('a', store_trust.MANY_HOSTS)
        self.assertNotIn('names', self.log.output)
