# SPDX-License-Identifier: Apache-2.0

import datetime
import json

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.tempest import answers
from tests.unit.tempest import samples

LEVEL = samples.LEVEL


class AllocationTest(testtools.TestCase):
    """The answer of the command svirt-nova is read or refused."""

    def read(self, **changes):
        row = {
            'Level': 's0:c900,c12',
            'State': 'held',
            'Instance': samples.UUID,
            'Project': 'p',
            'Hosts': ['one'],
            'Since': '2026-11-22T10:30:05+00:00',
            'Retired': None,
            'Note': None,
        }
        return answers.read_allocation(json.dumps({**row, **changes}))

    def test_a_held_level_is_read(self):
        self.assertEqual(
            types.Allocation(LEVEL, samples.UUID, 'p', frozenset(['one'])),
            self.read(),
        )
        self.assertEqual(
            datetime.datetime(2026, 11, 22, 10, 30, 5, tzinfo=datetime.UTC),
            self.read().created_at,
        )

    def test_a_level_in_each_other_state_is_read(self):
        retired = '2026-11-22T11:30:05+00:00'
        for state, changes in (
            (types.State.RETIRED, {'Retired': retired}),
            (types.State.COOLING, {'Retired': retired, 'Hosts': []}),
            (
                types.State.RESERVED,
                {'Instance': None, 'Hosts': [], 'Note': 'for a router'},
            ),
        ):
            found = self.read(State=state.value, **changes)
            self.assertIs(state, found.state)

    def test_a_free_level_is_none(self):
        self.assertIsNone(
            self.read(State='free', Instance=None, Project=None, Hosts=[])
        )

    def test_an_answer_that_contradicts_itself_is_refused(self):
        for changes in (
            {'State': 'free'},
            {'State': 'free', 'Instance': None},
            {'State': 'cooling'},
            {'State': 'reserved'},
            {'Instance': None},
            {'Retired': '2026-11-22T11:30:05+00:00'},
        ):
            self.assertRaises(
                exception.HostCommandFailed, self.read, **changes
            )

    def test_a_name_that_could_control_a_terminal_is_refused(self):
        for changes in (
            {'Hosts': ['one\x1b[2J']},
            {'Instance': 'a\x1b[2J'},
            {'Instance': samples.UUID.upper()},
        ):
            self.assertRaises(
                exception.HostCommandFailed, self.read, **changes
            )

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_any_value_of_a_column_is_read_or_refused(self, value):
        for name in (
            'Level', 'State', 'Instance', 'Project', 'Hosts', 'Since',
            'Retired', 'Note',
        ):  # fmt: skip
            try:
                found = self.read(**{name: value})
            except exception.HostCommandFailed:
                continue
            self.assertIsInstance(found, types.Allocation)

    def test_an_answer_that_is_no_allocation_is_refused(self):
        for answer in ('', '[]', '{}', 'null', '{"Level": 1}', '[' * 100_000):
            error = self.assertRaises(
                exception.HostCommandFailed, answers.read_allocation, answer
            )
            self.assertIn('what cannot be read', str(error))
