# SPDX-License-Identifier: Apache-2.0

import contextlib
import io
import pathlib
import sys

import fixtures
import testtools

from tools import generated


class GeneratedTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.patch(generated, 'ROOT', self.root)
        self.patch(generated, 'GENERATED', {'made': lambda: 'one\ntwo\n'})

    def main(self, *options):
        self.patch(sys, 'argv', ['generated', *options])
        with contextlib.redirect_stdout(io.StringIO()) as output:
            return generated.main(), output.getvalue()

    def test_a_file_is_made(self):
        self.assertEqual((0, ''), self.main())

        self.assertEqual('one\ntwo\n', (self.root / 'made').read_text())
        self.assertEqual((0, ''), self.main('--check'))

    def test_a_file_that_is_out_of_date_is_found_and_left_alone(self):
        (self.root / 'made').write_text('one\n')

        status, output = self.main('--check')

        self.assertEqual(1, status)
        self.assertIn('+two', output)
        self.assertIn('tox -e genconfig', output)
        self.assertEqual('one\n', (self.root / 'made').read_text())

    def test_a_file_that_is_not_there_is_out_of_date(self):
        status, _ = self.main('--check')

        self.assertEqual(1, status)
