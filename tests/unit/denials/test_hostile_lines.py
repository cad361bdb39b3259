# SPDX-License-Identifier: Apache-2.0
"""Names that guests choose, and lines of which nothing is right.

``SVIRT_NOVA_AVC_EXAMPLES`` is how many lines each test draws.
"""

import os
import string
import time

import hypothesis
import testtools
from hypothesis import strategies as st

from svirt_nova.cmd import avc_columns
from svirt_nova.denials import audit_records
from svirt_nova.denials import line_reader
from svirt_nova.denials import shown_labels
from svirt_nova.denials import sightings
from tests.unit.denials import test_corpus
from tests.unit.denials import world

EXAMPLES = int(os.environ.get('SVIRT_NOVA_AVC_EXAMPLES', '300'))

drawn = hypothesis.settings(
    derandomize=True,
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[*hypothesis.HealthCheck],
)

# Of ann-web, at bob-db.
SOURCE = 'system_u:system_r:svirt_t:s0:c134,c472'
TARGET = 'system_u:object_r:svirt_image_t:s0:c300,c301'
TIME = '1779271200.465:77'
RIGHT = ('cross-project', 'ann-web', 'bob-db')
NOBODY = ('doubtful', None, None)

FAKE = (
    'scontext=system_u:system_r:svirt_t:s0:c419,c644 '
    'tcontext=system_u:object_r:svirt_image_t:s0:c12,c900 '
    'tclass=file permissive=0'
)
PIECES = (
    *FAKE.split(),
    FAKE,
    f'type=AVC msg=audit({TIME}): avc:  denied  {{ read }} for  pid=1',
    'avc:  denied  { read } for',
    'SELinux is preventing ',
    'Source Context  system_u:system_r:svirt_t:s0:c419,c644',
    'Target Context  system_u:object_r:svirt_image_t:s0:c12,c900',
    'Raw Audit Messages',
    'Hash: ',
    'pid=1',
    'comm=x',
    'name=',
    'path=/x',
    'dev=dm-0',
    'ino=7',
    'permissive=1',
    'srawcon=x',
    'trawcon=x',
    '"',
    '""',
    "'",
    ' ',
    '\n',
    '\r',
    '\x1d',
    '\x1b[2J',
    '\u2028',
    '\x00',
    '\\',
    '}',
    '{',
    'AABB',
    's0:c419,c644',
    'c419,c644',
)
names = st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=8
).map(lambda parts: ' '.join(parts)) | st.lists(
    st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=8
).map(''.join)


def raw(text):
    """A text as the kernel writes it (audit_log_untrustedstring)."""
    found = text.encode('utf-8', 'surrogatepass')
    if all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in found):
        return f'"{text}"'
    return found.hex().upper()


def shown(text):
    """A text as ausearch -i writes it, which escapes control characters."""
    return ''.join(
        each if each >= ' ' and each != '\x7f' else f'\\{ord(each):03o}'
        for each in text
    )


def record(comm, name, header=f'msg=audit({TIME}):', write=raw):
    return (
        f'type=AVC {header} avc:  denied  {{ read }} for  pid=42 '
        f'comm={write(comm)} name={write(name)} dev="dm-0" ino=7 '
        f'scontext={SOURCE} tcontext={TARGET} tclass=file permissive=0'
    )


INTERPRETED = 'msg=audit(2026-05-20 10:00:00.465:77) :'


def answers(text):
    return [
        (
            judged.verdict and judged.verdict.value,
            test_corpus.name_of(judged.source),
            test_corpus.name_of(judged.target),
        )
        for _, judged in world.judge(text)
    ]


class NoName:
    def of(self, uuid):
        return None


class HostileNamesTest(testtools.TestCase):
    time_limit = max(300, EXAMPLES // 10)

    @drawn
    @hypothesis.given(names, names)
    def test_a_raw_record_is_read_right_whatever_names_are(self, comm, name):
        for text in (
            record(comm, name),
            record(comm, name).replace(
                'type=AVC msg=', '[   12.345678] audit: type=1400 '
            ),
        ):
            self.assertEqual([RIGHT], answers(text))
        [(sighting, _)] = world.judge(record(comm, name))
        if comm.isascii() and '\x00' not in comm:
            self.assertEqual(comm, sighting.access.process)

    @drawn
    @hypothesis.given(names, names)
    def test_an_interpreted_record_is_read_right_or_not_at_all(
        self, comm, name
    ):
        [found] = answers(record(comm, name, INTERPRETED, shown))
        self.assertIn(found, (RIGHT, NOBODY))

    @drawn
    @hypothesis.given(names, st.integers(0, 400))
    def test_a_record_that_is_cut_off_names_nobody_else(self, name, length):
        # A line of ausearch -i that is cut off where a name of such a text
        # ends is like a whole one.
        hypothesis.assume('ino=' not in name)
        for text in (
            record('qemu', name),
            record('qemu', name, INTERPRETED, shown),
        ):
            hypothesis.assume(not text[:length].rstrip().endswith('=0'))
            for found in answers(text[:length]):
                self.assertIn(found, (RIGHT, NOBODY))

    @drawn
    @hypothesis.given(names, names)
    def test_a_report_with_names_as_they_are_adds_no_answer(self, comm, name):
        text = (
            f'SELinux is preventing {comm} from read access on {name}.\n\n'
            f'Additional Information:\n'
            f'Source Context                {SOURCE}\n'
            f'Target Context                {TARGET}\n'
            f'Target Objects                {name} [ file ]\n'
            f'Source                        {comm}\n'
            f'Raw Audit Messages\n{record(comm, name)}\n\n'
            f'Hash: {comm},svirt_t,svirt_image_t,file,read\n'
        )
        found = answers(text)
        self.assertTrue(set(found) <= {RIGHT, NOBODY}, found)
        self.assertLessEqual(found.count(RIGHT), 1)

    @drawn
    @hypothesis.given(names)
    def test_a_name_in_a_listing_is_no_context(self, name):
        text = f'{TARGET} {name}'.partition('\n')[0]
        for found in answers(text):
            self.assertIn(found[2], ('bob-db', None))
            self.assertIsNone(found[1])

    @drawn
    @hypothesis.given(
        st.lists(
            st.one_of(
                st.sampled_from([*PIECES, SOURCE, TARGET, record('a', 'b')]),
                st.text(max_size=20),
            ),
            max_size=12,
        ).map(''.join)
    )
    def test_no_text_breaks_a_reader_or_an_answer(self, text):
        for sighting, judged in world.judge(text):
            row = avc_columns.row(1, sighting, judged, NoName())
            for cell in row:
                for show in ('human_readable', 'machine_readable'):
                    if hasattr(cell, show):
                        value = getattr(cell, show)()
                        self.assertLess(len(repr(value)), 60_000)
                if hasattr(cell, 'human_readable'):
                    for line in cell.human_readable().split('\n'):
                        self.assertTrue(line.isprintable(), repr(line))

    @drawn
    @hypothesis.given(st.data())
    def test_a_changed_line_of_the_corpus_names_nobody_new(self, data):
        """No piece that is put into a line makes an instance the actor."""
        text = record('qemu', 'disk')
        position = data.draw(st.integers(0, len(text)))
        piece = data.draw(st.sampled_from(PIECES))
        for found in answers(text[:position] + piece + text[position:]):
            self.assertIn(found[1], ('ann-web', None))
            self.assertIn(found[2], ('bob-db', None))


class LongLinesTest(testtools.TestCase):
    def test_megabytes_are_read_at_once(self):
        begin = time.monotonic()
        for unit in (
            'a=',
            'a ',
            ' ',
            '"',
            'a:b:c:s0',
            'c1,',
            'scontext=',
            'name="x" ',
            'x' * 7 + '=' + 'A' * 8 + ' ',
            '1',
            '[',
            'a_t:',
            *string.punctuation,
        ):
            text = unit * (3_000_000 // len(unit))
            for line in (
                text,
                f'{record("a", "b")} {text}',
                f'type=AVC msg=audit({TIME}): avc:  denied  {{ read }} for  '
                f'{text[:30_000]}',
                f'{TARGET} {text[:30_000]}',
                f'SELinux is preventing {text}',
            ):
                reader = line_reader.LineReader()
                for _, found in (*reader.read(line), *reader.finish()):
                    self.assertTrue(found.doubt or not found.source, line[:99])
        self.assertLess(time.monotonic() - begin, 60)

    def test_a_long_line_is_told_only_if_it_is_a_record(self):
        long = 'x' * sightings.LONGEST_LINE
        self.assertIsNone(audit_records.read(long + 'x', None))
        found = audit_records.read(record('a', 'b') + long, None)
        self.assertIn('characters', found.doubt)
        self.assertIsNone(shown_labels.read(f'{TARGET} {long}'))
