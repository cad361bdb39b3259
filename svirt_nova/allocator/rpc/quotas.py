# SPDX-License-Identifier: Apache-2.0
"""Limits what a host can take: instances that it claims, and new levels.

A compute that was taken over, or whoever makes up a host, could otherwise
take the whole level space. What a host takes is counted in the store for all
processes of the service, but not exactly: each process tells it what it has
given only now and then, so that a call costs no statement more. Instances that
a host claims already are answered whatever it has taken.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova import printing
from svirt_nova.allocator import arguments
from svirt_nova.allocator import base
from svirt_nova.allocator import host_flows
from svirt_nova.allocator import types

LOG = logs.get_logger(__name__)

_Flow = host_flows.Flow

_SHARE = 8
"""The store is asked again once a process has given this part of what was
left to a host, so that fewer than so many processes pass a limit by less than
they have left."""

_WARN_AT = 80
"""Per cent of a limit from which on a warning is logged."""

_WARN_PERIOD = 600.0
"""Seconds between two warnings about a limit of a host."""

_RECOUNT_PERIOD = 1.0
"""Seconds for which a host that was refused is refused without counting."""

_MOST_HOSTS = 10_000
"""The most hosts that a process remembers: names may be made up."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Limit:
    """What a host may have at most.

    :param most: 0 for no limit
    :param what: is limited, for people
    :param option: that sets it
    """

    most: int
    what: str
    option: str


@dataclasses.dataclass(slots=True)
class _Host:
    """What this process knows of a host; times are monotonic, in seconds.

    :ivar counted: what the store has counted; None before the first time
    :ivar counted_at: when it has
    :ivar calls: that may have claimed an instance since
    :ivar new: levels given to it since
    :ivar untold: levels given to it that the store has not counted
    :ivar begun: when this process began to count the untold ones
    :ivar warned: when it was last warned of a limit
    """

    counted: host_flows.HostCount | None = None
    counted_at: float = 0.0
    calls: int = 0
    new: int = 0
    untold: dict[_Flow, int] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(_Flow, 0)
    )
    begun: dict[_Flow, float] = dataclasses.field(
        default_factory=lambda: dict.fromkeys(_Flow, -math.inf)
    )
    warned: dict[str, float] = dataclasses.field(default_factory=dict)


class HostQuotas:
    """Counts, and refuses what is too much.

    :param allocator: tells which instances are known
    :param flows: counts for all processes
    :param most_claims: instances that a host may claim; 0 for no limit
    :param most_new: levels that a host may get in a minute for instances
        that have none; 0 for no limit
    :param clock: gives monotonic seconds
    """

    def __init__(
        self,
        allocator: base.Allocator,
        flows: host_flows.HostFlows,
        most_claims: int,
        most_new: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allocator = allocator
        self._flows = flows
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: collections.OrderedDict[str, _Host] = (
            collections.OrderedDict()
        )
        self.limit(most_claims, most_new)

    def limit(self, most_claims: int, most_new: int) -> None:
        """Set the limits; hosts keep what they have.

        :param most_claims: see :class:`HostQuotas`
        :param most_new: see :class:`HostQuotas`
        """
        self._claims = _Limit(
            most_claims, 'instances that it claims', 'host_claim_limit'
        )
        # A host adopts no more than it may have.
        self._taken = {
            _Flow.ACQUIRED: _Limit(
                most_new, 'new levels in a minute', 'host_level_rate'
            ),
            _Flow.ADOPTED: _Limit(
                most_claims, 'adopted levels in an hour', 'host_claim_limit'
            ),
        }

    def check(
        self, flow: host_flows.Flow, host: str, instance_uuid: str
    ) -> None:
        """Check that a host may claim an instance.

        :param flow: how it takes a level, if the instance has none
        :raises LimitReached: it has as much as a host can have
        :raises ValueError: the host's name is none
        :raises AllocatorError: the store does not answer
        """
        if self._is_open:
            return
        # What is remembered by its name must have one.
        arguments.check_name('host', host)
        found = self._of(host)
        if found.counted is None or self._is_due(found):
            self._count(host, found)
            self._warn_early(host, found)
        reached = self._reached(flow, found)
        if reached is None:
            return
        held = self._find(instance_uuid)
        if held is not None and (
            host in held.hosts or reached is not self._claims
        ):
            return
        if self._clock() > found.counted_at + _RECOUNT_PERIOD:
            # The host may have given something back, or the window be over.
            self._count(host, found)
            reached = self._reached(flow, found)
        if reached is None:
            return
        text = (
            f'host {printing.name(host)} has reached the limit of '
            f'{reached.most} {reached.what}, which [svirt_nova_allocator] '
            f'{reached.option} sets on the service'
        )
        self._warn(found, reached, f'Refused: {text}')
        raise exception.LimitReached(
            f'instance {printing.name(instance_uuid)} was not claimed: {text}'
        )

    @property
    def _is_open(self) -> bool:
        """Whether there is no limit."""
        return not (self._claims.most or self._taken[_Flow.ACQUIRED].most)

    def _of(self, host: str) -> _Host:
        with self._lock:
            found = self._hosts.setdefault(host, _Host())
            self._hosts.move_to_end(host)
            if len(self._hosts) > _MOST_HOSTS:
                self._hosts.popitem(last=False)
            return found

    def _is_due(self, found: _Host) -> bool:
        """Whether a host may have claimed much since it was counted."""
        assert found.counted is not None
        most = self._claims.most
        return bool(most) and found.calls > (
            max(0, most - found.counted.claims) // _SHARE
        )

    def _count(self, host: str, found: _Host) -> None:
        with self._lock:
            calls, new = found.calls, found.new
        counted = self._flows.count(host)
        with self._lock:
            found.counted = counted
            found.counted_at = self._clock()
            found.calls -= calls
            found.new -= new

    def _find(self, instance_uuid: str) -> types.Allocation | None:
        try:
            return self._allocator.get(instance_uuid)
        except exception.UnknownInstance:
            return None

    def _reached(self, flow: _Flow, found: _Host) -> _Limit | None:
        """The limit that a host has reached, if any."""
        most = self._claims.most
        if most and self._claimed(found) >= most:
            return self._claims
        most = self._taken[flow].most
        if most and self._taken_by(flow, found) >= most:
            return self._taken[flow]
        return None

    @staticmethod
    def _claimed(found: _Host) -> int:
        """What a host claims, as far as this process knows."""
        assert found.counted is not None
        return found.counted.claims + found.new

    def _taken_by(self, flow: _Flow, found: _Host) -> int:
        """What a host has taken, as far as this process knows.

        What was taken in a window that is over does not count.
        """
        assert found.counted is not None
        now, taken = self._clock(), 0
        if now < found.counted_at + flow.window:
            taken += found.counted.taken.get(flow, 0)
        if now < found.begun[flow] + flow.window:
            taken += found.untold[flow]
        return taken

    def note(
        self, flow: host_flows.Flow, host: str, given: types.Allocation
    ) -> None:
        """Count a claim that was made.

        A failure of the store does not fail the call, which is done.

        :param flow: how a level was taken, if the instance had none
        :param given: what the host is answered
        """
        if self._is_open:
            return
        found = self._of(host)
        now = self._clock()
        with self._lock:
            found.calls += 1
            if given.created_at is not None:
                # The instance had its level: a call that gives one does not
                # wait for the time.
                return
            found.new += 1
            if now >= found.begun[flow] + flow.window:
                found.begun[flow] = now
                found.untold[flow] = 0
            found.untold[flow] += 1
            most = self._taken[flow].most
            is_due = bool(most) and found.untold[flow] >= max(
                1, most // _SHARE
            )
        try:
            if is_due:
                self._tell(host, found)
            if is_due or found.counted is None:
                self._count(host, found)
                self._warn_early(host, found)
        except exception.AllocatorError as error:
            LOG.warning(
                'What host %s has taken could not be counted: %s',
                printing.name(host),
                error,
            )

    def _tell(self, host: str, found: _Host) -> None:
        """Let the store count what this process has given to a host."""
        with self._lock:
            untold = {flow: n for flow, n in found.untold.items() if n}
            for flow, number in untold.items():
                found.untold[flow] -= number
        if not untold:
            return
        try:
            self._flows.add(host, untold)
        except exception.AllocatorError:
            with self._lock:
                for flow, number in untold.items():
                    found.untold[flow] += number
            raise

    def _warn_early(self, host: str, found: _Host) -> None:
        """Warn if a host that was just counted is near a limit."""
        for limit, number in (
            (self._claims, self._claimed(found)),
            *(
                (self._taken[flow], self._taken_by(flow, found))
                for flow in _Flow
            ),
        ):
            if limit.most and 100 * number >= _WARN_AT * limit.most:
                self._warn(
                    found,
                    limit,
                    f'Host {printing.name(host)} has {number} of at most '
                    f'{limit.most} {limit.what}: at the limit, which '
                    f'[svirt_nova_allocator] {limit.option} sets, it is '
                    f'refused. If it is not a large host, somebody may make '
                    f'calls in its name',
                )

    def _warn(self, found: _Host, limit: _Limit, text: str) -> None:
        """Log a warning, but not about each call."""
        now = self._clock()
        what = f'{limit.what} {text.startswith("Refused")}'
        with self._lock:
            if now < found.warned.get(what, -math.inf) + _WARN_PERIOD:
                return
            found.warned[what] = now
        LOG.warning('%s', text)


def load(conf: cfg.ConfigOpts, allocator: base.Allocator) -> HostQuotas | None:
    """Make the limits that the options set, also when they are changed.

    :returns: None if the allocator cannot count
    """
    options = conf.svirt_nova_allocator
    flows = allocator.host_flows()
    if flows is None:
        if options.host_claim_limit or options.host_level_rate:
            LOG.warning(
                'The allocator driver %s does not count what hosts take: '
                '[svirt_nova_allocator] host_claim_limit and host_level_rate '
                'have no effect',
                type(allocator).__name__,
            )
        return None
    made = HostQuotas(
        allocator, flows, options.host_claim_limit, options.host_level_rate
    )

    def change(conf: cfg.ConfigOpts, _fresh: object) -> None:
        options = conf.svirt_nova_allocator
        made.limit(options.host_claim_limit, options.host_level_rate)

    conf.register_mutate_hook(change)
    return made
