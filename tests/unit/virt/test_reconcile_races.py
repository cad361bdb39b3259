# SPDX-License-Identifier: Apache-2.0
"""What Nova does while the claims of a host are compared is respected."""

from __future__ import annotations

from unittest import mock

import fixtures
from nova import utils as nova_utils

from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import types
from svirt_nova.lifecycle import rules
from svirt_nova.virt import remains
from svirt_nova.virt import whereabouts
from tests.unit.virt import case
from tests.unit.virt import cloud_case

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
        self.allocator.acquire.assert_called_with(
            UUID, 'project', 'here', number=mock.ANY
        )
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


class OperationBeginsTest(cloud_case.CloudTestCase):
    """An operation claims while the reconciler drops the host's old claim.

    The instance is on A, and B has a claim that is stale. An operation that
    Nova begins on B claims at one moment after the other.
    """

    def setUp(self):
        super().setUp()
        self.api.boot(cloud_case.UUID, ('A',))
        self.driver('B')
        self.allocator.acquire(cloud_case.UUID, 'project', 'B')

    def begin(self):
        """What an operation does first: a live migration to B, say."""
        with self.cloud.processes.on('B'):
            self.driver('B')._extension.claims.claim(self.instance())

    def begin_at(self, name, before=False):
        """Let the operation begin at a call, or when it was answered.

        :param name: a function of the extension, or a call of the store
        """
        place, _, short = name.rpartition('.')
        owner = {
            '': self.allocator,
            'remains': remains,
            'whereabouts': whereabouts,
        }[place]
        called = getattr(owner, short)
        waiting = [self.begin]

        def call(*arguments, **options):
            if before and waiting:
                waiting.pop()()
            answer = called(*arguments, **options)
            if not before and waiting:
                waiting.pop()()
            return answer

        self.useFixture(fixtures.MockPatchObject(owner, short, call))

    def reconcile(self):
        with self.cloud.processes.on('B'):
            reconciler = self.driver('B')._extension.reconciler
            reconciler._stale = rules.StaleClaims(0)
            reconciler.reconcile()

    def check(self):
        self.reconcile()
        self.assertEqual({'A', 'B'}, self.claimants(cloud_case.UUID))

    def test_an_operation_that_begins_at_the_listing_keeps_its_claim(self):
        for before in (True, False):
            self.begin_at('list', before)
            self.check()

    def test_an_operation_that_begins_at_the_look_keeps_its_claim(self):
        for before in (True, False):
            self.begin_at('remains.of_host', before)
            self.check()

    def test_an_operation_that_begins_after_nova_was_asked_keeps_it(self):
        self.begin_at('whereabouts.find_instance')
        self.check()

    def test_an_operation_that_begins_at_the_last_look_keeps_its_claim(self):
        self.begin_at('remains.of_instance')
        self.check()

    def test_an_operation_that_begins_at_the_drop_keeps_its_claim(self):
        self.begin_at('unclaim', before=True)
        self.check()

    def test_a_claim_that_no_operation_needs_is_dropped(self):
        self.reconcile()
        self.assertEqual({'A'}, self.claimants(cloud_case.UUID))

    def test_an_operation_that_goes_on_with_its_number_keeps_its_claim(self):
        """Its claim changes nothing in the store."""
        self.begin()
        self.begin()
        number = self.allocator.get(cloud_case.UUID).claims['B']
        self.begin_at('list')
        self.check()
        self.assertEqual(
            number, self.allocator.get(cloud_case.UUID).claims['B']
        )
        # The next reconciliation drops it.
        self.reconcile()
        self.assertEqual({'A'}, self.claimants(cloud_case.UUID))

    def test_a_drop_that_comes_late_does_not_reach_a_later_claim(self):
        """The process that sent it is gone, and so is its memory."""
        calls = []
        unclaim = self.allocator.unclaim
        self.useFixture(
            fixtures.MockPatchObject(
                self.allocator, 'unclaim', lambda *a: calls.append(a)
            )
        )
        self.reconcile()
        self.cloud.restart('B')
        self.begin()
        [late] = calls
        unclaim(*late)
        self.assertEqual({'A', 'B'}, self.claimants(cloud_case.UUID))

    def test_a_late_drop_of_a_host_whose_clock_is_ahead_drops_no_claim(self):
        """Its claim was lost, so that the store has no number of its clock."""
        ahead = 600 * 10**9
        late = []
        clock = claim_numbers.time.time_ns
        adopt, unclaim = self.allocator.adopt, self.allocator.unclaim

        def of_the_store(*arguments, **options):
            with mock.patch.object(claim_numbers.time, 'time_ns', clock):
                return adopt(*arguments, **options)

        unclaim(cloud_case.UUID, 'B')
        with (
            mock.patch.object(
                claim_numbers.time, 'time_ns', lambda: clock() + ahead
            ),
            mock.patch.object(self.allocator, 'adopt', of_the_store),
        ):
            claims = self.driver('B')._extension.claims
            claims.own.listed({cloud_case.OTHER: 1})
            # The call that claims with this number is lost.
            claims.own.to_claim(cloud_case.UUID)
            with (
                self.cloud.processes.on('B'),
                mock.patch.object(
                    self.allocator, 'unclaim', lambda *a: late.append(a)
                ),
            ):
                claims.settle(self.instance())
            self.cloud.restart('B')
            self.begin()
        [arguments] = late
        unclaim(*arguments)
        self.assertEqual({'A', 'B'}, self.claimants(cloud_case.UUID))
