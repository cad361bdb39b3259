# SPDX-License-Identifier: Apache-2.0
"""What a process does to the world, one step at a time."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
from collections.abc import Callable
from collections.abc import Iterator


class Died(BaseException):
    """The process is gone: nothing in it may catch this."""


class Steps(abc.ABC):
    """Steps at which something may befall the process that comes to them."""

    @abc.abstractmethod
    def reach(self, name: str) -> None:
        """A process comes to a step.

        :param name: what it is about to do, or has done
        :raises Died: the process does not survive the step
        """

    @contextlib.contextmanager
    def changes(self, name: str) -> Iterator[None]:
        """Two steps, with a change of the world between them."""
        self.reach(f'before {name}')
        yield
        self.reach(f'after {name}')


class Countdown(Steps):
    """Counts steps, and ends the process at one of them.

    :param last: the number of the step that is not survived; None for none
    :param kill: whether the process is really killed there
    :param watch: called at each step
    """

    def __init__(
        self,
        last: int | None = None,
        kill: bool = False,
        watch: Callable[[], None] | None = None,
    ) -> None:
        self.names: list[str] = []
        self._last = last
        self._kill = kill
        self._watch = watch
        self._is_dead = False

    def reach(self, name: str) -> None:
        if self._is_dead:
            # Such as a finally clause, which a dead process does not run.
            raise Died(name)
        if self._watch is not None:
            self._watch()
        self.names.append(name)
        if len(self.names) - 1 == self._last:
            if self._kill:
                os.kill(os.getpid(), signal.SIGKILL)
            self._is_dead = True
            raise Died(name)
