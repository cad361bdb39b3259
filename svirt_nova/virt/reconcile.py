# SPDX-License-Identifier: Apache-2.0
"""Compares the claims of this host with what the host has."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import oslo_messaging
from nova import exception as nova_exception
from nova import utils as nova_utils
from oslo_concurrency import lockutils

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import base
from svirt_nova.lifecycle import rules
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import compute_metrics
from svirt_nova.virt import outages
from svirt_nova.virt import remains
from svirt_nova.virt import whereabouts

LOG = logs.get_logger(__name__)


def unless_busy(work: Callable[[str], None], uuid: str) -> None:
    """Do something about an instance unless Nova works on it.

    Nova holds this lock while it works on an instance. An instance that is
    being worked on is looked at again the next time.
    """
    with contextlib.suppress(lockutils.AcquireLockFailedException):
        nova_utils.synchronized(uuid, blocking=False)(work)(uuid)


class Reconciler:
    """Adds claims that are missing, and drops those that are stale.

    :param allocator: keeps the claims
    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    :param host_claims: the claims of the host
    :param outage: remembers when the allocator did not answer
    :param grace: seconds for which a claim must look stale
    :param doubt: tells the store of a level that it has lost
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        host: Any,
        host_claims: claims.HostClaims,
        outage: outages.OutageMemory,
        grace: float,
        doubt: Callable[[str, levels.Level], None],
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._host = host
        self._claims = host_claims
        self._outage = outage
        self._doubt = doubt
        self._stale = rules.StaleClaims(grace)

    def reconcile(self) -> None:
        """Compare the claims of this host with what it has.

        :raises SvirtError: the allocator does not answer
        :raises OSError: the directories of instances cannot be listed
        """
        own = self._claims.own
        own.listing()
        claimed = {
            allocation.instance_uuid: allocation.claims.get(self._host_name)
            for allocation in self._outage.ask(
                self._allocator.list, host=self._host_name
            )
            if allocation.instance_uuid is not None
        }
        own.listed(claimed)
        compute_metrics.claimed(len(claimed))
        present = remains.of_host(self._host).uuids
        for uuid in present - claimed.keys():
            unless_busy(self._claim_missing, uuid)
        for uuid in self._stale.find(claimed, present, time.monotonic()):
            # An operation that began since has claimed, or its claim will
            # have another number.
            if own.is_as_listed(uuid):
                drop = functools.partial(
                    self._drop_stale, number=claimed[uuid]
                )
                unless_busy(drop, uuid)

    def _claim_missing(self, uuid: str) -> None:
        """Claim an instance that this host has something of.

        The host is looked at again: the instance may have come or gone
        between the two lists.
        """
        present = remains.of_host(self._host)
        if uuid not in present.uuids:
            return
        label = present.domains.get(uuid)
        try:
            held = self._allocator.get(uuid)
        except exception.UnknownInstance:
            if label is None:
                self._record(uuid, None)
            elif label.is_static and label.label is not None:
                self._record(uuid, label.label.level)
            return
        assert held.project_id is not None
        if self._host_name in held.hosts:
            return
        try:
            self._claims.hold(
                self._allocator.acquire,
                uuid,
                held.project_id,
                known=held.level,
            )
        except exception.LimitReached as error:
            # The claims of other instances must be compared in any case.
            LOG.error(
                'Host %s has something of instance %s, and cannot claim its '
                'level %s: %s',
                self._host_name,
                uuid,
                held.level,
                error,
            )
            return
        LOG.warning(
            'Host %s had something of instance %s without a claim on its '
            'level %s; it has claimed the level now',
            self._host_name,
            uuid,
            held.level,
        )

    def _record(self, uuid: str, level: levels.Level | None) -> None:
        """Tell the store of a level that it lost, as in an old backup.

        :param level: that of the instance's domain; None where there is
            none, and files carry the level that Nova remembers
        """
        try:
            instance = whereabouts.find_live_instance(uuid)
            if level is None:
                remembered = claims.remembered_levels(instance)
                if remembered is None:
                    return
                level = remembered.own
            self._doubt(uuid, level)
            self._claims.hold(
                self._allocator.adopt, uuid, instance.project_id, level
            )
        except (
            nova_exception.InstanceNotFound,
            exception.InvalidLevel,
            exception.LevelTaken,
            exception.LimitReached,
            exception.NotInSpace,
        ) as error:
            if level is None:
                return
            LOG.error(
                'Instance %s on host %s has the level %s, '
                'which the allocator does not know: another instance may '
                'get it. Hard-reboot the instance to give it a level of its '
                'own. %s',
                uuid,
                self._host_name,
                level,
                error,
            )
            return
        LOG.warning(
            'The allocator did not know the level %s of instance %s on host '
            '%s; the level is recorded now',
            level,
            uuid,
            self._host_name,
        )

    def _drop_stale(self, uuid: str, number: int | None) -> None:
        """Drop a claim, unless Nova may still bring the instance here.

        :param number: of the claim, as it was listed; a later claim stays
        """
        try:
            instance = whereabouts.find_instance(uuid)
        except nova_exception.InstanceNotFound:
            # The instance may live in another cell, so that its level stays;
            # but nothing of it is here.
            self._allocator.unclaim(uuid, self._host_name, number)
            LOG.info(
                'Host %s dropped its stale claim on instance %s, which this '
                'cell does not know',
                self._host_name,
                uuid,
            )
            return
        if not instance.deleted and (
            # Something is being done to the instance, such as a live
            # migration to here that has claimed and has no domain yet.
            instance.task_state is not None
            # Its files may be on storage that hosts share.
            or instance.host == self._host_name
            or whereabouts.is_migrating(uuid, self._host_name)
        ):
            return
        if self._claims.settle(instance, number=number):
            LOG.info(
                'Host %s dropped its stale claim: it has had nothing of the '
                'instance for the grace time',
                self._host_name,
                instance=instance,
            )


class Schedule:
    """Says when to reconcile, and keeps failures from Nova.

    :param reconcile: does the work
    :param interval: seconds between two reconciliations; 0 for none after
        the first two
    :param grace: seconds for which a claim must look stale
    """

    def __init__(
        self, reconcile: Callable[[], None], interval: float, grace: float
    ) -> None:
        self._reconcile = reconcile
        self._interval = interval
        self._grace = grace
        self._has_run = False
        # A monotonic time in seconds; None when nothing is due any more.
        self._due: float | None = time.monotonic()

    def run_if_due(self, is_urgent: bool = False) -> None:
        """Reconcile if it is time, or urgent.

        It is called where Nova reports the host's resources, which a failure
        here must not prevent.
        """
        is_due = self._due is not None and time.monotonic() >= self._due
        if not (is_due or is_urgent):
            return
        interval = self._interval
        if not interval and not self._has_run:
            # The first reconciliation only finds out what may be stale.
            interval = self._grace + 1
        self._has_run = True
        self._due = time.monotonic() + interval if interval else None
        try:
            with compute_metrics.reconciling():
                self._reconcile()
        except (
            exception.SvirtError,
            nova_exception.NovaException,
            oslo_messaging.MessagingException,
            OSError,
        ) as error:
            LOG.warning(
                'The claims of this host could not be compared with what '
                'it has; the next try is in %s s. %s',
                interval,
                error,
            )
