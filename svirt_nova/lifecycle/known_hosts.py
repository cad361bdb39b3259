# SPDX-License-Identifier: Apache-2.0
"""Refuses hosts that Nova does not list.

Who has the credentials of the bus could otherwise make up hosts, each with
limits of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds

LOG = logs.get_logger(__name__)

PERIOD = 300.0
"""Seconds for which a list of Nova's is used: a host whose service was
deleted is refused at most so much later."""

RETRY_PERIOD = 10.0
"""Seconds between two questions because of hosts that are not in the list."""


class Services(Protocol):
    """What Nova is asked."""

    def check(self) -> clouds.Cloud:
        """The cloud, with all its compute services.

        :raises ComputeApiError: Nova gave no certain answer
        """


class KnownHosts:
    """Remembers which hosts Nova lists.

    nova-compute registers itself with Nova after it has initialized its
    driver (``nova.service.Service.start``), and claims no instance before,
    unless it has some already. So a new host is in the list before its first
    instance comes, and Nova is asked again for a host that is not.

    :param services: asks Nova
    :param allocator: has the store, which remembers the cloud
    :param clock: gives monotonic seconds
    """

    def __init__(
        self,
        services: Services,
        allocator: base.Allocator,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._services = services
        self._allocator = allocator
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: frozenset[str] | None = None
        self._asked_at = 0.0
        self._warned: str | None = None

    def check(self, host: str) -> None:
        """Check that Nova lists a host.

        :raises NotAllowed: it does not
        :raises AllocatorError: the store does not answer
        """
        hosts = self._hosts
        age = self._clock() - self._asked_at
        if hosts is None or age > PERIOD:
            hosts = self._ask(PERIOD)
        if host not in hosts:
            hosts = self._ask(RETRY_PERIOD)
        if host in hosts:
            return
        text = (
            f'host {printing.name(host)} is not among the compute services '
            f'that Nova lists, and [svirt_nova_allocator] known_hosts_only is '
            f'set: it claims no instance. If it is a new host, see that '
            f'"openstack compute service list" has it, and try again in '
            f'{RETRY_PERIOD:g} s'
        )
        self._warn(text)
        raise exception.NotAllowed(text)

    def _ask(self, period: float) -> frozenset[str]:
        """The hosts that Nova lists, as it said so many seconds ago at most.

        One thread asks. The others go on with the list that there is: Nova
        may take long to answer.
        """
        before = self._hosts
        if not self._lock.acquire(blocking=before is None):
            assert before is not None
            return before
        try:
            if self._hosts is None or self._clock() - self._asked_at > period:
                self._hosts = self._read()
                self._asked_at = self._clock()
            return self._hosts
        finally:
            self._lock.release()

    def _read(self) -> frozenset[str]:
        known = self._allocator.show_cloud()
        try:
            cloud = self._services.check()
            known.check(cloud)
        except (exception.ComputeApiError, exception.OtherCloud) as error:
            found = (self._hosts or frozenset()) | known.listed
            LOG.warning(
                'Nova has not said which hosts there are: only the %d that it '
                'listed before claim instances. %s',
                len(found),
                error,
            )
            return found
        return cloud.hosts

    def _warn(self, text: str) -> None:
        """Log a warning, but not the same one for each call."""
        if text != self._warned:
            LOG.warning('Refused: %s', text)
        self._warned = text
