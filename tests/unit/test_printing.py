# SPDX-License-Identifier: Apache-2.0

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova import printing


class PrintableTest(testtools.TestCase):
    def test_text_that_can_be_printed_stays_as_it_is(self):
        for text in (
            '',
            'host1',
            "a 'b' \\n",
            'projet \u00e9 \u00b5',
            '\U0001f600',
        ):
            self.assertEqual(text, printing.printable(text))

    def test_what_forges_lines_or_moves_a_cursor_is_escaped(self):
        for text, shown in (
            ('a\nb\r\nc', 'a\\nb\\r\\nc'),
            ('\x1b[2J\x07\x08', '\\x1b[2J\\x07\\x08'),
            ('\x9b31m\x85', '\\x9b31m\\x85'),
            ('a\tb\0c\x7f', 'a\\tb\\x00c\\x7f'),
            (
                '\u2028\u2029\u202e\u200b\u00a0\ufeff',
                '\\u2028\\u2029\\u202e\\u200b\\xa0\\ufeff',
            ),
            ('\ud800', '\\ud800'),
            ('\U000e0001', '\\U000e0001'),
        ):
            self.assertEqual(shown, printing.printable(text))

    def test_long_text_keeps_its_beginning_and_its_end(self):
        shown = printing.printable('begin ' + 5_000_000 * 'x' + ' end')
        self.assertEqual(printing.LONGEST, len(shown))
        self.assertTrue(shown.startswith('begin x'))
        self.assertTrue(shown.endswith('x end'))
        self.assertIn(' [5000010 characters, the middle is left out] ', shown)

    @given(st.text(), st.integers(100, 300), st.integers(1, 1000))
    def test_any_text_has_one_line_of_bounded_length(
        self, text, longest, times
    ):
        shown = printing.printable(text * times, longest)
        self.assertTrue(shown.isprintable())
        self.assertLessEqual(len(shown), longest)
        self.assertEqual(shown, printing.printable(shown, longest))
        for bounded in (
            printing.quote(text * times, longest),
            printing.name(text * times),
        ):
            self.assertTrue(bounded.isprintable())
            self.assertLessEqual(
                len(bounded), 2 + 10 * max(longest, printing.LONGEST_NAME)
            )

    def test_names_that_look_alike_are_shown_in_different_ways(self):
        names = (
            'compute1',
            'compute1 ',
            'c\u043empute1',
            'compute1\u200b',
            'comput\u00e91',
            'compute\u03011',
            "'compute1'",
            'compute1\n',
        )
        self.assertEqual(len(names), len({*map(printing.name, names)}))
        for name in names:
            self.assertTrue(printing.name(name).isascii())
        for plain in ('compute1', 'compute-1.example.org', 'a_b:c@d'):
            self.assertEqual(plain, printing.name(plain))

    def test_name_of_another_kind_is_shown_in_quotes(self):
        for value in (None, 7, ['a'], {'a': 5}):
            self.assertEqual(str(value), printing.name(value).strip('"\''))


class ErrorTest(testtools.TestCase):
    def test_text_of_every_error_has_one_line_of_bounded_length(self):
        kinds = [
            kind
            for kind in vars(exception).values()
            if isinstance(kind, type) and issubclass(kind, Exception)
        ]
        self.assertGreater(len(kinds), 20)
        for kind in kinds:
            for text in (
                'a\nforged line',
                '\x1b]0;title\x07',
                5_000_000 * '\n',
            ):
                shown = str(kind(f'what happened: {text}'))
                self.assertTrue(shown.isprintable())
                self.assertLessEqual(len(shown), printing.LONGEST)
                self.assertTrue(shown.startswith('what happened: '))
