# SPDX-License-Identifier: Apache-2.0

import datetime
import json

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova.allocator import clouds
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import codec
from tests.unit.allocator.rpc import values

RECORDS = (
    (values.ALLOCATIONS, codec.ALLOCATION),
    (values.HOLDINGS, codec.HOLDING),
    (values.USAGES, codec.USAGE),
    (values.STATS, codec.STATS),
    (values.SPACES, codec.SPACE),
)


class CodecTest(testtools.TestCase):
    @given(st.data())
    def test_value_that_is_sent_arrives(self, data):
        for drawn, each in RECORDS:
            value = data.draw(drawn)
            message = json.loads(json.dumps(each.write(value)))
            self.assertEqual(value, each.read(message))

    @given(st.none() | st.datetimes(timezones=st.just(datetime.UTC)))
    def test_time_of_the_store_arrives(self, asked_at):
        known = clouds.KnownCloud('x', (), asked_at)
        message = json.loads(json.dumps(codec.KNOWN_CLOUD.write(known)))
        read = codec.KNOWN_CLOUD.read(message)
        self.assertEqual(asked_at, read.asked_at)
        self.assertEqual(asked_at is not None, 'asked_at' in message)

    @given(values.ALLOCATIONS)
    def test_numbers_of_claims_arrive(self, value):
        message = json.loads(json.dumps(codec.ALLOCATION.write(value)))
        read = codec.ALLOCATION.read(message)
        self.assertEqual(value.claims, read.claims)
        self.assertEqual(value.last_claim, read.last_claim)

    @given(values.ALLOCATIONS)
    def test_numbers_of_claims_that_are_none_are_refused(self, value):
        message = codec.ALLOCATION.write(value)
        for wrong in (-1, True, 1.5, '1', [1], {'a': -1}, {'a': True}):
            for name in ('claims', 'last_claim'):
                self.assertRaises(
                    TypeError, codec.ALLOCATION.read, message | {name: wrong}
                )

    @given(st.data())
    def test_message_that_was_tampered_with_is_a_value_or_refused(self, data):
        for drawn, each in RECORDS:
            message = each.write(data.draw(drawn))
            name = data.draw(st.sampled_from(sorted(message)))
            message[name] = data.draw(values.JUNK)
            try:
                value = each.read(message)
            except (TypeError, ValueError):
                continue
            self.assertEqual(value, each.read(each.write(value)))

    @given(values.JUNK)
    def test_message_of_another_kind_is_refused(self, junk):
        for _, each in RECORDS:
            self.assertRaises((TypeError, ValueError), each.read, junk)

    def test_time_without_a_zone_is_refused(self):
        message = codec.HOLDING.write(
            types.Holding(
                'u',
                'p',
                datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
                None,
            )
        )
        message['since'] = '2026-01-02T00:00:00'
        self.assertRaises(TypeError, codec.HOLDING.read, message)

    def test_true_is_refused_where_an_integer_is_due(self):
        message = codec.STATS.write(types.Stats(1, 1, 1, 1, 1))
        for name in message:
            self.assertRaises(
                TypeError, codec.STATS.read, message | {name: True}
            )
        self.assertRaises(TypeError, codec.LIMIT.read, True)

    def test_value_of_another_kind_travels_as_it_is_to_be_refused(self):
        for each in (codec.TEXT, codec.LIMIT):
            for value in (None, 1.5, [], True):
                self.assertIs(value, each.write(value))
                self.assertRaises(TypeError, each.read, value)
