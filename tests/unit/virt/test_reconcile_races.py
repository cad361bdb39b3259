# SPDX-License-Identifier: Apache-2.0
"""What Nova does while the claims of a host are compared is respected."""

from __future__ import annotations

import fixtures
from nova import utils as nova_utils

from svirt_nova.allocator import types
from svirt_nova.virt import remains
from tests.unit.virt import case

UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'


class ChangedMeanwhileTest(case.DriverTestCase):
    def setUp(self):
        super().setUp()
        self.allocator.list.return_value = []
        self.held_by()
        # What the host has, each time that it is looked at.
        self.looks = [{UUID}, {UUID}]
        self.useFixture(
            fixtures.MockPatchObject(remains, 'of_host', self._of_host)
        )

    def _of_host(self, host):
        return remains.HostRemains(
            dict.fromkeys(self.looks.pop(0)), frozenset()
        )

    def held_by(self, *hosts):
        self.allocator.get.return_value = types.Allocation(
            case.LEVEL, UUID, 'project', frozenset(hosts)
        )

    def reconcile(self):
        self.extension.reconciler.reconcile()

    def test_a_host_claims_what_it_has_without_a_claim(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.reconcile()
        self.allocator.acquire.assert_called_once_with(UUID, 'project', 'here')
        self.assertIn(UUID, log.output)
        self.assertIn('here', log.output)

    def test_an_instance_that_left_between_the_two_lists_is_not_claimed(self):
        """Its level would be held again, although the instance is gone."""
        self.looks = [{UUID}, set()]
        self.reconcile()
        self.allocator.acquire.assert_not_called()

    def test_an_instance_that_was_claimed_between_the_lists_is_in_order(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.held_by('here')
        self.reconcile()
        self.allocator.acquire.assert_not_called()
        self.assertNotIn(UUID, log.output)

    def test_an_instance_that_nova_works_on_waits_for_the_next_time(self):
        while_busy = nova_utils.synchronized(UUID)(self.reconcile)
        while_busy()
        self.allocator.acquire.assert_not_called()
