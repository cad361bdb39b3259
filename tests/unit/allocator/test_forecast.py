# SPDX-License-Identifier: Apache-2.0

import datetime

import testtools

from svirt_nova.allocator import forecast

NOW = datetime.datetime(2026, 11, 1)
HOUR = datetime.timedelta(hours=1)
DAY = datetime.timedelta(days=1)


class RateTest(testtools.TestCase):
    def rate(self, age, then, now):
        """The rate of a store where there were two numbers of levels.

        :param age: of its oldest instance
        """
        counts = {NOW: now}
        return forecast.levels_per_day(
            NOW,
            NOW - age,
            lambda moment: counts.pop(moment, then),
        )

    def test_the_rate_is_measured_since_the_oldest_instance(self):
        self.assertEqual(4.5, self.rate(2 * DAY, 1, 10))

    def test_the_rate_is_measured_over_a_week_at_most(self):
        asked = []
        rate = forecast.levels_per_day(
            NOW,
            NOW - 100 * DAY,
            lambda moment: asked.append(moment) or 7 * len(asked),
        )
        self.assertEqual([NOW, NOW - 7 * DAY], asked)
        self.assertEqual(-1, rate)

    def test_there_is_no_rate_within_the_first_hour(self):
        self.assertIsNone(self.rate(HOUR - HOUR / 3600, 1, 10))
        self.assertEqual(24 * 9, self.rate(HOUR, 1, 10))

    def test_there_is_no_rate_without_an_instance(self):
        self.assertIsNone(forecast.levels_per_day(NOW, None, lambda _: 0))


class EndTest(testtools.TestCase):
    def test_the_end_comes_when_the_free_levels_are_used_up(self):
        self.assertEqual(NOW + 20 * DAY, forecast.full_at(NOW, 10, 0.5))

    def test_a_space_that_does_not_fill_has_no_end(self):
        for rate in (None, 0.0, -2.0):
            self.assertIsNone(forecast.full_at(NOW, 10, rate))

    def test_an_end_that_the_calendar_has_no_date_for_is_none(self):
        self.assertIsNotNone(forecast.full_at(NOW, 300_000, 1))
        for free in (400_000, 45_000_000_000, 10**18):
            self.assertIsNone(forecast.full_at(NOW, free, 1))
