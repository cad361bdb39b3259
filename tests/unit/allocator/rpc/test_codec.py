# SPDX-License-Identifier: Apache-2.0

import datetime
import json

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import codec
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces

LEVELS = st.frozensets(st.integers(0, 1023), min_size=2, max_size=4).map(
    lambda found: levels.Level.parse(f's0:{levels.format_categories(found)}')
)
TIMES = st.datetimes(timezones=st.just(datetime.UTC))
TEXTS = st.text(max_size=20)
COUNTS = st.dictionaries(TEXTS, st.integers(0, 10**6), max_size=3)
ALLOCATIONS = st.builds(
    types.Allocation,
    level=LEVELS,
    instance_uuid=st.none() | TEXTS,
    project_id=st.none() | TEXTS,
    hosts=st.frozensets(TEXTS, max_size=3),
    created_at=TIMES,
    retired_at=st.none() | TIMES,
    note=TEXTS,
    project_level=st.none() | LEVELS,
)
HOLDINGS = st.builds(
    types.Holding,
    instance_uuid=TEXTS,
    project_id=TEXTS,
    since=TIMES,
    until=st.none() | TIMES,
)
USAGES = st.builds(
    types.Usage,
    by_project=COUNTS,
    by_host=COUNTS,
    per_day=st.none() | st.floats(0, 1e9),
    full_at=st.none() | TIMES,
)
STATS = st.builds(types.Stats, *(st.integers(0, 10**6) for _ in range(5)))
SPACES = st.sampled_from(
    [
        spaces.LevelSpace.parse('c0.c1023'),
        spaces.LevelSpace.parse('c0.c99', 3, 'c5,c7'),
        spaces.LevelSpace.parse('c512.c1023', 2, '', 'c0.c511'),
    ]
)
PAIRS = (
    (ALLOCATIONS, codec.from_allocation, codec.to_allocation),
    (HOLDINGS, codec.from_holding, codec.to_holding),
    (USAGES, codec.from_usage, codec.to_usage),
    (STATS, codec.from_stats, codec.to_stats),
    (SPACES, codec.from_space, codec.to_space),
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=10,
)


class MessagesTest(testtools.TestCase):
    @given(st.data())
    def test_what_is_sent_arrives(self, data):
        for values, write, read in PAIRS:
            value = data.draw(values)
            self.assertEqual(value, read(json.loads(json.dumps(write(value)))))

    @given(st.data())
    def test_what_was_tampered_with_is_a_value_or_a_refusal(self, data):
        for values, write, read in PAIRS:
            sent = write(data.draw(values))
            name = data.draw(st.sampled_from(sorted(sent)))
            sent[name] = data.draw(JUNK)
            try:
                value = read(sent)
            except (TypeError, ValueError):
                continue
            self.assertEqual(value, read(write(value)))

    @given(JUNK)
    def test_junk_is_refused(self, junk):
        for _, _, read in PAIRS:
            self.assertRaises((TypeError, ValueError), read, junk)

    def test_a_moment_without_time_zone_is_refused(self):
        sent = codec.from_holding(
            types.Holding(
                'u',
                'p',
                datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
                None,
            )
        )
        sent['since'] = '2026-01-02T00:00:00'
        self.assertRaises(TypeError, codec.to_holding, sent)

    def test_refusals_keep_their_kind_and_text(self):
        for error in (
            exception.LevelTaken('held by u1'),
            exception.SpaceFull('all 45'),
            ValueError('no name'),
        ):
            got = codec.to_error(codec.from_error(error))
            self.assertIs(type(error), type(got))
            self.assertEqual(str(error), str(got))

    def test_the_inside_of_the_service_is_not_told(self):
        sent = codec.from_error(RuntimeError('password is hunter2'))
        self.assertNotIn('hunter2', str(sent))
        self.assertIsInstance(codec.to_error(sent), exception.StoreUnusable)

    def test_a_refusal_names_no_class_but_ours(self):
        for name in ('SystemExit', 'builtins.SystemExit', 'InvalidOption'):
            got = codec.to_error({'name': name, 'text': 'x'})
            self.assertIs(exception.StoreUnusable, type(got))

    @given(JUNK)
    def test_a_refusal_without_sense_is_one_too(self, junk):
        self.assertIsInstance(codec.to_error(junk), exception.SvirtError)
