# SPDX-License-Identifier: Apache-2.0
"""The count of a run must not lose a test."""

import importlib.util
import io
import pathlib

import subunit
import testtools

_PATH = pathlib.Path(__file__).parents[3] / 'tools' / 'tally.py'
_SPEC = importlib.util.spec_from_file_location('tally', _PATH)
assert _SPEC is not None and _SPEC.loader is not None
tally = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tally)


class TallyTest(testtools.TestCase):
    def count(self, events, expected):
        stream = io.BytesIO()
        writer = subunit.StreamResultToBytes(stream)
        for name, status, *attached in events:
            for title, text in attached:
                writer.status(
                    test_id=name,
                    file_name=title,
                    file_bytes=text.encode(),
                    mime_type='text/plain; charset=utf8',
                    eof=True,
                )
            writer.status(test_id=name, test_status=status)
        stream.seek(0)
        return tally.tally(tally.ends(stream), frozenset(expected))

    def test_every_end_is_counted_once(self):
        events = [
            (name, status)
            for name, end in (
                ('a', 'success'),
                ('b', 'xfail'),
                ('c', 'skip'),
                ('d', 'fail'),
                ('e', 'uxsuccess'),
            )
            for status in ('inprogress', end)
        ]
        passed, failed, skipped, lines = self.count(events, 'abcde')
        self.assertEqual((2, 2, 1), (passed, failed, skipped))
        self.assertEqual(2, len(lines))

    def test_a_test_without_an_end_has_failed(self):
        passed, failed, _, _ = self.count(
            [('a', 'inprogress'), ('a', 'success'), ('b', 'inprogress')], 'ab'
        )
        self.assertEqual((1, 1), (passed, failed))

    def test_a_test_that_never_began_has_failed(self):
        passed, failed, _, lines = self.count(
            [('a', 'inprogress'), ('a', 'success')],
            ['a', 'b(one scenario)', 'c'],
        )
        self.assertEqual((1, 2), (passed, failed))
        self.assertEqual(['b(one scenario): never ran', 'c: never ran'], lines)

    def test_a_class_that_cannot_be_set_up_has_failed(self):
        events = [('setUpClass (x)', 'inprogress'), ('setUpClass (x)', 'fail')]
        self.assertEqual((0, 2, 0), self.count(events, ['x.a'])[:3])

    def test_the_end_of_a_failed_test_s_traceback_is_told(self):
        trace = '\n\n'.join(f'line {n}' for n in range(100))
        events = [
            ('a', 'success', ('traceback', 'of no interest')),
            ('b', 'fail', ('pythonlogging', 'long'), ('traceback', trace)),
        ]
        *_, lines = self.count(events, 'ab')
        self.assertEqual('b: fail', lines[0])
        self.assertEqual('    line 75', lines[1])
        self.assertEqual('    line 99', lines[-1])
