# SPDX-License-Identifier: Apache-2.0
"""What is counted of optimistic allocation."""

from unittest import mock

import testtools

from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import candidates
from svirt_nova.allocator.sql import try_counts
from tests import metrics_case
from tests import quick_store


class TryCountsTest(testtools.TestCase):
    def test_levels_that_were_free_and_that_were_taken_are_counted(self):
        allocator = self.useFixture(quick_store.QuickStore()).make()
        counted = self.useFixture(metrics_case.Counted([try_counts.TRIES]))
        first = allocator.acquire(contract.new_uuid(), 'p', 'a')
        pick = candidates.Candidates.pick
        picked = [first.level]
        with mock.patch.object(
            candidates.Candidates,
            'pick',
            lambda pool: picked.pop() if picked else pick(pool),
        ):
            allocator.acquire(contract.new_uuid(), 'p', 'a')
        name = 'svirt_nova_allocation_tries_total'
        self.assertEqual(2, counted.get(name, 'given', 'test'))
        self.assertEqual(1, counted.get(name, 'taken', 'test'))
