# SPDX-License-Identifier: Apache-2.0

import argparse
import os
import pathlib
import subprocess
import sys

import fixtures
import testtools

from tools import run_stestr

ROOT = pathlib.Path(__file__).parents[3]

# In this order, in one worker.
SUITE = """
import os, signal, unittest

class Test(unittest.TestCase):
    def test_1_passes(self):
        pass

    def test_2_fails(self):
        self.assertEqual(1, 2)

    def test_3_is_skipped(self):
        self.skipTest('no reason')

    def test_4_is_killed(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def test_5_would_pass(self):
        pass
"""


class ProgramTest(testtools.TestCase):
    def run_suite(self, text, *options):
        """Run a suite of one module.

        :returns: the exit status, and what is reported to tools/test
        """
        here = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (here / 'tests').mkdir()
        (here / 'tests' / '__init__.py').touch()
        (here / 'tests' / 'test_it.py').write_text(text)
        environment = {
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'SVIRT_NOVA_TEST_RESULTS': str(here),
            'SVIRT_NOVA_TEST_REPOSITORIES': str(here / 'repositories'),
        }
        environment.pop('PYTHON', None)
        command = [sys.executable, '-m', 'tools.run_stestr', 'it', 'tests']
        done = subprocess.run(
            [*command, '--per-processor', '0.1', *options],
            cwd=here,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        counts = (here / 'counts').read_text()
        failed = here / 'failed'
        told = failed.read_text() if failed.exists() else ''
        return done.returncode, counts, told

    def test_no_test_is_lost_when_a_worker_is_killed(self):
        status, counts, told = self.run_suite(SUITE)

        self.assertEqual((1, '1 3 1\n'), (status, counts), told)
        self.assertIn('it: 3 failed\n', told)
        self.assertIn('AssertionError: 1 != 2\n', told)
        self.assertIn('test_4_is_killed: fail, without a traceback', told)
        self.assertIn('test_5_would_pass: never ran\n', told)

    def test_a_suite_that_cannot_be_imported_has_failed(self):
        status, counts, told = self.run_suite('import no_such_module')

        self.assertEqual((1, '0 1 0\n'), (status, counts), told)
        self.assertIn("No module named 'no_such_module'", told)

    def test_a_suite_that_passes_exits_with_zero(self):
        status, counts, told = self.run_suite(SUITE, 'passes')

        self.assertEqual((0, '1 0 0\n', ''), (status, counts, told))


class ChooseTest(testtools.TestCase):
    def choose(self, ids, **options):
        options = {'names': None, 'selection': [], 'without': None} | options
        return run_stestr.choose(ids, argparse.Namespace(**options))

    def write(self, text):
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'list')
        path.write_text(text)
        return path

    def test_all_by_default(self):
        self.assertEqual((['a', 'b'], []), self.choose(['a', 'b']))

    def test_those_of_a_list_alone(self):
        names = self.write('# why\nb\n')

        self.assertEqual((['b'], []), self.choose(['a', 'b'], names=names))

    def test_those_that_a_list_names_in_vain_are_missing(self):
        names = self.write('a\nb\nc\n')

        self.assertEqual((['a'], ['b', 'c']), self.choose(['a'], names=names))

    def test_those_that_match_any_expression(self):
        self.assertEqual(
            (['ab', 'bc'], []),
            self.choose(['ab', 'bc', 'd'], selection=['a', 'c$']),
        )

    def test_what_a_list_leaves_out_does_not_run(self):
        without = self.write('# why\n^a\n# why\nc$\n')

        self.assertEqual(
            (['ba'], []), self.choose(['ab', 'ba', 'bc'], without=without)
        )

    def test_what_is_selected_runs_although_a_list_leaves_it_out(self):
        without = self.write('# why\n^a\n')

        self.assertEqual(
            (['ab'], []),
            self.choose(['ab', 'ba'], without=without, selection=['^a']),
        )


class EntriesTest(testtools.TestCase):
    def test_a_comment_is_that_of_the_entries_below(self):
        found = run_stestr.entries(
            '# header\n\n# first\n# reason\na\nb\n\n# next\nc  # own\n'
        )

        self.assertEqual(
            {'a': 'first reason', 'b': 'first reason', 'c': 'next'}, found
        )


class RunTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.reports = []
        self.patch(
            run_stestr, 'report', lambda *told: self.reports.append(told)
        )

        class Suite:
            def __init__(self, directory, repository):
                pass

            def ids(self):
                return ['a']

            def run(self, ids, concurrency):
                return 0, {}

        self.patch(run_stestr, 'Suite', Suite)

    def run_suite(self, selection, if_any=False):
        args = argparse.Namespace(
            what='it',
            directory='tests',
            per_processor=0.1,
            names=None,
            without=None,
            selection=selection,
            if_any=if_any,
        )
        return run_stestr.run(args)

    def test_a_run_of_no_test_has_failed(self):
        self.assertEqual(1, self.run_suite(['b']))

        [(_, counts, _)] = self.reports
        self.assertEqual((0, 1, 0), counts)

    def test_a_selection_may_match_nothing_where_that_is_allowed(self):
        self.assertEqual(0, self.run_suite(['b'], if_any=True))

        self.assertEqual([], self.reports)

    def test_a_test_that_reports_nothing_has_failed(self):
        self.assertEqual(1, self.run_suite([]))

        [(_, counts, _)] = self.reports
        self.assertEqual((0, 1, 0), counts)
