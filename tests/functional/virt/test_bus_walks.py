# SPDX-License-Identifier: Apache-2.0
"""Random walks over a bus that drops, doubles and delays messages.

``SVIRT_NOVA_BUS_STEPS`` says how many steps are taken (default: 2,000); with
it the walks differ from run to run.
"""

from __future__ import annotations

import collections
import os
import random
import time

import fixtures
import testtools

from tests.functional.virt import bus_walk
from tests.functional.virt import faulty_bus

IS_LONG = 'SVIRT_NOVA_BUS_STEPS' in os.environ
STEPS = int(os.environ.get('SVIRT_NOVA_BUS_STEPS', '2000'))
WALK = 500

# What comes too seldom to be expected on a short walk.
RARE = frozenset({'ClaimOutdated', 'retire'})
# What must happen on the walks: what never happens would check nothing.
EXPECTED = {
    *bus_walk.ACTIONS,
    *faulty_bus.FAULTS,
    'ClaimOutdated',
    'StoreUnreachable',
    'SpaceFull',
    'dropped',
    'not dropped',
    'late acquire: done',
    'late: ClaimOutdated',
    'late: RepeatedCall',
    'late: NotAllowed',
    'late unclaim: done',
    'late give_back: done',
    'late adopt: done',
    'late claim without a number',
}


class BusWalksTest(testtools.TestCase):
    time_limit = 7200 if IS_LONG else 300

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.FakeLogger())

    def walk(self, seed, **options):
        """Walk, and tell what has happened.

        :raises bus_walk.Broken: a promise was broken
        """
        walk = bus_walk.Walk(seed, **options)
        with walk:
            for _ in range(WALK):
                walk.step()
            walk.rest()
            return walk.bus.seen

    def test_a_guest_keeps_its_level_whatever_the_bus_does(self):
        seen = collections.Counter()
        began = time.monotonic()
        first = random.randrange(2**32) if IS_LONG else 0
        for seed in range(first, first - (-STEPS // WALK)):
            try:
                seen += self.walk(seed)
            except bus_walk.Broken as error:
                self.fail(f'seed {seed}: {error}')
        if IS_LONG:
            print(
                f'{STEPS} steps in {time.monotonic() - began:.0f} s: '
                f'{dict(seen.most_common())}'
            )
        expected = EXPECTED if IS_LONG else EXPECTED - RARE
        self.assertEqual(set(), expected - seen.keys(), seen)

    def test_a_guest_loses_its_level_where_drops_name_no_number(self):
        """So that the walks would find it."""

        def walk():
            for seed in range(20):
                self.walk(seed, is_numbered=False)

        error = self.assertRaises(bus_walk.Broken, walk)
        self.assertIn('does not claim', str(error))
