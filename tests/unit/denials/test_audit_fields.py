# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova.denials import audit_fields

LABELS = 'scontext=a:b:c:s0:c1,c2 tcontext=a:b:d:s0:c3,c4 tclass=file'


class SplitRawTest(testtools.TestCase):
    def test_fields_are_read_with_and_without_quotes(self):
        found = audit_fields.split_raw(
            f' pid=1 comm="a b=c" name=612022622E dev="dm-0" {LABELS} '
        )
        self.assertEqual('a b=c', found['comm'])
        self.assertEqual('a "b.', found['name'])
        self.assertEqual('dm-0', found['dev'])
        self.assertEqual('a:b:d:s0:c3,c4', found['tcontext'])

    def test_what_is_no_name_is_not_decoded(self):
        found = audit_fields.split_raw(f'pid=10 ino=1234 key=AABB {LABELS}')
        self.assertEqual('1234', found['ino'])
        self.assertEqual('AABB', found['key'])

    def test_digits_in_quotes_are_not_decoded(self):
        found = audit_fields.split_raw(f'comm="4142" name=(null) {LABELS}')
        self.assertEqual('4142', found['comm'])
        self.assertEqual('(null)', found['name'])

    def test_bytes_that_are_no_text_are_escaped(self):
        found = audit_fields.split_raw(f'comm=FF00 {LABELS}')
        self.assertEqual('\\xff\x00', found['comm'])

    def test_what_the_kernel_does_not_write_is_ambiguous(self):
        for text in (
            f'pid=1 pid=2 {LABELS}',
            f'pid=1 {LABELS} {LABELS}',
            f'pid=1 comm="a"b {LABELS}',
            f'pid=1 comm="a"b=c {LABELS}',
            f'pid=1 comm="a {LABELS}',
            f'pid=1 word {LABELS}',
            f'pid=1 comm=a"b" {LABELS}',
            f'{LABELS} comm="a"',
            f'comm="a" pid=1 {LABELS}',
            f'pid=1 name="a" path="/b" {LABELS}',
            'pid=1 scontext=a tcontext=b',
            'pid=1 scontext= tcontext=b tclass=file',
            'pid=1 tcontext=b scontext=a tclass=file',
            '',
        ):
            with self.subTest(text):
                self.assertRaises(
                    audit_fields.AmbiguousRecord, audit_fields.split_raw, text
                )


class SplitInterpretedTest(testtools.TestCase):
    def test_names_with_spaces_are_read(self):
        found = audit_fields.split_interpreted(
            f'pid=1 comm=CPU 0/KVM name=my x=y disk dev="dm-0" ino=7 {LABELS} '
        )
        self.assertEqual('CPU 0/KVM', found['comm'])
        self.assertEqual('my x=y disk', found['name'])
        self.assertEqual('dm-0', found['dev'])

    def test_a_socket_has_no_device(self):
        found = audit_fields.split_interpreted(
            f'pid=1 comm=a path=/run/x '
            f'{LABELS.replace("=file", "=unix_stream_socket")}'
        )
        self.assertEqual('/run/x', found['path'])

    def test_the_name_of_a_process_makes_no_record_ambiguous(self):
        for comm in (
            'q pid=1',
            'q comm=q',
            'x scontext=y',
            'x tcontext=y',
            'x tclass=y',
            'x permissive=1',
            'x srawcon=y',
            'x trawcon=y',
            'q name=x',
            'q path=/x',
            'q dev=x ino=7',
            r'\012\012 scontext=y',
        ):
            for labels in (LABELS, LABELS.partition(' permissive=')[0]):
                with self.subTest(comm):
                    found = audit_fields.split_interpreted(
                        f'pid=1 comm={comm} name=d dev="dm-0" ino=7 {labels}'
                    )
                    self.assertEqual(comm, found['comm'])
                    self.assertEqual('d', found['name'])
                    self.assertIn(found['scontext'], LABELS)
                    self.assertNotIn('srawcon', found)
                    self.assertNotIn('trawcon', found)

    def test_what_a_name_may_have_added_is_ambiguous(self):
        longest = 'a' * 15
        for text in (
            f'pid=1 comm={longest} comm=b {LABELS}',
            # A record of a kernel that writes no permissive.
            f'pid=1 comm={longest} permissive=1 name=x dev="dm-0" ino=7 '
            f'{LABELS}',
            f'pid=1 comm={longest} name=b name=x dev="dm-0" ino=7 {LABELS}',
            f'pid=1 comm={longest} path=/b name=x dev="dm-0" ino=7 {LABELS}',
            f'pid=1 comm=a name=x dev="dm-0" ino=7 {LABELS} permissive=x',
            f'pid=1 comm=a name=x capability=1 dev="dm-0" ino=7 {LABELS}',
            f'pid=1 comm=a name=x cmdline=y dev="dm-0" ino=7 {LABELS}',
            # Cut off behind a part of the name.
            f'pid=1 comm=a name=x {LABELS}',
            f'pid=1 comm=a path=x {LABELS}',
            f'pid=1 comm=a name=x dev=y {LABELS}',
            f'pid=1 comm=a name=x {LABELS} b dev="dm-0" ino=7 {LABELS}',
            f'pid=1 comm=a name=x dev="dm-0" ino=7 {LABELS} more',
            f'comm=a pid=1 {LABELS}',
            f'word pid=1 {LABELS}',
            'pid=1 comm=a name=x dev="dm-0" scontext=a tcontext=b',
            'no field',
        ):
            with self.subTest(text):
                self.assertRaises(
                    audit_fields.AmbiguousRecord,
                    audit_fields.split_interpreted,
                    text,
                )
