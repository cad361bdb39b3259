# SPDX-License-Identifier: Apache-2.0

import json

import hypothesis
import testtools
from hypothesis import strategies as st

from svirt_nova.alarm import attempts
from svirt_nova.alarm import audit_lines
from svirt_nova.denials import sightings
from tests.unit.alarm import audit
from tests.unit.denials import test_hostile_lines as hostile


class TailTest(testtools.TestCase):
    @hostile.drawn
    @hypothesis.given(hostile.names, hostile.names)
    def test_no_name_changes_the_end_of_a_line(self, comm, name):
        plain = audit.denial(at=1, serial=1)
        line = audit.denial(
            at=1, serial=1, comm=hostile.raw(comm), path=hostile.raw(name)
        )
        self.assertEqual(audit_lines.tail_of(plain), audit_lines.tail_of(line))

    @hostile.drawn
    @hypothesis.given(
        st.lists(
            st.one_of(
                st.sampled_from(
                    [*hostile.PIECES, audit.denial().decode()]
                ).map(str.encode),
                st.binary(max_size=20),
            ),
            max_size=8,
        ).map(b''.join)
    )
    def test_any_line_is_read_and_equal_ends_mean_the_same(self, line):
        tail = audit_lines.tail_of(line)
        audit_lines.lost(line)
        if tail is None:
            return
        found = audit_lines.read(line)
        audit_lines.event_of(line)
        alarm = attempts.judged(found, None, audit.HOST)
        self.assertTrue(alarm.line().isprintable())
        json.dumps(alarm.payload())
        if not tail or found.doubt:
            return
        again = audit_lines.read(
            audit.denial().partition(b' scontext=')[0] + tail
        )
        self.assertEqual(
            (found.source, found.target, found.access.outcome),
            (again.source, again.target, again.access.outcome),
        )

    def test_only_denials_of_the_kernel_have_one(self):
        line = audit.denial()
        for each in (
            line,
            b'node=compute1.example.org ' + line,
            line.replace(b'type=AVC', b'type=1400'),
            line + b'\x1dAUID="root" scontext=x',
        ):
            self.assertTrue(audit_lines.tail_of(each), each)
        for each in (
            b'',
            line[1:],
            line.replace(b'AVC', b'USER_AVC'),
            line.replace(b'denied', b'granted'),
            line.replace(b'msg=audit(', b'msg=audit(x'),
        ):
            self.assertIsNone(audit_lines.tail_of(each), each)

    def test_what_enriched_lines_add_is_no_part_of_it(self):
        line = audit.denial()
        self.assertEqual(
            audit_lines.tail_of(line),
            audit_lines.tail_of(line + b'\x1dARCH=x86_64 scontext=x'),
        )

    def test_long_lines_and_ends_are_read_each_time(self):
        line = audit.denial()
        name = b'"' + b'x' * sightings.LONGEST_LINE + b'"'
        self.assertEqual(
            b'', audit_lines.tail_of(line.replace(b'"qemu-system-x86"', name))
        )
        self.assertEqual(b'', audit_lines.tail_of(line + b' x' * 1000))
        self.assertEqual(
            b'', audit_lines.tail_of(line.partition(b' scontext')[0])
        )
