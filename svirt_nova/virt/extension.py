# SPDX-License-Identifier: Apache-2.0
"""What the driver does at its hooks, by how far this host can go.

There are three kinds of hosts: those where the extension is off, those that
claim levels but cannot confine guests, which the mode permissive allows, and
those that confine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import nova.conf
from nova.compute import task_states

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.mcs import spaces
from svirt_nova.virt import claims
from svirt_nova.virt import confinement
from svirt_nova.virt import faults
from svirt_nova.virt import guards
from svirt_nova.virt import live_migration
from svirt_nova.virt import outages
from svirt_nova.virt import policy_watch
from svirt_nova.virt import reconcile
from svirt_nova.virt import restarts
from svirt_nova.virt import running_guests
from svirt_nova.virt import shared_files
from svirt_nova.virt import starts
from svirt_nova.virt import store_scope
from svirt_nova.virt import volumes
from svirt_nova.virt import whereabouts

CONF = nova.conf.CONF


class Extension:
    """The extension is off: every hook leaves Nova as it is."""

    # The levels of instances

    def guard(self, instance: Any) -> guards.Guard:
        """Claim an instance for this host, before anything is written.

        :returns: what keeps the instance behind its level
        :raises nova.exception.NovaException: there is no level for it, and
            the mode is enforcing
        """
        return guards.UNGUARDED

    @contextlib.contextmanager
    def restarting(self, instance: Any) -> Iterator[guards.Guard]:
        """Claim an instance once for a restart, before it is taken apart.

        Where there is no level, the instance stays as it was.
        """
        yield guards.UNGUARDED

    @contextlib.contextmanager
    def starting(self, instance: Any) -> Iterator[None]:
        """Check a guest that Nova starts without calling the hook for that.

        :raises nova.exception.NovaException: it must not run, and was
            stopped
        """
        yield

    def guest_created(self, instance: Any) -> None:
        """Note that the hook was called, and checks the guest itself."""

    def guard_rebuild(self, instance: Any) -> None:
        """Claim an instance before a rebuild destroys what there is."""

    # Live migration

    def guard_arrival(self, instance: Any) -> None:
        """Claim an instance that is about to migrate to here.

        :raises nova.exception.NovaException: it has no level
        """

    def guest_started(self, instance_uuid: str) -> None:
        """Check a guest that libvirt says has started, if it arrives."""

    def arrived(self, instance: Any) -> None:
        """Check a guest that has migrated to here.

        :raises nova.exception.NovaException: it must not run, and was
            stopped
        """

    @contextlib.contextmanager
    def departing(self, instance: Any, destination: str) -> Iterator[None]:
        """Check that an instance may migrate from here, and let it go.

        :raises nova.exception.NovaException: it must not; nothing has moved
        """
        yield

    def migrating_guest(self, instance: Any, guest: Any) -> Any:
        """The guest to migrate, which takes its level along."""
        return guest

    # Volumes

    def volume_connected(
        self,
        instance: Any,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
    ) -> None:
        """Label a volume that was connected for an instance.

        :param find_driver: ``LibvirtDriver._get_volume_driver``
        :raises nova.exception.NovaException: the volume must not be used
        """

    def volume_disconnecting(
        self,
        request: Any,
        instance: Any,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
        volume_api: Any,
    ) -> None:
        """Take the label off a volume while its file can be reached.

        :param request: Nova's request context
        :param find_driver: ``LibvirtDriver._get_volume_driver``
        :param volume_api: Nova's ``nova.volume.cinder.API``
        """

    # The end

    @contextlib.contextmanager
    def ending(self, instance: Any) -> Iterator[None]:
        """Keep the labels of files that outlive a domain of this host."""
        yield

    def is_gone_for_good(self, instance: Any) -> bool:
        """Whether what is being done to an instance here deletes it."""
        return False

    def settle(self, instance: Any, was_gone: bool = False) -> None:
        """Drop the claim on an instance if nothing of it is left here.

        :param was_gone: :meth:`is_gone_for_good` when the call began
        """

    def reconcile_if_due(self) -> None:
        """Compare claims with what this host has, if it is time."""


class Claiming(Extension):
    """Claims levels on a host that cannot confine guests.

    :param allocator: gives out the levels
    :param host_name: the name of the host, as Nova has it
    :param host: its ``nova.virt.libvirt.host.Host``
    """

    def __init__(
        self, allocator: base.Allocator, host_name: str, host: Any
    ) -> None:
        self._allocator = allocator
        self._host_name = host_name
        self._host = host
        self._outage = outage = outages.OutageMemory()
        self.claims = claims.HostClaims(allocator, host_name, host, outage)
        self.reconciler = reconcile.Reconciler(
            allocator,
            host_name,
            host,
            self.claims,
            outage,
            CONF.svirt.claim_grace,
        )
        self._schedule = reconcile.Schedule(
            self._reconcile,
            CONF.svirt.reconcile_interval,
            CONF.svirt.claim_grace,
        )
        self._restarts = restarts.Restarts()

    def guard(self, instance: Any) -> guards.Guard:
        """Claim an instance, unless a restart of it has done that."""
        shared = self._restarts.guard_of(instance.uuid)
        if shared is not None:
            return shared
        with faults.raised_to_nova(instance):
            return self._make_guard(instance)
        return guards.UNGUARDED

    def _make_guard(self, instance: Any) -> guards.Guard:
        """Claim an instance.

        :raises AllocatorError: there is no level for it
        """
        self.claims.claim(instance)
        return guards.UNGUARDED

    @contextlib.contextmanager
    def restarting(self, instance: Any) -> Iterator[guards.Guard]:
        """Claim once; the hooks inside of the restart share the guard."""
        guard = self.guard(instance)
        with self._restarts.running(instance.uuid, guard) as shared:
            yield shared

    def guard_rebuild(self, instance: Any) -> None:
        """Claim, but not what an evacuation has rebuilt elsewhere."""
        if (
            instance.task_state == task_states.REBUILDING
            and instance.host == self._host_name
        ):
            self.guard(instance)

    def guard_arrival(self, instance: Any) -> None:
        """Claim the level that an instance has on its source."""
        with faults.raised_to_nova(instance):
            try:
                self._allocator.get(instance.uuid)
            except exception.UnknownInstance as error:
                raise exception.UnknownInstance(
                    f'{error}. It was started without svirt-nova: '
                    f'run "svirt-nova adopt" on its host, or '
                    f'hard-reboot it, before it is migrated'
                ) from error
            self.guard(instance)

    def is_gone_for_good(self, instance: Any) -> bool:
        """See :meth:`claims.HostClaims.is_gone_for_good`."""
        return self.claims.is_gone_for_good(instance)

    def settle(self, instance: Any, was_gone: bool = False) -> None:
        """Drop a claim, but not in the middle of a restart."""
        if self._restarts.guard_of(instance.uuid) is None:
            self.claims.settle(instance, was_gone)

    def reconcile_if_due(self) -> None:
        """See :class:`reconcile.Schedule`."""
        self._schedule.run_if_due()

    def _reconcile(self) -> None:
        """Compare what should be with what this host has."""
        self.reconciler.reconcile()

    def learn(self, space: spaces.LevelSpace) -> None:
        """Remember the level scheme, for when the store is away."""
        self.claims.learn(space)


class Confining(Claiming):
    """Claims levels and keeps guests behind them.

    :param confined: how the host confines guests
    """

    def __init__(
        self,
        allocator: base.Allocator,
        host_name: str,
        host: Any,
        confined: confinement.Confinement,
    ) -> None:
        super().__init__(allocator, host_name, host)
        self._confined = confined
        self._departures = live_migration.Departures(allocator, confined)
        self.policy_watch = policy_watch.PolicyWatch(confined)
        self._starts = starts.Starts(host, self.guard)
        self.running_guests = running_guests.RunningGuests(
            allocator, host_name, host, confined, self._outage
        )

    def _make_guard(self, instance: Any) -> guards.Guard:
        """Claim an instance, unless the kernel would not keep it apart.

        It is asked before anything is taken apart: a hard reboot or a
        rebuild that is refused leaves the guest as it was.

        :raises UnconfinedHost: the kernel does not keep guests apart
        :raises AllocatorError: there is no level for it
        """
        self.policy_watch.check()
        return guards.LevelGuard(
            instance,
            self.claims.claim(instance),
            self._confined,
            self._host,
            self.claims,
        )

    def _reconcile(self) -> None:
        """Ask the kernel first, which answers if the allocator does not."""
        self.policy_watch.look_again()
        super()._reconcile()
        self.running_guests.check()
        if faults.is_enforcing():
            store_scope.tell(CONF, self._host_name)

    @contextlib.contextmanager
    def starting(self, instance: Any) -> Iterator[None]:
        """Read a guest back that was started past _create_guest."""
        with self._starts.watched(instance):
            yield

    def guest_created(self, instance: Any) -> None:
        """Note that _create_guest was called."""
        self._starts.created(instance.uuid)

    def guard_arrival(self, instance: Any) -> None:
        """Claim the level, and wait for the guest."""
        super().guard_arrival(instance)
        self._starts.expect(instance)

    def guest_started(self, instance_uuid: str) -> None:
        """See :meth:`starts.Starts.started`."""
        self._starts.started(instance_uuid)

    def arrived(self, instance: Any) -> None:
        """Read a guest back that runs here since its migration."""
        self._starts.forget(instance.uuid)
        self._starts.check(instance)

    @contextlib.contextmanager
    def departing(self, instance: Any, destination: str) -> Iterator[None]:
        """Check that the destination has claimed the level."""
        with contextlib.ExitStack() as stack:
            with faults.raised_to_nova(instance):
                stack.enter_context(
                    self._departures.checked(
                        instance.uuid,
                        self._host.get_guest(instance),
                        destination,
                    )
                )
            yield

    def migrating_guest(self, instance: Any, guest: Any) -> Any:
        """The guest that writes its level into the destination's XML."""
        return self._departures.confine(instance.uuid, guest)

    def volume_connected(
        self,
        instance: Any,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
    ) -> None:
        """Label a volume, but not under a guest that is migrating.

        Its source has labelled the file and still uses it.
        """
        if instance.task_state != task_states.MIGRATING:
            self.guard(instance).label_volume(connection_info, find_driver)

    def volume_disconnecting(
        self,
        request: Any,
        instance: Any,
        connection_info: dict[str, Any],
        find_driver: volumes.FindDriver,
        volume_api: Any,
    ) -> None:
        """Take the label off, unless somebody still uses the file.

        The instance may be, or be about to be, on another host, and other
        instances may have the volume: then the file carries the level that
        they run with.
        """
        if instance.task_state == task_states.MIGRATING:
            return
        path = volumes.file_of(find_driver, connection_info)
        if (
            path is not None
            and not whereabouts.may_live_elsewhere(instance, self._host_name)
            and not volumes.is_used_by_others(
                volume_api, request, connection_info, instance
            )
        ):
            volumes.restore(self.claims, instance, path)

    @contextlib.contextmanager
    def ending(self, instance: Any) -> Iterator[None]:
        """Restore labels that libvirt removes with a stale domain.

        A domain is stale when its instance runs on another host, as after an
        evacuation once this host is back, or after a live migration to here
        that failed.
        """
        if not whereabouts.may_live_elsewhere(instance, self._host_name):
            yield
            return
        with shared_files.put_back(self._host, self.claims, instance):
            yield
