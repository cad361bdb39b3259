# SPDX-License-Identifier: Apache-2.0
"""What tests/functional/soak.list may leave out."""

import pathlib
import re
import unittest

from tests import time_limit
from tools import run_stestr

LIST = pathlib.Path(__file__).with_name('soak.list')


def ids(tests):
    """The names of the tests in a suite."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from ids(test)
        else:
            yield test.id()


def without(expression, names):
    """The names that a regular expression does not match."""
    return {name for name in names if not re.search(expression, name)}


class SoakListMixin:
    """Checks the entries of one directory, whose tests can be imported."""

    DIRECTORY: str
    ENTRY: re.Pattern[str]

    def setUp(self):
        super().setUp()
        self.there = set(ids(time_limit.suite(self.DIRECTORY)))
        self.entries = {
            entry: reason
            for entry, reason in run_stestr.entries(LIST.read_text()).items()
            if self.ENTRY.match(entry)
        }

    def test_each_entry_leaves_out_a_test(self):
        self.assertNotEqual({}, self.entries)
        for entry in self.entries:
            self.assertNotEqual(self.there, without(entry, self.there), entry)

    def test_each_name_in_an_entry_is_that_of_a_test(self):
        for entry in self.entries:
            prefix, _, names = entry.partition('(?!')
            for name in _expanded(names.removesuffix(')')):
                kept = f'{prefix}{name}'
                self.assertNotEqual(
                    self.there, without(kept, self.there), kept
                )

    def test_each_entry_has_a_reason(self):
        for entry, reason in self.entries.items():
            self.assertRegex(reason, r'\w.*\.', entry)


def _expanded(text):
    """The alternatives of one expression, such as a_(b|c)$."""
    if not text:
        return []
    before, _, rest = text.partition('(')
    if not rest:
        return [before]
    inner, _, after = rest.partition(')')
    return [f'{before}{each}{after}' for each in inner.split('|')]
