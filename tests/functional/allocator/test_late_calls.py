# SPDX-License-Identifier: Apache-2.0
"""Random walks of hosts whose calls come late, twice and out of order.

``SVIRT_NOVA_LATE_WALKS`` says how many walks (default: 40, and a tenth of
these on SQL); with it they differ from run to run.
"""

import os

import hypothesis
import testtools
from hypothesis import stateful

from tests.functional.allocator import late_calls

IS_LONG = 'SVIRT_NOVA_LATE_WALKS' in os.environ
WALKS = int(os.environ.get('SVIRT_NOVA_LATE_WALKS', '40'))
STEPS = 80
MOST_RUNS = 5

# What must happen on the walks: what never happens would check nothing.
EXPECTED = {
    *late_calls.ACTIONS,
    ('late', 'acquire'),
    ('late', 'acquire', 'ClaimOutdated'),
    ('late', 'adopt'),
    ('late', 'adopt', 'ClaimOutdated'),
    ('late', 'unclaim'),
    ('late', 'give_back'),
    ('late', 'retire'),
}


class LateCallsTest(testtools.TestCase):
    time_limit = 3600 if IS_LONG else 300

    def walk(self, machine, walks, wanted=frozenset()):
        """Walk until there were so many walks, and these events on them."""
        machine.seen.clear()
        for number in range(MOST_RUNS):
            stateful.run_state_machine_as_test(
                # The same walks each time, but for the long run.
                machine if IS_LONG else hypothesis.seed(number)(machine),
                settings=hypothesis.settings(
                    max_examples=walks,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    # The shortest walk that fails is worth no minutes here.
                    phases=[hypothesis.Phase.generate],
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )
            if machine.seen.keys() >= wanted:
                break
        if IS_LONG:
            print(dict(machine.seen.most_common()))

    def test_a_guest_keeps_its_level_whatever_arrives_when(self):
        self.walk(late_calls.LateCalls, WALKS, EXPECTED)
        self.assertEqual(set(), EXPECTED - late_calls.LateCalls.seen.keys())

    def test_a_guest_keeps_its_level_on_the_sql_store(self):
        self.walk(late_calls.SqlLateCalls, WALKS // 10)

    def test_a_guest_loses_its_level_where_claims_have_no_numbers(self):
        """So that the walks would find it."""
        self.assertRaises(
            AssertionError,
            self.walk,
            late_calls.UnnumberedLateCalls,
            10 * WALKS,
        )
