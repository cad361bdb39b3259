# SPDX-License-Identifier: Apache-2.0
"""Another host drives the numbers of an instance to their end.

It may: it drops, in its own name, a claim that it never had, and every call
of it has a key that is its own.
"""

from __future__ import annotations

from unittest import mock

from svirt_nova import exception
from svirt_nova.allocator import claim_numbers
from tests.unit.virt import cloud_case

OF_A_DROP = 2 * claim_numbers.HIGHEST - 1
"""The highest number that a drop can name."""


class DrivenNumbersTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        for uuid in (cloud_case.UUID, cloud_case.OTHER):
            self.api.boot(uuid, ('A',))

    def drive(self, number=OF_A_DROP):
        self.allocator.unclaim(cloud_case.UUID, 'M', number)

    def claim(self, uuid=cloud_case.UUID, host='A'):
        """Claim an instance, as an operation of Nova does."""
        with self.cloud.processes.on(host):
            claims = self.driver(host)._extension.claims
            claims.claim(self.instance(uuid))
            return claims.own.take(uuid)

    def reconcile(self, host='A'):
        with self.cloud.processes.on(host):
            self.driver(host)._extension.reconciler.reconcile()

    def test_a_host_goes_on_claiming_that_instance(self):
        self.drive()
        numbers = [self.claim() for _ in range(3)]
        self.assertEqual(sorted({*numbers}), numbers)
        self.assertEqual(
            numbers[-1], self.allocator.get(cloud_case.UUID).claims['A']
        )

    def test_a_host_goes_on_claiming_all_others(self):
        for number in (
            OF_A_DROP,
            claim_numbers.HIGHEST - 1,
            claim_numbers.HIGHEST // 2,
        ):
            self.drive(number)
            self.claim()
            for _ in range(3):
                self.claim(cloud_case.OTHER)
            self.reconcile()
            self.claim(cloud_case.OTHER)

    def test_another_host_comes_to_claim_that_instance(self):
        self.drive()
        self.claim(host='B')
        self.assertEqual({'A', 'B'}, self.claimants())

    def test_the_host_drops_its_claim_on_that_instance(self):
        self.drive()
        self.claim()
        self.api.delete(cloud_case.UUID)
        self.assertEqual(set(), self.claimants())

    def test_claim_whose_answer_was_lost_is_dropped(self):
        """Only the store knows the number that it has chosen."""
        self.drive()
        adopt = self.allocator.adopt

        def lose(*arguments, **options):
            adopt(*arguments, **options)
            raise exception.StoreUnusable('in place of no answer')

        with (
            self.cloud.processes.on('B'),
            mock.patch.object(self.allocator, 'adopt', lose),
        ):
            claims = self.driver('B')._extension.claims
            claims.own.listed({cloud_case.OTHER: 1})
            instance = self.instance()
            self.assertRaises(exception.StoreUnusable, claims.claim, instance)
            self.assertEqual({'A', 'B'}, self.claimants())
            self.assertTrue(claims.settle(instance))
        self.assertEqual({'A'}, self.claimants())
