# SPDX-License-Identifier: Apache-2.0
"""What the service shows of its store."""

import datetime
import math
import time
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.cmd import store_figures
from tests import metrics_case


class StoreFiguresTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.show_trust.return_value = types.Trust(1)
        self.allocator.stats.return_value = types.Stats(100, 50, 5, 4, 1)
        self.allocator.enrolled_keys.side_effect = exception.InvalidOption
        self.usage(None, None)
        self.counted = metrics_case.Counted(store_figures.DEFINITIONS)
        self.figures = store_figures.StoreFigures(
            self.allocator, self.counted.values
        )

    def usage(self, per_day, seconds):
        full_at = seconds and datetime.datetime.now(
            datetime.UTC
        ) + datetime.timedelta(seconds=seconds)
        self.allocator.usage.return_value = types.Usage(
            {}, {}, per_day, full_at
        )

    def look(self):
        self.figures.look()
        return self.counted.shown()

    def test_levels_are_shown_by_state_with_the_size_and_the_fill(self):
        found = self.look()
        self.assertEqual(
            {'held': 50, 'retired': 5, 'cooling': 4, 'reserved': 1}
            | {'free': 40},
            {
                key[1]: value
                for key, value in found.items()
                if key[0] == 'svirt_nova_levels'
            },
        )
        self.assertEqual(100, found['svirt_nova_space_levels',])
        self.assertEqual(0.6, found['svirt_nova_fill_ratio',])
        self.assertEqual(1, found['svirt_nova_store_reachable', 'test'])
        self.assertEqual(1, found['svirt_nova_store_trusted', 'test'])

    def test_store_that_is_too_young_has_no_forecast(self):
        self.assertNotIn(('svirt_nova_fill_levels_per_day',), self.look())

    def test_forecast_is_shown_in_seconds(self):
        self.usage(7.5, 1000)
        found = self.look()
        self.assertEqual(7.5, found['svirt_nova_fill_levels_per_day',])
        left = found['svirt_nova_time_until_full_seconds',]
        self.assertTrue(990 < left <= 1000, left)

    def test_space_that_empties_is_never_full(self):
        self.usage(-3.0, None)
        self.assertEqual(
            math.inf, self.look()['svirt_nova_time_until_full_seconds',]
        )

    def test_forecast_is_not_asked_for_at_each_look(self):
        for _ in range(3):
            self.look()
        self.assertEqual(3, self.allocator.stats.call_count)
        self.assertEqual(1, self.allocator.usage.call_count)

    def test_store_that_is_away_leaves_what_was_known(self):
        before = self.look()
        self.allocator.show_trust.side_effect = exception.StoreUnreachable('x')
        for _ in range(3):
            after = self.look()
        changed = {key for key in after if after[key] != before[key]}
        self.assertEqual({('svirt_nova_store_reachable', 'test')}, changed)
        self.assertEqual(1, self.log.output.count('not up to date'))
        self.allocator.show_trust.side_effect = None
        self.assertEqual(1, self.look()['svirt_nova_store_reachable', 'test'])

    def test_store_that_is_not_trusted_is_shown_as_such(self):
        self.allocator.show_trust.return_value = types.Trust(
            1, datetime.datetime.now(datetime.UTC)
        )
        self.assertEqual(0, self.look()['svirt_nova_store_trusted', 'test'])

    def test_store_that_takes_long_is_asked_less_often(self):
        self.allocator.stats.side_effect = lambda: (
            time.sleep(0.05) or types.Stats(1, 0, 0, 0, 0)
        )
        self.assertLessEqual(1.0, self.figures.look())
