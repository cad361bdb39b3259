# SPDX-License-Identifier: Apache-2.0
"""The numbers of a host's claims, and when they are used again."""

from __future__ import annotations

from unittest import mock

import testtools

from svirt_nova.allocator import claim_numbers
from svirt_nova.virt import own_claims

UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'
OTHER = '0a4f0a8e-6d26-4ea5-8c0c-4d2c0c6c9e1b'


class OwnClaimsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.own = own_claims.OwnClaims()

    def claim(self, uuid=UUID):
        """Claim, and have the answer that was expected."""
        number = self.own.to_claim(uuid)
        self.own.claimed(uuid, number, number)
        return number

    def learn(self):
        """Learn that the store numbers claims."""
        self.own.listed({OTHER: 5})

    def test_no_number_is_chosen_for_a_store_that_told_none(self):
        self.assertIsNone(self.own.to_claim(UUID))
        self.own.claimed(UUID, None, None)
        self.own.listed({UUID: None})
        self.assertIsNone(self.own.to_claim(UUID))
        self.assertIsNone(self.own.take(UUID))

    def test_a_number_that_was_answered_is_dropped_and_not_used_again(self):
        self.own.claimed(UUID, self.own.to_claim(UUID), 7)
        again = self.claim()
        self.assertGreater(again, 7)
        self.own.claimed(UUID, again, again + 9)
        self.assertEqual(again + 9, self.own.take(UUID))
        self.assertIsNone(self.own.take(UUID))

    def test_an_operation_goes_on_with_the_number_of_the_claim(self):
        self.learn()
        number = self.claim()
        self.assertEqual(number, self.claim())
        # Also when the answer did not come.
        self.assertEqual(number, self.own.to_claim(UUID))
        self.own.listing()
        self.own.listed({UUID: number})
        self.assertEqual(number, self.claim())

    def test_a_number_that_a_drop_may_name_is_not_used_again(self):
        self.learn()
        for put_back in (False, True):
            number = self.claim()
            self.assertEqual(number, self.own.take(UUID))
            if put_back:
                self.own.put_back(UUID, number)
            self.assertGreater(self.claim(), number)

    def test_a_claim_that_was_not_dropped_can_be_dropped_later(self):
        self.learn()
        number = self.claim()
        self.own.put_back(UUID, self.own.take(UUID))
        self.assertEqual(number, self.own.take(UUID))

    def test_a_claim_after_a_drop_is_not_undone_by_what_is_put_back(self):
        self.learn()
        number = self.claim()
        self.own.take(UUID)
        later = self.claim()
        self.own.put_back(UUID, number)
        self.assertEqual(later, self.own.take(UUID))

    def test_a_claim_of_the_process_before_gets_a_new_number(self):
        self.own.listing()
        self.own.listed({UUID: 7})
        self.assertGreater(self.claim(), 7)

    def test_a_listed_number_is_dropped(self):
        self.own.listed({UUID: 7, OTHER: 9})
        self.assertEqual(7, self.own.take(UUID))
        self.own.listed({})
        self.assertIsNone(self.own.take(OTHER))

    def test_a_claim_of_a_former_release_is_dropped(self):
        self.own.listed({UUID: 0})
        self.assertEqual(0, self.own.take(UUID))

    def test_what_was_claimed_since_the_listing_is_not_as_listed(self):
        self.learn()
        self.claim(OTHER)
        self.own.listing()
        self.claim()
        self.own.listed({UUID: 7, OTHER: 9})
        self.assertFalse(self.own.is_as_listed(UUID))
        self.assertTrue(self.own.is_as_listed(OTHER))

    def test_what_is_as_listed_is_claimed_with_a_new_number(self):
        self.learn()
        number = self.claim()
        self.own.listing()
        self.own.listed({UUID: number})
        self.assertTrue(self.own.is_as_listed(UUID))
        self.assertGreater(self.claim(), number)
        self.assertFalse(self.own.is_as_listed(UUID))

    def test_numbers_grow_whatever_the_clock_says(self):
        self.learn()
        first = self.claim()
        with mock.patch.object(claim_numbers.time, 'time_ns', lambda: 0):
            found = [self.claim(f'{UUID}-{n}') for n in range(5)]
        self.assertEqual([first + n for n in range(1, 6)], found)

    def test_numbers_do_not_follow_those_of_other_hosts(self):
        self.own.listed({UUID: 2**60, OTHER: 2**60})
        self.own.claimed(UUID, self.own.to_claim(UUID), 2**60 + 1)
        self.assertLess(self.claim(), 2**60)
