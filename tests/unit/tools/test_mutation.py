# SPDX-License-Identifier: Apache-2.0
"""What a run of mutants counts, and which tests judge one."""

import testtools

from tools import forked_tests
from tools import mutation
from tools.mutants import Mutant

MCS = Mutant('svirt_nova/mcs/levels.py', 55, 'AddNot', 0)
SQL = Mutant('svirt_nova/allocator/sql/tables/schema.py', 1, 'AddNot', 0)
OTHER = Mutant('svirt_nova/mcs/levels.py', 56, 'AddNot', 1)


class TableTest(testtools.TestCase):
    def test_each_room_has_its_figures_and_all_have_the_sum(self):
        lines = mutation.table(
            [MCS, SQL, OTHER, OTHER],
            [MCS, SQL, OTHER],
            [('unit', {MCS: 'a.test'}), ('functional', {SQL: 'b.test'})],
        )

        found = {line.split()[0]: line.split()[1:] for line in lines}
        self.assertEqual(['3', '2', '1', '0', '1', '50.0', '%'], found['mcs'])
        self.assertEqual(
            ['1', '1', '0', '1', '0', '100.0', '%'], found['allocator/sql']
        )
        self.assertEqual(['0', '0', '0', '0', '0', '-'], found['host'])
        self.assertEqual(['4', '3', '1', '1', '1', '66.7', '%'], found['all'])


class Suite:
    """Tests of two rooms, of which one may execute the mutant."""

    name = 'unit'

    def __init__(self, *executing):
        self.executing = executing
        self.tests = {
            name: forked_tests.Test(name, 'module', 1)
            for name in ('tests.unit.mcs.a', 'tests.unit.virt.b')
        }

    def that_execute(self, path, lines):
        return [self.tests[name] for name in self.executing]


class TestsForTest(testtools.TestCase):
    ROOMS = mutation.ROOM_TESTS[mutation.UNIT]

    def judges(self, suite, rooms=ROOMS):
        found = mutation.tests_for(MCS, suite, rooms)
        return [test.id for test in found]

    def test_those_that_execute_it_judge_it_before_those_of_its_room(self):
        self.assertEqual(
            ['tests.unit.virt.b', 'tests.unit.mcs.a'],
            self.judges(Suite('tests.unit.virt.b')),
        )

    def test_all_of_the_room_judge_what_none_executes(self):
        self.assertEqual(['tests.unit.mcs.a'], self.judges(Suite()))

    def test_functional_tests_judge_only_what_they_execute(self):
        suite = Suite('tests.unit.virt.b')
        suite.name = 'functional'

        self.assertEqual(['tests.unit.virt.b'], self.judges(suite))

    def test_none_of_a_tier_that_has_none_for_the_room_judge_it(self):
        self.assertEqual([], self.judges(Suite('tests.unit.virt.b'), {}))


class TrialTest(testtools.TestCase):
    A, B, C = (forked_tests.Test(name, 'module', 1) for name in 'abc')

    def setUp(self):
        super().setUp()
        self.trial = mutation.Trial(MCS, [self.A, self.B, self.C])

    def test_nothing_follows_when_all_have_passed(self):
        self.assertEqual([], self.trial.after(None).tests)

    def test_nothing_follows_an_import_that_failed(self):
        self.assertEqual([], self.trial.after('import: NameError()').tests)

    def test_a_test_that_failed_is_repeated_by_itself(self):
        self.assertEqual([self.B], self.trial.after('b\ntraceback').tests)

    def test_nothing_follows_when_it_fails_again(self):
        again = self.trial.after('b\ntraceback')
        self.assertEqual([], again.after('b\ntraceback').tests)

    def test_the_others_go_on_when_it_passes(self):
        again = self.trial.after('b\ntraceback')
        others = again.after(None)
        self.assertEqual([self.C], others.tests)
        self.assertEqual([self.C], others.after('c\ntraceback').tests)
