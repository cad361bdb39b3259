# SPDX-License-Identifier: Apache-2.0
"""What the driver does at its hooks, by how far this host can go.

There are three kinds of hosts: those where the extension is off, those that
claim levels but cannot confine guests, which the mode permissive allows, and
those that confine, which :mod:`svirt_nova.virt.confining` is about.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import nova.conf
from nova.compute import task_states

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.mcs import spaces
from svirt_nova.virt import claims
from svirt_nova.virt import faults
from svirt_nova.virt import guards
from svirt_nova.virt import outages
from svirt_nova.virt import reconcile
from svirt_nova.virt import restarts
from svirt_nova.virt import seen_generation
from svirt_nova.virt import store_watch
from svirt_nova.virt import volumes

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

    @contextlib.contextmanager
    def rescuing(self, instance: Any, image: str) -> Iterator[None]:
        """Know the image that an instance is rescued with.

        :param image: the UUID of the image
        """
        yield

    def guard_rebuild(self, instance: Any) -> None:
        """Claim an instance before a rebuild destroys what there is."""

    # Live migration

    def guard_arrival(self, instance: Any) -> guards.Guard:
        """Claim an instance that is about to migrate to here.

        :returns: what keeps the instance behind its level
        :raises nova.exception.NovaException: it has no level
        """
        return guards.UNGUARDED

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

    # Disks

    def check_disk(self, instance: Any, path: str, image_format: str) -> None:
        """Check the header of a disk before Nova's tools read the disk.

        :param image_format: the format that the disk is known to have
        :raises nova.exception.NovaException: it is not what it should be
        """

    @property
    def hides_images(self) -> bool:
        """Whether disks of images that are not for all may stand alone."""
        return False

    def review_image(
        self, request: Any, instance: Any, found: Sequence[Mapping[str, Any]]
    ) -> None:
        """Look again at the image below a disk of a guest that is off.

        :param found: ``disk_info`` of ``_create_images_and_backing``
        :raises nova.exception.NovaException: its file takes no label
        """

    def image_cached(self, image: str) -> None:
        """Close the file of an image that no guest uses yet.

        :param image: the UUID of the image
        """

    def check_console(self, instance: Any) -> None:
        """Check that Nova reads the guest's own console.

        :raises nova.exception.NovaException: it would not
        """

    @property
    def distrusts_headers(self) -> bool:
        """Whether no tool may follow what a guest can have written.

        A live snapshot copies what the guest sees then.
        """
        return False

    def check_off(self, instance: Any) -> None:
        """Check that no process has the disks of an instance open.

        :raises nova.exception.NovaException: one may have
        """

    def check_moved_disks(self, instance: Any, disk_info: str) -> None:
        """Check which disks an instance brings that moved here cold.

        :param disk_info: what its former host says, in JSON
        :raises nova.exception.NovaException: one is not the instance's
        """

    def may_rebase(self, instance: Any) -> bool:
        """Whether Nova may put a root disk on the image before a snapshot."""
        return True

    def check_backing_files(
        self, instance: Any, found: Sequence[Mapping[str, Any]]
    ) -> None:
        """Check the backing files that Nova is about to make.

        :param found: ``disk_info`` of ``_create_images_and_backing``
        :raises nova.exception.NovaException: one is not the instance's
        """

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

    def is_gone_for_good(self, instance: Any) -> bool:
        """Whether what is being done to an instance here deletes it."""
        return False

    def settle(self, instance: Any, was_gone: bool = False) -> None:
        """Drop the claim on an instance if nothing of it is left here.

        :param was_gone: :meth:`is_gone_for_good` when the call began
        """

    def reconcile_if_due(self) -> None:
        """Compare claims with what this host has, if it is time."""

    @property
    def keeps_guests_apart(self) -> bool:
        """Whether no guest can start on this host without its level."""
        return False


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
        seen = seen_generation.SeenGeneration(CONF.state_path, host_name)
        self.claims = claims.HostClaims(
            allocator, host_name, host, outage, seen
        )
        self._store_watch = store_watch.StoreWatch(
            allocator, host_name, host, outage, seen
        )
        self.reconciler = reconcile.Reconciler(
            allocator,
            host_name,
            host,
            self.claims,
            outage,
            CONF.svirt.claim_grace,
            self._store_watch.doubt,
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

    def guard_arrival(self, instance: Any) -> guards.Guard:
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
            return self.guard(instance)
        return guards.UNGUARDED

    def is_gone_for_good(self, instance: Any) -> bool:
        """See :meth:`claims.HostClaims.is_gone_for_good`."""
        return self.claims.is_gone_for_good(instance)

    def settle(self, instance: Any, was_gone: bool = False) -> None:
        """Drop a claim, but not in the middle of a restart."""
        if self._restarts.guard_of(instance.uuid) is None:
            self.claims.settle(instance, was_gone)

    def reconcile_if_due(self) -> None:
        """See :class:`reconcile.Schedule`."""
        is_trusted = self._store_watch.look()
        self._schedule.run_if_due(is_urgent=not is_trusted)

    def _reconcile(self) -> None:
        """Compare what should be with what this host has."""
        self.reconciler.reconcile()
        self._store_watch.report()

    def learn(self, space: spaces.LevelSpace) -> None:
        """Remember the level scheme, for when the store is away."""
        self.claims.learn(space)
