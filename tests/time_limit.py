# SPDX-License-Identifier: Apache-2.0
"""A time limit for every test, so that one that hangs stops no run.

``tests.unit`` and ``tests.functional`` call :func:`install` when they are
imported, before any of their test classes exists: no class can forget the
limit. A class whose tests are known to take longer has an attribute
``time_limit``, in seconds.

What is no test, such as the preparation of a class, runs within
:func:`limit`. So do the tests of the lab, which have no stestr.

The limit is enforced twice. First gently: a signal raises
:class:`TimeLimitExceeded` in the main thread, wherever it is, the test fails
with the stacks of all threads, and the next test runs. A test that waits
where no signal reaches it is ended the hard way a little later: the process
writes the stacks of all threads to standard error and exits, and the tests
that it had not run count as failed. The hard way is also taken between tests
and at the end of the process, which a thread that was left behind can block
for good.

Two environment variables change the limits:

``OS_TEST_TIMEOUT``
    The limit, in seconds, of tests whose class has none of its own. With 0
    no test has a limit, as a debugger needs it.
``SVIRT_NOVA_TEST_TIME_SCALE``
    All limits are multiplied by it, for slow machines.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pathlib
import signal
import sys
import threading
import traceback
import unittest
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import testtools
from testtools import content

SCALE = float(os.environ.get('SVIRT_NOVA_TEST_TIME_SCALE', '1'))

# The base class of Nova's tests (oslotest.timeout.Timeout) reads the same
# variable and sets the same timer of the process, so it must not find it.
DEFAULT = float(os.environ.pop('OS_TEST_TIMEOUT', '300'))
"""The limit of a test, in seconds, before it is scaled."""

GRACE = 60.0
"""How many seconds after the limit the process is ended, before scaling."""

REPEAT = 20.0
"""After how many seconds the exception is raised again, before scaling: code
that catches all exceptions may have caught it, or another green thread may
have got it. Cleanups that hang as well are interrupted by it, too."""

_FORCE = 'force_failure'

# Leaves the frames of this module out of the tracebacks of tests.
__unittest = True


class TimeLimitExceeded(Exception):
    """A test, or what ran within a limit, took longer than it may."""


def limit_of(case: object) -> float:
    """The limit of a test, in seconds; 0 if limits are switched off."""
    return SCALE * (DEFAULT and float(getattr(case, 'time_limit', DEFAULT)))


def stacks() -> str:
    """The stacks of all threads, and of all green threads but this one."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        parts.append(f'Thread {names.get(ident, ident)}:\n')
        parts += traceback.format_stack(frame)
    greenlet = sys.modules.get('greenlet')
    if greenlet is not None:
        for found in gc.get_objects():
            if isinstance(found, greenlet.greenlet) and found.gr_frame:
                parts.append(f'Green thread {found!r}:\n')
                parts += traceback.format_stack(found.gr_frame)
    return ''.join(parts)


def _end_process_after(limit: float, grace: float | None = None) -> None:
    """End the process, with the stacks of its threads, if it is still there.

    :param limit: in how many seconds, without the grace; 0 for never
    :param grace: seconds, before scaling; by default ``GRACE``
    """
    if not limit:
        faulthandler.cancel_dump_traceback_later()
        return
    # A test may have replaced sys.stderr by something without a descriptor.
    faulthandler.dump_traceback_later(
        limit + SCALE * (GRACE if grace is None else grace),
        exit=True,
        file=sys.__stderr__ or sys.stderr,
    )


@contextlib.contextmanager
def _alarm(
    seconds: float, expired: Callable[[int, Any], object]
) -> Iterator[None]:
    """Let a signal handler be called if this context takes too long."""
    handler = signal.signal(signal.SIGALRM, expired)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


@contextlib.contextmanager
def limit(
    what: str,
    seconds: float,
    interrupt: Callable[[], object] = lambda: None,
    grace: float | None = None,
) -> Iterator[None]:
    """Raise :class:`TimeLimitExceeded` if this context takes too long.

    The stacks of all threads go to standard error. Only the main thread can
    enter the context, and not within a test that has a limit of its own.

    :param what: a name for the message
    :param seconds: the limit, before scaling
    :param interrupt: called before the exception is raised: what it ends
        need not be waited for when the context is left
    :param grace: how many seconds after the limit the process is ended,
        before scaling; by default ``GRACE``
    """
    scaled = SCALE * (DEFAULT and seconds)

    def expired(number: int, frame: Any) -> None:
        print(stacks(), file=sys.__stderr__ or sys.stderr, flush=True)
        interrupt()
        signal.setitimer(signal.ITIMER_REAL, SCALE * REPEAT)
        raise TimeLimitExceeded(
            f'{what} took longer than its time limit, {scaled:g} s'
        )

    _end_process_after(scaled, grace)
    try:
        with _alarm(scaled, expired):
            yield
    finally:
        _end_process_after(0)


class _Timer:
    """Interrupts a test that takes too long.

    :param case: the test
    :ivar is_delivered: whether the test has failed with the exception
    """

    def __init__(self, case: testtools.TestCase) -> None:
        self._case = case
        self._limit = limit_of(case)
        # The exception must not be raised in the code that reports.
        self._is_in_test = False
        self._has_stacks = False
        self.is_delivered = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Interrupt what runs in this context when its time is over."""
        _end_process_after(self._limit)
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: _end_process_after(SCALE * DEFAULT))
            # Signals belong to the main thread. In others only the hard
            # limit works. Python is asked like this because eventlet changes
            # what threading.main_thread() says.
            with contextlib.suppress(ValueError):
                stack.enter_context(_alarm(self._limit, self._expired))
            yield

    def call(self, function: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        """Call a function of the test."""
        before, self._is_in_test = self._is_in_test, True
        try:
            return function(*args, **kw)
        finally:
            self._is_in_test = before

    def _expired(self, number: int, frame: Any) -> None:
        if not self._has_stacks:
            self._has_stacks = True
            self._case.addDetail(
                'stacks of all threads', content.text_content(stacks())
            )
        if not self.is_delivered:
            # Should nobody let the exception through, the test fails at its
            # end.
            setattr(self._case, _FORCE, True)
        signal.setitimer(
            signal.ITIMER_REAL, SCALE * REPEAT if self._is_in_test else 0.1
        )
        if self._is_in_test:
            raise TimeLimitExceeded(
                f'the test took longer than its time limit, {self._limit:g} s'
            )


class RunTestInTime(testtools.RunTest):
    """Runs a test that has a time limit."""

    _timer: _Timer

    def _run_core(self) -> None:
        self._timer = _Timer(self.case)
        with self._timer.running():
            super()._run_core()

    def _run_user(self, fn: Callable[..., Any], *args: Any, **kw: Any) -> Any:
        return super()._run_user(self._timer.call, fn, *args, **kw)

    def _got_user_exception(self, exc_info: Any, *args: Any) -> object:
        if isinstance(exc_info[1], TimeLimitExceeded):
            self._timer.is_delivered = True
            setattr(self.case, _FORCE, None)
        return super()._got_user_exception(exc_info, *args)


def install() -> None:
    """Give a time limit to all tests that are made from here on."""
    testtools.TestCase.run_tests_with = RunTestInTime


def suite(directory: str) -> unittest.TestSuite:
    """All tests below a directory of this package."""
    here = pathlib.Path(__file__).parent
    return unittest.TestLoader().discover(
        str(here / directory), top_level_dir=str(here.parent)
    )


def without_limit(tests: unittest.TestSuite) -> list[str]:
    """The names of those tests in a suite that have no time limit."""
    found = []
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            found += without_limit(test)
        elif not _has_limit(test):
            found.append(test.id())
    return found


def _has_limit(test: unittest.TestCase) -> bool:
    method = getattr(test, test._testMethodName)
    # As testtools.TestCase chooses what runs the test.
    runs_with = getattr(
        method, '_run_test_with', getattr(test, 'run_tests_with', None)
    )
    return isinstance(runs_with, type) and issubclass(runs_with, RunTestInTime)
