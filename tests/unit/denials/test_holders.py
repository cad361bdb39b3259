# SPDX-License-Identifier: Apache-2.0

import dataclasses
import datetime
import itertools
import os

import hypothesis
import testtools
from hypothesis import strategies as st

from svirt_nova.allocator import types
from svirt_nova.denials import holders
from svirt_nova.denials import line_times
from svirt_nova.mcs import levels
from tests.unit.denials import world

LEVEL = levels.Level.parse('s0:c1,c2')
EXAMPLES = int(os.environ.get('SVIRT_NOVA_AVC_EXAMPLES', '300'))
SECOND = datetime.timedelta(seconds=1)
BEGIN = world.NOW - datetime.timedelta(days=100)


def at(seconds):
    return BEGIN + seconds * SECOND


def held(name, since, until=None):
    return types.Holding(
        world.INSTANCES[name],
        'p',
        at(since),
        None if until is None else at(until),
    )


def find(record, *seconds, span=0, **terms):
    return holders.find(
        record,
        line_times.Written(tuple(map(at, seconds)), span * SECOND),
        dataclasses.replace(world.TERMS, **terms),
    )


def record(*holdings, present=None):
    return holders.LevelRecord.of(LEVEL, present, holdings)


class FindTest(testtools.TestCase):
    """Of a level that changed hands, with 3600 seconds between."""

    time_limit = max(300, EXAMPLES // 10)

    RECORD = record(held('ann-web', 1000, 2000), held('bob-web', 10_000, None))

    def named(self, found, name):
        self.assertEqual('', found.doubt)
        self.assertEqual(world.INSTANCES[name], found.holding.instance_uuid)

    def test_the_holder_at_the_moment_is_named(self):
        for second, name in (
            (1000, 'ann-web'),
            (1999, 'ann-web'),
            (2000, 'ann-web'),
            (5599, 'ann-web'),
            (10_000, 'bob-web'),
            (1_000_000, 'bob-web'),
        ):
            found = find(self.RECORD, second)
            self.named(found, name)
            self.assertEqual(2000 <= second < 10_000, found.is_cooling)

    def test_nobody_is_named_outside_of_holdings(self):
        for second, reason in (
            (999, 'older than what the store knows'),
            (5600, 'no instance had the level'),
            (9999, 'no instance had the level'),
        ):
            found = find(self.RECORD, second)
            self.assertIsNone(found.holding)
            self.assertIn(reason, found.doubt)

    def test_nobody_is_named_where_clocks_leave_two(self):
        without_gap = record(
            held('ann-web', 0, 1000), held('bob-web', 1000, None)
        )
        for second, error, name in (
            (990, 1, 'ann-web'),
            (999, 1, None),
            (1000, 1, None),
            (1001, 1, 'bob-web'),
            (990, 20, None),
            (999, 0, 'ann-web'),
            (1000, 0, 'bob-web'),
        ):
            found = find(
                without_gap,
                second,
                cooling=datetime.timedelta(0),
                clock_error=error * SECOND,
            )
            if name:
                self.named(found, name)
            else:
                self.assertIn('changed hands', found.doubt)

    def test_a_level_that_was_adopted_while_it_cooled_is_the_adopters(self):
        adopted = record(held('ann-web', 0, 1000), held('bob-web', 1500))
        self.named(find(adopted, 1400), 'ann-web')
        self.named(find(adopted, 1502), 'bob-web')

    def test_a_time_cut_to_seconds_counts_whole(self):
        self.named(find(self.RECORD, 5000, span=1), 'ann-web')
        self.assertIsNone(find(self.RECORD, 5599, span=1).holding)

    def test_several_readings_of_a_date_must_agree(self):
        self.named(find(self.RECORD, 1100, 1900), 'ann-web')
        found = find(self.RECORD, 1100, 20_000)
        self.assertIn('read in 2 ways', found.doubt)
        # One of them lies ahead, and is not meant.
        self.named(find(self.RECORD, 1100, 10**9), 'ann-web')
        self.assertIn('lies ahead', find(self.RECORD, 10**9).doubt)

    def test_the_row_of_a_level_that_cools_fills_the_hole(self):
        row = types.Allocation(
            LEVEL,
            world.INSTANCES['eve-job'],
            'p',
            frozenset(),
            at(0),
            at(1000),
        )
        for history in ((), (row.holding,)):
            found = record(*history, present=row)
            self.assertEqual(1, len(found.holdings))
            # It cools until the store frees it, whatever is configured here.
            for second in (500, 1000, 4000, 100_000):
                self.named(find(found, second), 'eve-job')
            self.assertEqual('', find(found, 4000).doubt)
            self.assertTrue(find(found, 4000).is_cooling)
        self.assertIsNone(find(record(row.holding), 100_000).holding)

    def test_a_row_that_is_retired_but_claimed_is_held(self):
        row = types.Allocation(
            LEVEL,
            world.INSTANCES['eve-job'],
            'p',
            frozenset({'compute1'}),
            at(0),
            at(1000),
        )
        found = find(record(present=row), 100_000)
        self.named(found, 'eve-job')
        self.assertFalse(found.is_cooling)

    def test_a_level_of_nobody_is_nobodys_within_the_history(self):
        self.assertEqual(holders.Finding(), find(record(), 1000))
        found = find(record(), 1000, kept=datetime.timedelta(days=1))
        self.assertIn('older than the history', found.doubt)

    def test_one_uuid_with_two_projects_is_in_dispute(self):
        first = held('ann-web', 0)
        other = dataclasses.replace(first, project_id='q', since=at(1))
        self.assertIsNone(find(record(first, other), 1000).holding)

    def test_the_former_holder_is_another_instance(self):
        row = types.Allocation(
            LEVEL, world.INSTANCES['bob-web'], 'p', frozenset('h'), at(10_000)
        )
        now = dataclasses.replace(self.RECORD, present=row)
        for found in (now, self.RECORD):
            self.assertEqual(
                world.INSTANCES['ann-web'], found.former.instance_uuid
            )
        self.assertIsNone(record(held('bob-web', 0), present=row).former)

    @hypothesis.settings(
        derandomize=True, max_examples=EXAMPLES, deadline=None
    )
    @hypothesis.given(
        st.lists(
            st.tuples(
                st.sampled_from(sorted(world.INSTANCES)),
                st.integers(0, 50),
                st.integers(0, 60),
            ),
            max_size=6,
        ),
        st.integers(-5, 300),
        st.integers(0, 20),
        st.booleans(),
    )
    def test_who_is_named_alone_can_have_had_the_level(
        self, parts, second, cooling, is_open
    ):
        """Against a plain count of each second."""
        holdings, end = [], 0
        for name, gap, length in parts:
            since, end = end + gap, end + gap + length
            holdings.append(held(name, since, end))
        if holdings and is_open:
            holdings[-1] = dataclasses.replace(holdings[-1], until=None)
        found = find(
            record(*holdings),
            second,
            cooling=cooling * SECOND,
            clock_error=0 * SECOND,
        )
        if found.holding is None:
            return
        # The last that began is the only one that can have it.
        began = [each for each in holdings if each.since <= at(second)]
        last = began[-1]
        self.assertEqual(last.instance_uuid, found.holding.instance_uuid)
        if last.until is not None:
            self.assertLess(at(second), last.until + cooling * SECOND)

    def test_each_moment_of_a_held_level_is_answered(self):
        for start, second in itertools.product((0, 10), range(10, 60)):
            found = find(record(held('ann-web', start, 100)), second)
            self.named(found, 'ann-web')
