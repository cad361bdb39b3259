# SPDX-License-Identifier: Apache-2.0
"""Processes that call each other: one after the other, or taking turns."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import greenlet
import nova.conf
import oslo_messaging
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import exception
from tests.fakes import steps as fake_steps

CONF = nova.conf.CONF

FAILURES: tuple[type[Exception], ...] = (
    exception.SvirtError,
    nova_exception.NovaException,
    oslo_messaging.MessagingException,
    libvirt_host.libvirt.libvirtError,
    OSError,
)
"""What Nova takes for the failure of an operation. Everything else is a
mistake of the code or of a test, which nothing here must swallow."""


class Processes(abc.ABC):
    """Where work is done.

    :ivar host: the host that is working; None for a controller
    :ivar instances: by host, the directory of its instances
    :ivar down: the hosts that do not answer
    """

    def __init__(self) -> None:
        self.host: str | None = None
        self.instances: dict[str, str] = {}
        self.down: set[str] = set()

    def _enter(self, host: str | None) -> None:
        """Let what follows be done by a host."""
        if host is not None and host != self.host:
            CONF.set_override('instances_path', self.instances[host])
        self.host = host

    @contextlib.contextmanager
    def on(self, host: str | None) -> Iterator[None]:
        """Do something as a host does it."""
        before = self.host
        self._enter(host)
        try:
            yield
        finally:
            self._enter(before)

    @abc.abstractmethod
    def cast(self, host: str, work: Callable[[], Any]) -> None:
        """Have a host do something, and do not wait for it."""

    @abc.abstractmethod
    def call(self, host: str, work: Callable[[], Any]) -> Any:
        """Have a host do something, and wait for what it answers.

        :raises oslo_messaging.MessagingTimeout: it does not answer
        """

    @abc.abstractmethod
    def wait(self, condition: Callable[[], bool]) -> None:
        """Go on when a condition holds, which others bring about."""


class Inline(Processes):
    """All work is done at once, in this process."""

    def cast(self, host: str, work: Callable[[], Any]) -> None:
        if host not in self.down:
            self.call(host, work)

    def call(self, host: str, work: Callable[[], Any]) -> Any:
        if host in self.down:
            raise oslo_messaging.MessagingTimeout(host)
        with self.on(host):
            return work()

    def wait(self, condition: Callable[[], bool]) -> None:
        if not condition():
            raise AssertionError('nothing will bring it about')


class Task:
    """Something that a process does, a step at a time.

    :param host: where; None for a controller
    :param subject: the UUID of the instance that it is about, if any
    """

    def __init__(
        self, host: str | None, subject: str | None, work: Callable[[], Any]
    ) -> None:
        self.host = host
        self.subject = subject
        self.is_dying = False
        self.at = ''
        self.answer: Any = None
        self.error: BaseException | None = None
        self.condition: Callable[[], bool] | None = None
        self._work = work
        self.greenlet = greenlet.greenlet(self._run)

    def _run(self) -> None:
        try:
            self.answer = self._work()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            self.error = error

    @property
    def is_over(self) -> bool:
        return bool(self.greenlet.dead)

    @property
    def can_go_on(self) -> bool:
        return self.condition is None or self.condition()

    def __repr__(self) -> str:
        return f'<{self.subject} on {self.host} at {self.at!r}>'


class TakingTurns(Processes, fake_steps.Steps):
    """Tasks take turns, in an order that the test chooses.

    :ivar tasks: those that are not over
    """

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Task] = []
        self._hub = greenlet.getcurrent()
        self._task: Task | None = None
        self._crashed: str | None = None

    # What a task does

    def reach(self, name: str) -> None:
        task = self._task
        if task is None:
            # The test looks at something.
            return
        task.at = name
        if not task.is_dying:
            self._hub.switch()
        if task.is_dying:
            raise fake_steps.Died(name)

    def crash_here(self) -> None:
        """End all processes of the host that is working."""
        assert self._task is not None
        self._crashed = self._task.host
        self._task.is_dying = True
        raise fake_steps.Died

    def wait(self, condition: Callable[[], bool]) -> None:
        task = self._task
        assert task is not None
        task.condition = condition
        self.reach('waiting')
        task.condition = None

    def cast(self, host: str, work: Callable[[], Any]) -> None:
        if host not in self.down:
            assert self._task is not None
            self.start(host, work, self._task.subject)

    def call(self, host: str, work: Callable[[], Any]) -> Any:
        if host == self.host:
            return work()
        if host in self.down:
            raise oslo_messaging.MessagingTimeout(host)
        assert self._task is not None
        task = self.start(host, work, self._task.subject)
        self.wait(lambda: task.is_over)
        if isinstance(task.error, fake_steps.Died):
            raise oslo_messaging.MessagingTimeout(host)
        if task.error is not None:
            raise task.error
        return task.answer

    # What the test does

    def start(
        self,
        host: str | None,
        work: Callable[[], Any],
        subject: str | None = None,
    ) -> Task:
        """Begin something; its first step is only done by :meth:`advance`."""
        task = Task(host, subject, work)
        task.greenlet.parent = self._hub
        self.tasks.append(task)
        return task

    def advance(self, task: Task) -> None:
        """Let a task come to its next step."""
        self._switch(task)
        if self._crashed is not None:
            host, self._crashed = self._crashed, None
            self.crash(host)

    def _switch(self, task: Task) -> None:
        self._enter(task.host)
        self._task = task
        try:
            task.greenlet.switch()
        finally:
            self._task = None
        if task.is_over:
            self.tasks.remove(task)
            error = task.error
            if not isinstance(error, (*FAILURES, fake_steps.Died, type(None))):
                raise error

    def crash(self, host: str) -> None:
        """End all processes of a host, wherever they are."""
        self.down.add(host)
        for task in [each for each in self.tasks if each.host == host]:
            task.is_dying = True
            if task.greenlet:
                self._switch(task)
            else:
                # It has not begun.
                task.error = fake_steps.Died()
                task.greenlet.throw(greenlet.GreenletExit)
                self.tasks.remove(task)

    def is_busy_with(self, uuid: str, host: str | None = None) -> bool:
        """Whether anything is being done to an instance.

        :param host: only by this host; None for any
        """
        return any(
            task.subject == uuid and host in (None, task.host)
            for task in self.tasks
        )
