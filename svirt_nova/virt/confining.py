# SPDX-License-Identifier: Apache-2.0
"""What the driver does at its hooks on a host that confines guests."""

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
from svirt_nova.host import terminals
from svirt_nova.virt import confinement
from svirt_nova.virt import drift_watch
from svirt_nova.virt import extension
from svirt_nova.virt import faults
from svirt_nova.virt import guards
from svirt_nova.virt import held_levels
from svirt_nova.virt import image_sharing
from svirt_nova.virt import level_guards
from svirt_nova.virt import live_migration
from svirt_nova.virt import own_disks
from svirt_nova.virt import policy_watch
from svirt_nova.virt import running_guests
from svirt_nova.virt import starts
from svirt_nova.virt import store_scope
from svirt_nova.virt import volumes
from svirt_nova.virt import whereabouts

CONF = nova.conf.CONF


class Confining(extension.Claiming):
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
        self._departures = live_migration.Departures(
            allocator, confined, self.claims
        )
        self.policy_watch = policy_watch.PolicyWatch(confined)
        self._starts = starts.Starts(host, self.guard)
        held = held_levels.HeldLevels(allocator, host_name, self._outage)
        self.running_guests = running_guests.RunningGuests(
            host_name, host, confined, held
        )
        self.drift_watch = drift_watch.DriftWatch(
            host_name, host, confined, held
        )
        # By the UUID of an instance that is being rescued, the image.
        self._rescue_images: dict[str, str] = {}

    def _make_guard(self, instance: Any) -> guards.Guard:
        """Claim an instance, unless the kernel would not keep it apart.

        It is asked before anything is taken apart: a hard reboot or a
        rebuild that is refused leaves the guest as it was.

        :raises UnconfinedHost: the kernel does not keep guests apart
        :raises AllocatorError: there is no level for it
        """
        self.policy_watch.check()
        return level_guards.LevelGuard(
            instance,
            self.claims.claim(instance),
            self._confined,
            self._host,
            self.claims,
            self._rescue_images.get(instance.uuid),
        )

    @contextlib.contextmanager
    def rescuing(self, instance: Any, image: str) -> Iterator[None]:
        """Let the disk of the rescue stand on that image."""
        self._rescue_images[instance.uuid] = image
        try:
            yield
        finally:
            self._rescue_images.pop(instance.uuid, None)

    def _reconcile(self) -> None:
        """Ask the kernel first, which answers if the allocator does not."""
        self.policy_watch.look_again()
        try:
            super()._reconcile()
        finally:
            # A directory that cannot be listed, say, must not keep a guest
            # without its level from being noticed.
            self.running_guests.check()
        self.drift_watch.check()
        if faults.is_enforcing():
            store_scope.tell(CONF, self._host_name)

    @property
    def keeps_guests_apart(self) -> bool:
        """Whether the mode is enforcing, and the kernel does its part."""
        return faults.is_enforcing() and self.policy_watch.keeps_apart()

    @contextlib.contextmanager
    def starting(self, instance: Any) -> Iterator[None]:
        """Read a guest back that was started past _create_guest."""
        with self._starts.watched(instance):
            yield

    def guest_created(self, instance: Any) -> None:
        """Note that _create_guest was called."""
        self._starts.created(instance.uuid)

    def guard_arrival(self, instance: Any) -> guards.Guard:
        """Claim the level, and wait for the guest."""
        guard = super().guard_arrival(instance)
        self._starts.expect(instance)
        return guard

    def guest_started(self, instance_uuid: str) -> None:
        """See :meth:`starts.Starts.started`."""
        self._starts.started(instance_uuid)

    def arrived(self, instance: Any) -> None:
        """Read a guest back that runs here since its migration."""
        self._starts.forget(instance.uuid)
        self._starts.check(instance)

    def settle(self, instance: Any, was_gone: bool = False) -> None:
        """Drop a claim, and wait for the guest no longer."""
        super().settle(instance, was_gone)
        self._starts.forget(instance.uuid)

    @contextlib.contextmanager
    def departing(self, instance: Any, destination: str) -> Iterator[None]:
        """Check that the destination has claimed the level."""
        with contextlib.ExitStack() as stack:
            with faults.raised_to_nova(instance):
                stack.enter_context(
                    self._departures.checked(
                        instance, self._host.get_guest(instance), destination
                    )
                )
            yield

    def migrating_guest(self, instance: Any, guest: Any) -> Any:
        """The guest that writes its level into the destination's XML."""
        return self._departures.confine(instance.uuid, guest)

    def check_backing_files(
        self, instance: Any, found: Sequence[Mapping[str, Any]]
    ) -> None:
        """See :func:`own_disks.check_backing_files`."""
        with faults.raised_to_nova(instance):
            own_disks.check_backing_files(instance, found)

    def check_disk(self, instance: Any, path: str, image_format: str) -> None:
        """See :func:`own_disks.check`."""
        if not own_disks.is_own(instance, path):
            return
        with faults.raised_to_nova(instance):
            own_disks.check(
                instance,
                path,
                image_format,
                self._rescue_images.get(instance.uuid),
            )

    @property
    def distrusts_headers(self) -> bool:
        """Guests may have written them."""
        return True

    def check_off(self, instance: Any) -> None:
        """Check that libvirt has no process of a guest.

        A QEMU that reports its shutdown over QMP, and does not end, is a
        guest that is off for Nova (VIR_DOMAIN_SHUTDOWN): what it writes
        after a check would be followed.
        """
        if self._host.get_guest(instance).is_active():
            with faults.raised_to_nova(instance):
                raise exception.ForgedDisk(
                    'Nova takes the guest for one that is off, and its '
                    'process goes on: it could change its disk while Nova '
                    'reads it. Stop the instance first'
                )

    def check_moved_disks(self, instance: Any, disk_info: str) -> None:
        """See :func:`own_disks.check_moved`."""
        with faults.raised_to_nova(instance):
            own_disks.check_moved(instance, disk_info)

    def may_rebase(self, instance: Any) -> bool:
        """See :func:`image_sharing.may_rebase`."""
        return image_sharing.may_rebase(instance)

    @property
    def hides_images(self) -> bool:
        """Images have labels here."""
        return True

    def review_image(
        self, request: Any, instance: Any, found: Sequence[Mapping[str, Any]]
    ) -> None:
        """See :func:`image_sharing.review`."""
        for path in own_disks.bases_of_root(found):
            image_sharing.review(request, instance, path)

    def image_cached(self, image: str) -> None:
        """See :func:`image_sharing.cached`."""
        image_sharing.cached(image)

    def check_console(self, instance: Any) -> None:
        """See :mod:`svirt_nova.host.terminals`."""
        xml = self._host.get_guest(instance).get_xml_desc()
        with faults.raised_to_nova(instance):
            terminals.check(xml)

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
        if (
            instance.task_state == task_states.MIGRATING
            # A hard reboot connects it again.
            or self._restarts.guard_of(instance.uuid) is not None
        ):
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
