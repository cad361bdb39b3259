# SPDX-License-Identifier: Apache-2.0

import datetime
import zoneinfo

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.denials import line_times

BERLIN = zoneinfo.ZoneInfo('Europe/Berlin')
UTC = datetime.UTC


def utc(*numbers):
    return datetime.datetime(*numbers, tzinfo=UTC)


class ReadTest(testtools.TestCase):
    def test_seconds_of_the_kernel_are_certain(self):
        found = line_times.read_event('1795404472.465:1234', BERLIN)
        self.assertEqual(
            (
                line_times.Written((utc(2026, 11, 23, 3, 27, 52, 465000),)),
                True,
            ),
            found,
        )

    def test_whole_seconds_may_be_any_part_of_one(self):
        second = datetime.timedelta(seconds=1)
        self.assertEqual(second, line_times.read_seconds('17').span)
        self.assertEqual(
            second, line_times.read_iso('2026-11-22T10:30:05Z').span
        )
        self.assertEqual(
            second, line_times.read_local('2026-11-22 10:30:05', UTC).span
        )

    def test_local_dates_are_read_in_each_way_that_they_can_be_meant(self):
        for text, days in (
            ('11/22/2026 10:30:05.465:7', [(11, 22)]),
            ('22/11/2026 10:30:05.465:7', [(11, 22)]),
            ('11/22/26 10:30:05.465:7', [(11, 22)]),
            ('2026-11-22 10:30:05.465:7', [(11, 22)]),
            ('22.11.2026 10:30:05.465:7', [(11, 22)]),
            ('05/06/2026 10:30:05.465:7', [(5, 6), (6, 5)]),
            ('05.06.2026 10:30:05.465:7', [(6, 5)]),
            ('05/05/2026 10:30:05.465:7', [(5, 5)]),
        ):
            written, is_raw = line_times.read_event(text, UTC)
            self.assertFalse(is_raw)
            self.assertEqual(
                tuple(utc(2026, *day, 10, 30, 5, 465000) for day in days),
                written.moments,
                text,
            )

    def test_an_hour_that_comes_twice_is_two_moments(self):
        written = line_times.read_local('2026-10-25 02:30:00.000', BERLIN)
        self.assertEqual(
            (utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 1, 30)),
            written.moments,
        )
        written = line_times.read_local('2026-10-25 03:30:00.000', BERLIN)
        self.assertEqual((utc(2026, 10, 25, 2, 30),), written.moments)

    def test_what_is_no_time_is_none(self):
        for text in (
            '',
            ':1',
            '13/13/2026 10:30:05.465:7',
            '1/2/345 10:30:05:7',
            '2026-11-22 25:30:05.465:7',
            '999999999999.0:1',
            'now:1',
            '١٧٩٥٤٠٤٤٧٢.465:1',
        ):
            self.assertIsNone(line_times.read_event(text, UTC)[0], text)
        for text in ('2026-11-22T10:30:05', '2026-13-22T10:30:05Z', 'x'):
            self.assertIsNone(line_times.read_iso(text), text)

    def test_a_time_that_a_table_shows_can_be_given(self):
        moment = datetime.datetime(2026, 11, 22, 10, 30, 5, tzinfo=UTC)
        for text in ('2026-11-22 10:30:05 UTC', '2026-11-22 11:30:05+01:00'):
            self.assertEqual(moment, line_times.parse_moment(text))
        self.assertRaises(
            ValueError,
            line_times.parse_moment,
            '2026-11-22 11:30:05+01:00 UTC',
        )

    @given(st.text())
    def test_no_text_breaks_it(self, text):
        line_times.read_event(text, BERLIN)
        line_times.read_iso(text)
        line_times.read_seconds(text)
        try:
            self.assertIs(UTC, line_times.parse_moment(text).tzinfo)
        except ValueError as error:
            self.assertIn('is no time', str(error))
