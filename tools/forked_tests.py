# SPDX-License-Identifier: Apache-2.0
"""Runs tests in forked children, beside sources that may have been changed.

A child is forked from a process that has imported Nova and all other
libraries, but nothing of this project: an interpreter of its own would spend
ten seconds on imports. It imports this project from a copy of the sources.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pathlib
import re
import resource
import signal
import sys
import tempfile
import time
import unittest
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any
from typing import NamedTuple

import coverage

MEMORY = 6 << 30
"""What a child may have, in bytes: a mutant may allocate without end."""

LIMIT = 3600
"""How many seconds all tests of a tier may take without a mutant."""

# This project, of which a child imports its own copy.
_OWN = re.compile(r'(svirt_nova|tests|nova\.virt\.svirt_nova)\b')
# What patches the process for eventlet, or is not for import.
_LEAVE = re.compile(r'nova\.(cmd|tests|monkey_patch)\b|__m(ain|p_main)__$')


class Test(NamedTuple):
    """A test.

    :param module: what is imported for it
    :param duration: how long it takes, in seconds
    """

    id: str
    module: str
    duration: float


class Tier(NamedTuple):
    """Tests that are measured together.

    :param name: what the report calls them
    :param directories: where their modules are
    :param selection: a regular expression of the ids of those that run
    """

    name: str
    directories: tuple[str, ...]
    selection: str = ''


def _flat(suite: unittest.TestSuite) -> Iterator[Any]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _load(name: str) -> list[Any]:
    module = importlib.import_module(name)
    return list(_flat(unittest.TestLoader().loadTestsFromModule(module)))


class _Result(unittest.TestResult):
    """Stops at the first failure, and notes how long each test took.

    :param measured: it is told which test runs
    """

    def __init__(self, measured: coverage.Coverage | None = None) -> None:
        super().__init__()
        self.failfast = True
        self._measured = measured
        self.durations: dict[str, float] = {}

    def startTest(self, test: Any) -> None:  # noqa: N802
        self._began = time.monotonic()
        if self._measured:
            self._measured.switch_context(test.id())
        super().startTest(test)

    def stopTest(self, test: Any) -> None:  # noqa: N802
        super().stopTest(test)
        if self._measured:
            self._measured.switch_context('')
        self.durations[test.id()] = time.monotonic() - self._began

    def failure(self) -> str | None:
        """The test that failed, and its traceback; None if all passed."""
        for test, trace in self.failures + self.errors:
            return f'{test.id()}\n{trace}'
        for test in self.unexpectedSuccesses:
            return str(test.id())
        return None


def _enter(tree: pathlib.Path) -> None:
    """Make a child work in a copy of the sources, and nowhere else."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    scratch = tree.parent / f'{tree.name}-tmp'
    scratch.mkdir(exist_ok=True)
    os.environ['TMPDIR'] = tempfile.tempdir = str(scratch)
    os.environ['PYTHONPATH'] = str(tree)
    os.chdir(tree)
    sys.path.insert(0, str(tree))


def _measure(
    tree: pathlib.Path, tier: Tier, out: connection.Connection
) -> None:
    """Run tests, and note what they execute. This is a child's program."""
    _enter(tree)
    measured = coverage.Coverage(
        data_file=str(tree.parent / tier.name),
        source=[str(tree / 'svirt_nova')],
        config_file=False,
        messages=False,
    )
    measured.start()
    modules: dict[str, str] = {}
    tests: list[Any] = []
    for directory in tier.directories:
        for path in sorted((tree / directory).rglob('test_*.py')):
            name = '.'.join(path.relative_to(tree).with_suffix('').parts)
            for test in _load(name):
                if re.match(tier.selection, test.id()):
                    modules[test.id()] = name
                    tests.append(test)
    result = _Result(measured)
    unittest.TestSuite(tests).run(result)
    measured.stop()
    measured.save()
    known = [Test(i, modules[i], d) for i, d in result.durations.items()]
    out.send((known, list(sys.modules), result.failure()))
    # Threads that a test has left behind do not matter.
    os._exit(0)


def _judge(
    tree: pathlib.Path, tests: Sequence[Test], out: connection.Connection
) -> None:
    """Run tests until one fails. This is a child's program."""
    _enter(tree)
    # Only the bytecode of the unchanged sources is kept: see _measure().
    sys.dont_write_bytecode = True
    os.environ['PYTHONDONTWRITEBYTECODE'] = '1'
    # A test that hangs is ended (tests/time_limit.py) long before the child.
    longest = max(test.duration for test in tests)
    os.environ['OS_TEST_TIMEOUT'] = str(30 + 5 * longest)
    try:
        found = {
            case.id(): case
            for module in dict.fromkeys(test.module for test in tests)
            for case in _load(module)
        }
        suite = unittest.TestSuite(found[test.id] for test in tests)
    except BaseException as error:  # noqa: BLE001
        out.send(f'import: {error!r}')
        os._exit(0)
    result = _Result()
    suite.run(result)
    out.send(result.failure())
    os._exit(0)


class Child:
    """A process that runs tests in a copy of the sources.

    :param program: what it does
    :param what: the second argument of this
    :param limit: after how many seconds it is ended
    """

    def __init__(
        self, program: Any, tree: pathlib.Path, what: object, limit: float
    ) -> None:
        fork = multiprocessing.get_context('fork')
        self.pipe, end = fork.Pipe(duplex=False)
        self.tree = tree
        self.deadline = time.monotonic() + limit
        self._process = fork.Process(target=program, args=(tree, what, end))
        self._process.start()
        end.close()

    def is_late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self.deadline

    def end(self) -> Any:
        """Wait for its answer, but not beyond its time, and end it.

        :returns: its answer, or why there is none
        """
        answer: Any = 'time limit'
        try:
            if self.pipe.poll(max(0, self.deadline - time.monotonic())):
                answer = self.pipe.recv()
        except EOFError:
            answer = 'the process ended'
        finally:
            self.kill()
        return answer

    def kill(self) -> None:
        """End it, with what its tests have started."""
        if self._process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.pipe.close()


def judge(tree: pathlib.Path, tests: Sequence[Test]) -> Child:
    """Start tests, which answer what failed first, or None."""
    limit = 60 + 5 * sum(test.duration for test in tests)
    return Child(_judge, tree, tests, limit)


class Suite:
    """The tests of a tier, and which of them execute which line.

    :param tree: a copy of the sources
    :raises RuntimeError: a test fails beside these
    """

    def __init__(self, tree: pathlib.Path, tier: Tier) -> None:
        self.name = tier.name
        self._tree = tree
        answer = Child(_measure, tree, tier, LIMIT).end()
        if isinstance(answer, str):
            raise RuntimeError(f'{tier.name}: {answer}')
        known, self.modules, failure = answer
        if failure:
            raise RuntimeError(f'without a mutant it fails: {failure}')
        self.tests: dict[str, Test] = {test.id: test for test in known}
        self._data = coverage.CoverageData(str(tree.parent / tier.name))
        self._data.read()

    def that_execute(self, path: str, lines: Iterable[int]) -> list[Test]:
        """The tests that execute any of the lines of a file.

        Those that merely import the file do not count, nor those that
        execute it in another process.
        """
        contexts = self._data.contexts_by_lineno(str(self._tree / path))
        names = {name for line in lines for name in contexts.get(line, ())}
        return [self.tests[name] for name in names if name]


def preload(modules: Iterable[str]) -> None:
    """Import what tests need, but nothing of this project.

    :raises RuntimeError: a library has imported this project
    """
    for name in modules:
        if not _OWN.match(name) and not _LEAVE.match(name):
            # Some names are aliases that cannot be imported. What is missing
            # here each child imports by itself.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    own = [name for name in sys.modules if _OWN.match(name)]
    if own:
        raise RuntimeError(f'these must not be imported here: {own}')
