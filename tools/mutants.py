# SPDX-License-Identifier: Apache-2.0
"""Mutants: the package with one small mistake, as cosmic-ray makes it.

Some mutants tell nothing about the tests, and are left out:

- Mutants that run as before, or only for a type checker: those of
  annotations, of log calls (``LOG.info(...)``), of assertions, which narrow
  types and guard nothing, and of ``if TYPE_CHECKING``. No operator changes a
  string, so docstrings stay as they are.
- Mutants of decorators. Without one, either nothing works (``@property``) or
  everything does (``@abc.abstractmethod``, ``@functools.cache``); an option
  of one (``frozen=True``) is for the reader.
- Mutants that any execution of their line kills with a TypeError, as
  ``path * name``. cosmic-ray replaces an arithmetical operator by each of
  the eleven others, and a comparison by each of the seven others: with all
  of them, half of a sample would be of this kind. An arithmetical operator is
  therefore replaced by its opposite alone, a comparison by its negation and
  by its neighbour (``<`` by ``<=``), and division, which joins paths, by
  nothing. ``==`` and ``is`` are not exchanged, which differ rarely.
- Mutants that are not Python, or the same Python as before.
"""

from __future__ import annotations

import ast
import pathlib
import random
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import parso
from cosmic_ray import mutating
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes
from cosmic_ray.ast import get_ast
from cosmic_ray.operators import operator as operators

# A line, and a column in it.
Place = tuple[int, int]

_COMPARISONS = {
    'Eq': ('NotEq', 'LtE', 'GtE'),
    'NotEq': ('Eq',),
    'Is': ('IsNot',),
    'IsNot': ('Is',),
    'Lt': ('LtE', 'GtE'),
    'LtE': ('Lt', 'Gt'),
    'Gt': ('GtE', 'LtE'),
    'GtE': ('Gt', 'Lt'),
}
_ARITHMETIC = {
    'Add': ('Sub',),
    'Sub': ('Add',),
    'Mul': ('FloorDiv',),
    'FloorDiv': ('Mul',),
    'Mod': ('FloorDiv',),
    'Pow': ('Mul',),
    'LShift': ('RShift',),
    'RShift': ('LShift',),
    'BitOr': ('BitAnd',),
    'BitAnd': ('BitOr',),
}


def _replacements(
    prefix: str, table: Mapping[str, Sequence[str]]
) -> list[str]:
    return [
        f'{prefix}_{old}_{new}'
        for old, every in table.items()
        for new in every
    ]


OPERATORS = (
    *_replacements('ReplaceComparisonOperator', _COMPARISONS),
    *_replacements('ReplaceBinaryOperator', _ARITHMETIC),
    'AddNot',
    'NumberReplacer',
    'ReplaceAndWithOr',
    'ReplaceBreakWithContinue',
    'ReplaceContinueWithBreak',
    'ReplaceFalseWithTrue',
    'ReplaceOrWithAnd',
    'ReplaceTrueWithFalse',
    'ReplaceUnaryOperator_Delete_Invert',
    'ReplaceUnaryOperator_Delete_Not',
    'ReplaceUnaryOperator_Delete_USub',
    'Uncaught',
    'ZeroIterationForLoop',
)


class Uncaught(operators.Operator):
    """Lets one of the exceptions of an ``except`` through.

    cosmic-ray's own operator for it knows no names with a dot.
    """

    @staticmethod
    def _exceptions(clause: Any) -> tuple[Any, list[int]]:
        """The node whose children are exceptions, and which of them are."""
        caught = clause.children[1]
        if caught.type == 'atom':
            inner = caught.children[1]
            if inner.type == 'testlist_comp':
                return inner, list(range(0, len(inner.children), 2))
        return clause, [1]

    def mutation_positions(self, node: Any) -> Iterator[tuple[Place, Place]]:
        if node.type == 'except_clause':
            parent, indices = self._exceptions(node)
            for index in indices:
                child = parent.children[index]
                yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        parent, indices = self._exceptions(node)
        nothing = ' ()' if parent is node else ' *()'
        parent.children[indices[index]] = parso.parse(nothing)
        return node

    @classmethod
    def examples(cls) -> Sequence[operators.Example]:
        return (
            operators.Example('except a.B: pass', 'except (): pass'),
            operators.Example('except (A, B): pass', 'except ( *(), B): pass'),
        )


_OWN: dict[str, Any] = {'Uncaught': Uncaught}


def _operator(name: str) -> Any:
    made = _OWN.get(name) or plugins.get_operator(f'core/{name}')
    return made()


class Mutant(NamedTuple):
    """One change of one file.

    :param path: the file, from the root of the sources
    :param line: the line that changes
    :param operator: the name of cosmic-ray's operator
    :param occurrence: which of the changes that the operator can make in the
        file
    """

    path: str
    line: int
    operator: str
    occurrence: int

    def apply(self, source: str) -> str | None:
        """Change a file.

        :returns: the changed text; None if it is not Python, or runs as
            before
        """
        changed = mutating.mutate_code(
            source, _operator(self.operator), self.occurrence
        )
        if changed is None:
            return None
        try:
            tree = ast.parse(changed)
        except SyntaxError:
            return None
        is_same = ast.dump(tree) == ast.dump(ast.parse(source))
        return None if is_same else str(changed)

    def __str__(self) -> str:
        return f'{self.path}:{self.line} {self.operator}'


def change(source: str, changed: str) -> str:
    """The lines that a mutation changed: ``before -> after``."""
    before = source.splitlines()
    after = changed.splitlines()
    while before and after and before[0] == after[0]:
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    return ' -> '.join(
        ' '.join(line.strip() for line in lines) for lines in (before, after)
    )


def _is_log_call(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id='LOG'))):
            return True
    return False


def _is_type_checking(node: ast.expr) -> bool:
    return ast.unparse(node).endswith('TYPE_CHECKING')


def _left_out(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes in which nothing is changed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from node.decorator_list
            if node.returns:
                yield node.returns
        elif isinstance(node, ast.ClassDef):
            yield from node.decorator_list
        elif isinstance(node, ast.arg | ast.AnnAssign):
            if node.annotation:
                yield node.annotation
        elif isinstance(node, ast.If):
            if _is_type_checking(node.test):
                yield node
        elif isinstance(node, ast.Assert) or _is_log_call(node):
            yield node


def _is_within(place: Place, node: ast.AST) -> bool:
    first = (node.lineno, node.col_offset)  # type: ignore[attr-defined]
    last = (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]
    return first <= place < last


def mutants_of(path: str, source: str) -> list[Mutant]:
    """All mutants of a file, but for those that are left out."""
    left_out = list(_left_out(ast.parse(source)))
    nodes = list(ast_nodes(get_ast(source)))
    found = []
    for name in OPERATORS:
        operator = _operator(name)
        places = [p for n in nodes for p, _ in operator.mutation_positions(n)]
        for occurrence, place in enumerate(places):
            if not any(_is_within(place, node) for node in left_out):
                found.append(Mutant(path, place[0], name, occurrence))
    return found


def sample(
    mutants: Sequence[Mutant], root: pathlib.Path, count: int, seed: int
) -> list[Mutant]:
    """Some of the mutants, each with the same probability.

    :param root: where the sources are
    :param count: how many; there may be fewer
    :param seed: with the same seed and sources the sample is the same
    """
    shuffled = list(mutants)
    random.Random(seed).shuffle(shuffled)
    chosen: list[Mutant] = []
    for mutant in shuffled:
        if len(chosen) == count:
            break
        if mutant.apply((root / mutant.path).read_text()) is not None:
            chosen.append(mutant)
    return chosen


def statement(source: str, line: int) -> range:
    """The lines of the innermost statement at a line.

    A statement that contains others, as ``if``, ends where they begin.
    Coverage may note only some lines of a statement as executed.
    """
    best = range(line, line + 1)
    size = len(source)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt | ast.ExceptHandler):
            continue
        body = getattr(node, 'body', None)
        end = node.end_lineno or node.lineno
        if body:
            end = max(node.lineno, body[0].lineno - 1)
        if node.lineno <= line <= end and end - node.lineno < size:
            best = range(node.lineno, end + 1)
            size = end - node.lineno
    return best
