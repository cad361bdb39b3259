# SPDX-License-Identifier: Apache-2.0
"""Decides which instances computes may get levels for, and which they adopt.

A compute that was taken over says what it likes. An instance that the store
knows is compared with the store. Of one that it does not know, Nova says
whether there is such an instance, of which project it is, and on which host.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any
from typing import Protocol

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import calls
from svirt_nova.mcs import levels

LOG = logs.get_logger(__name__)

_MOST_QUESTIONS = 8
"""How many questions to Nova a process has open at a time."""

_MOST_OF_A_HOST = 2
"""How many of them are about what one host asks for.

A host can ask for instances that it has made up, as often as it likes, and
must not keep others from starting theirs.
"""

_MOST_WAITING = 6
"""How many calls of a host may wait for their turn to be asked about.

Each keeps a thread, which others need, too.
"""


class Servers(Protocol):
    """What is asked of Nova."""

    def find(self, instance_uuid: str) -> clouds.Server | None:
        """What Nova says of an instance; None if there is no such instance.

        :raises ComputeApiError: no certain answer
        """


def time_for_questions(conf: cfg.ConfigOpts) -> float:
    """Seconds that may pass before the change of a call begins.

    A call is begun within half of its caller's time, and the change takes
    one timeout of the database: what is left is for what comes before it.
    """
    left: float = (
        conf.svirt_nova_allocator.call_timeout / 2
        - conf.svirt_database.call_timeout
    )
    return max(left, 1.0)


class _Turns:
    """Which questions are asked of Nova: some at a time, few for a host."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = collections.Counter[str]()
        self._waiting = collections.Counter[str]()

    @contextlib.contextmanager
    def take(self, host: str, deadline: float) -> Iterator[bool]:
        """Ask inside of this context, if it gives True.

        It gives False if there was no turn, or too many calls of the host
        wait for one already.

        :param host: what is asked about is wanted for it
        :param deadline: of waiting, in monotonic seconds
        """
        has_turn = False
        with self._changed:
            if self._waiting[host] < _MOST_WAITING:
                self._waiting[host] += 1
                has_turn = self._changed.wait_for(
                    lambda: self._has_room(host),
                    max(0.0, deadline - time.monotonic()),
                )
                _count_down(self._waiting, host)
            if has_turn:
                self._open[host] += 1
        try:
            yield has_turn
        finally:
            if has_turn:
                with self._changed:
                    _count_down(self._open, host)
                    self._changed.notify_all()

    def _has_room(self, host: str) -> bool:
        return (
            self._open[host] < _MOST_OF_A_HOST
            and self._open.total() < _MOST_QUESTIONS
        )


def _count_down(counts: collections.Counter[str], host: str) -> None:
    counts[host] -= 1
    if not counts[host]:
        # Names of hosts may be made up: remember none for ever.
        del counts[host]


class Admission:
    """Checks what computes ask for, before it is done.

    :param allocator: knows the instances that have levels
    :param servers: asks Nova; None where there are no credentials for it, so
        that computes are believed which project an instance is of
    :param most_wait: see :func:`time_for_questions`
    """

    def __init__(
        self,
        allocator: base.Allocator,
        servers: Servers | None,
        most_wait: float,
    ) -> None:
        self._allocator = allocator
        self._servers = servers
        self._most_wait = most_wait
        self._turns = _Turns()

    def check(self, call: calls.Call[Any], given: dict[str, Any]) -> None:
        """Check a call that names an instance for which a host wants a level.

        :param given: the arguments of the call
        :raises NotAllowed: Nova does not know the instance, or as one of
            another project, or does not answer
        :raises LevelTaken: the level cannot be adopted, for these reasons
            or others
        :raises StoreUnreachable: the checks took too long
        """
        if call is calls.ACQUIRE:
            if self._servers is None:
                return
        elif call is not calls.ADOPT:
            return
        deadline = time.monotonic() + self._most_wait
        instance = arguments.check_claim(
            given['instance_uuid'], given['host'], given['project_id']
        )
        if not self._is_known(call, given, instance):
            names = instance, given['project_id'], given['host']
            if call is calls.ADOPT:
                self._check_adoption(*names, given['level'], deadline)
            else:
                self._check_new(*names, deadline)
        if time.monotonic() > deadline:
            # What begins now could end after its caller has given up.
            raise exception.StoreUnreachable(
                f'the store and Nova took more than {self._most_wait:g} s to '
                f'tell of instance {instance}; nothing was done'
            )

    def _check_adoption(
        self,
        instance: str,
        project: str,
        host: str,
        level: levels.Level,
        deadline: float,
    ) -> None:
        """Check that an instance that has no level may adopt one.

        :raises LevelTaken: it may not
        """
        self._check_level(instance, level)
        try:
            found = self._check_new(instance, project, host, deadline)
        except exception.NotAllowed as error:
            raise refusals.cannot_adopt_for(level, error) from error
        if found is not None:
            _check_host(found, instance, host, level)

    def _check_new(
        self, instance: str, project: str, host: str, deadline: float
    ) -> clouds.Server | None:
        """Check that Nova knows an instance, as one of a project.

        :returns: the instance; None where Nova cannot be asked
        """
        if self._servers is None:
            return None
        found = self._ask(self._servers, instance, host, deadline)
        if found.project_id != project:
            raise _refusal(
                f'host {printing.name(host)} asked for a level for instance '
                f'{instance} of project {printing.name(project)}, and Nova '
                f'says that it is of project {found.project_id}. The host may '
                f'have been taken over'
            )
        return found

    def _is_known(
        self, call: calls.Call[Any], given: dict[str, Any], instance: str
    ) -> bool:
        """Whether the store has a level, and so the project, of an instance.

        A level that cools does not count: it may come free before the call
        is done, which would then be one for a new instance.

        :raises NotAllowed: the instance is of another project
        :raises LevelTaken: likewise, where a level is to be adopted
        """
        try:
            held = self._allocator.get(instance)
        except exception.UnknownInstance:
            return False
        if held.state is types.State.COOLING:
            return False
        if held.project_id != given['project_id']:
            error = refusals.other_project(instance, held, given['project_id'])
            if call is calls.ADOPT:
                raise refusals.cannot_adopt_for(given['level'], error)
            raise error
        return True

    def _check_level(self, instance: str, level: levels.Level) -> None:
        """Check that a level to adopt was never another instance's.

        The files of that instance, or copies of them, may carry it still.
        """
        for holding in self._allocator.history(level):
            if holding.instance_uuid != instance:
                raise refusals.cannot_adopt_former(
                    level, instance, holding.instance_uuid
                )

    def _ask(
        self, servers: Servers, instance: str, host: str, deadline: float
    ) -> clouds.Server:
        """Ask Nova for an instance that the store does not know."""
        problem = 'too many questions are open'
        with self._turns.take(host, deadline) as has_turn:
            try:
                found = servers.find(instance) if has_turn else None
            except exception.ComputeApiError as error:
                problem = str(error)
            else:
                if found is not None:
                    return found
                if has_turn:
                    raise _refusal(
                        f'Nova knows no instance {instance}, for which host '
                        f'{printing.name(host)} asked for a level. If there '
                        f'is one, correct the endpoint, the region and the '
                        f'credentials in [svirt_nova_api] of the allocator '
                        f'service'
                    )
        raise _refusal(
            f'Nova did not tell of which project instance {instance} is, for '
            f'which host {printing.name(host)} asked for its first level: '
            f'{problem}. Instances that have a level are not affected. Try '
            f'again when Nova answers the allocator service'
        )


def _refusal(text: str) -> exception.NotAllowed:
    """An error that operators see in the log of the service, too."""
    LOG.warning('%s', text)
    return exception.NotAllowed(text)


def _check_host(
    found: clouds.Server, instance: str, host: str, level: levels.Level
) -> None:
    if found.host != host:
        raise exception.LevelTaken(
            f'level {level} of instance {instance} cannot be recorded for '
            f'host {printing.name(host)}: Nova says that the instance is on '
            f'{found.host or "no host"}. While it is moved, only the host '
            f'that it comes from can record it. Wait until the move has '
            f'ended, or hard-reboot the instance to give it a level of its '
            f'own'
        )
