# SPDX-License-Identifier: Apache-2.0
"""Which mutants there are, and which are left out."""

import ast
import pathlib
import textwrap

import fixtures
import testtools
from cosmic_ray import mutating

from tools import mutants


def changes(source):
    """What each mutant of a text changes."""
    source = textwrap.dedent(source)
    applied = [m.apply(source) for m in mutants.mutants_of('a.py', source)]
    return [mutants.change(source, text) for text in applied if text]


class MutantsOfTest(testtools.TestCase):
    def test_a_comparison_becomes_its_negation_and_its_neighbour(self):
        self.assertCountEqual(
            ['a < b -> a <= b', 'a < b -> a >= b'], changes('a < b\n')
        )

    def test_an_equality_is_not_exchanged_for_identity(self):
        self.assertCountEqual(
            ['a == b -> a != b', 'a == b -> a <= b', 'a == b -> a >= b'],
            changes('a == b\n'),
        )

    def test_a_path_is_still_joined(self):
        self.assertEqual([], changes('a / b\n'))

    def test_an_annotation_is_left_out(self):
        source = """
            class A:
                a: B | C

            def f(a: B | C, *b: D | E) -> F[1] | None:
                pass
        """

        self.assertEqual([], changes(source))

    def test_the_value_of_an_annotated_name_is_changed(self):
        self.assertEqual(
            ['a: B | C = True -> a: B | C = False'],
            changes('a: B | C = True\n'),
        )

    def test_a_default_of_an_argument_is_changed(self):
        self.assertEqual(
            ['def f(a: B | C = True): pass -> def f(a: B | C = False): pass'],
            changes('def f(a: B | C = True): pass\n'),
        )

    def test_a_log_call_is_left_out(self):
        source = """
            LOG.info(
                'a %s',
                1 if a else 2,
            )
        """

        self.assertEqual([], changes(source))

    def test_a_decorator_is_left_out(self):
        source = """
            @dataclass(frozen=True)
            class A:
                @retry(3)
                def f(self): pass
        """

        self.assertEqual([], changes(source))

    def test_an_assertion_is_left_out(self):
        self.assertEqual([], changes('assert a is not None\n'))

    def test_an_import_for_a_type_checker_is_left_out(self):
        source = """
            if typing.TYPE_CHECKING:
                import a
        """

        self.assertEqual([], changes(source))

    def test_a_docstring_is_left_out(self):
        self.assertEqual([], changes('"""1 < 2, and True."""\n'))

    def test_what_is_not_python_is_no_mutant(self):
        self.assertEqual([], changes('def f(*, a): pass\n'))

    def test_each_exception_of_a_clause_is_let_through(self):
        source = """
            try: pass
            except (a.B, C) as error: pass
            except d.E: pass
        """

        self.assertEqual(
            [
                'except (a.B, C) as error: pass -> '
                'except ( *(), C) as error: pass',
                'except (a.B, C) as error: pass -> '
                'except (a.B, *()) as error: pass',
                'except d.E: pass -> except (): pass',
            ],
            changes(source),
        )

    def test_the_exceptions_are_changed_as_the_examples_say(self):
        for example in mutants.Uncaught.examples():
            source = f'try: pass\n{example.pre_mutation_code}\n'
            expected = f'try: pass\n{example.post_mutation_code}\n'
            changed = mutating.mutate_code(source, mutants.Uncaught(), 0)

            self.assertEqual(expected, changed)

    def test_every_operator_is_known_to_cosmic_ray(self):
        # It makes a mutant of something.
        source = 'a is b\n'
        for name in mutants.OPERATORS:
            mutants.Mutant('a.py', 1, name, 0).apply(source)


class SampleTest(testtools.TestCase):
    SOURCE = 'def f(*, a): pass\n' + 'a == b\n' * 50

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.root / 'a.py').write_text(self.SOURCE)
        self.all = mutants.mutants_of('a.py', self.SOURCE)

    def sample(self, count, seed=1):
        return mutants.sample(self.all, self.root, count, seed)

    def test_the_same_seed_chooses_the_same(self):
        self.assertEqual(self.sample(9), self.sample(9))

    def test_another_seed_chooses_others(self):
        self.assertNotEqual(self.sample(9), self.sample(9, seed=2))

    def test_each_is_chosen_once(self):
        self.assertEqual(9, len(set(self.sample(9))))

    def test_what_is_not_python_is_not_chosen(self):
        self.assertEqual(151, len(self.all))
        self.assertEqual(150, len(self.sample(1000)))


class StatementTest(testtools.TestCase):
    def statement(self, source, line):
        source = textwrap.dedent(source).lstrip()
        ast.parse(source)
        return list(mutants.statement(source, line))

    def test_a_statement_of_several_lines(self):
        self.assertEqual([1, 2, 3], self.statement('a = [\n1,\n]\n', 2))

    def test_a_condition_ends_where_what_it_guards_begins(self):
        source = """
            if (
                a
            ):
                b
        """

        self.assertEqual([1, 2, 3], self.statement(source, 2))
        self.assertEqual([4], self.statement(source, 4))

    def test_a_clause_for_an_exception_is_not_what_it_guards(self):
        source = """
            try:
                a
            except (
                B
            ):
                c
        """

        self.assertEqual([3, 4, 5], self.statement(source, 4))
