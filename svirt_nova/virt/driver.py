# SPDX-License-Identifier: Apache-2.0
"""Nova's libvirt driver, with a level of its own for every instance.

The driver only decides when: its hooks stand in the order of the lifecycle
of an instance, and those about disks in :mod:`svirt_nova.virt.disk_hooks`.
What is done at a hook is in :mod:`svirt_nova.virt.extension`, and what keeps
one instance behind its level in :mod:`svirt_nova.virt.guards`. Nova's
request context is called ``request`` here, because a context is that of
SELinux.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.virt import event as virt_event

import svirt_nova.conf
from svirt_nova.virt import disk_hooks
from svirt_nova.virt import disk_sizes
from svirt_nova.virt import image_backends
from svirt_nova.virt import image_cache
from svirt_nova.virt import startup
from svirt_nova.virt import traits
from svirt_nova.virt import unstarted

CONF = nova.conf.CONF


class SvirtLibvirtDriver(disk_hooks.DiskHooks):
    """The libvirt driver of Nova, confining guests cloud-wide."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only=read_only)
        svirt_nova.conf.register_opts(CONF)
        self._extension = unstarted.Unstarted()
        self.image_backend = image_backends.Backend(
            CONF.use_cow_images,
            # The extension is another one once this host has started.
            lambda *disk: self._extension.check_disk(*disk),
            lambda: self._extension.hides_images,
        )
        self.image_cache_manager = image_cache.ImageCacheManager(
            lambda: self._extension.distrusts_headers
        )

    # nova-compute starts

    def init_host(self, host: str) -> None:
        """Check that this host can keep guests apart.

        :raises nova.exception.InternalError: it cannot, and [svirt] mode
            is enforcing
        """
        super().init_host(host)
        self._extension = startup.start(host, self._host)

    # An instance comes to this host: it is claimed before anything is written

    def spawn(
        self, request: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Boot, rebuild, evacuate to here, unshelve."""
        self._extension.guard(instance)
        with self._extension.starting(instance):
            super().spawn(request, instance, *args, **kwargs)

    def finish_migration(
        self,
        request: Any,
        migration: Any,
        instance: Any,
        disk_info: str,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Cold migration and resize to here."""
        self._extension.guard(instance)
        self._extension.check_moved_disks(instance, disk_info)
        with self._extension.starting(instance):
            super().finish_migration(
                request, migration, instance, disk_info, *args, **kwargs
            )

    # Every domain that is defined anew

    def _create_guest(
        self,
        request: Any,
        xml: str,
        instance: Any,
        power_on: bool = True,
        pause: bool = False,
        post_xml_callback: Callable[[], None] | None = None,
    ) -> Any:
        """Start a guest behind its level, or not at all."""
        create = super()._create_guest
        self._extension.guest_created(instance)
        return self._extension.guard(instance).start(
            lambda confined_xml, **options: create(
                request, confined_xml, instance, **options
            ),
            xml,
            power_on=power_on,
            pause=pause,
            post_xml_callback=post_xml_callback,
        )

    # An instance is started again where it is

    def _hard_reboot(
        self,
        request: Any,
        instance: Any,
        network_info: Any,
        share_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
    ) -> None:
        """Hard reboot, start, resume on host boot.

        What would be refused is refused before the domain goes.
        """
        with (
            self._extension.restarting(instance) as guard,
            self._extension.starting(instance),
        ):
            guard.check_disks()
            guard.check_volumes(block_device_info)
            super()._hard_reboot(
                request,
                instance,
                network_info,
                share_info,
                block_device_info,
                accel_info,
            )

    def _soft_reboot(self, instance: Any) -> bool:
        """Restart the domain as it is defined, if it is at its level.

        :returns: False for a hard reboot in its place
        """
        guard = self._extension.guard(instance)
        if not (
            guard.may_restart_as_defined() and super()._soft_reboot(instance)
        ):
            return False
        guard.check_restarted()
        return True

    def resume(
        self, request: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Resume a suspended guest, whose memory a failure would cost."""
        with (
            self._extension.restarting(instance) as guard,
            self._extension.starting(instance),
        ):
            guard.check_saved_memory()
            super().resume(request, instance, *args, **kwargs)

    # Live migration: the level goes along

    def pre_live_migration(
        self,
        request: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        """On the destination, before anything is written."""
        guard = self._extension.guard_arrival(instance)
        is_shared = migrate_data.is_shared_instance_path
        migrate_data = super().pre_live_migration(
            request,
            instance,
            block_device_info,
            network_info,
            disk_info,
            migrate_data,
        )
        if not is_shared:
            # On storage that both hosts have, the source has labelled them.
            guard.label_own_disks()
        return migrate_data

    def emit_event(self, event: Any) -> None:
        """Hear from libvirt that something happened to a domain.

        Of a guest that migrates to here, libvirt tells while the guest still
        runs at its source.
        """
        super().emit_event(event)
        if (
            isinstance(event, virt_event.LifecycleEvent)
            and event.get_transition() == virt_event.EVENT_LIFECYCLE_STARTED
        ):
            self._extension.guest_started(event.get_instance_uuid())

    def post_live_migration_at_destination(
        self, request: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """On the destination, where the guest runs."""
        self._extension.arrived(instance)
        super().post_live_migration_at_destination(
            request, instance, *args, **kwargs
        )

    def live_migration(
        self,
        request: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        """On the source, once the destination has prepared itself."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._extension.departing(instance, dest))
            except nova_exception.InternalError:
                # Nothing has moved yet. An error raised from here would put
                # the instance into ERROR.
                recover_method(
                    request, instance, dest, migrate_data=migrate_data
                )
                return
            super().live_migration(
                request,
                instance,
                dest,
                post_method,
                recover_method,
                block_migration,
                migrate_data,
            )

    def _live_migration_operation(
        self,
        request: Any,
        instance: Any,
        dest: str,
        block_migration: bool,
        migrate_data: Any,
        guest: Any,
        device_names: Any,
    ) -> None:
        """Write the level into the XML for the destination."""
        super()._live_migration_operation(
            request,
            instance,
            dest,
            block_migration,
            migrate_data,
            self._extension.migrating_guest(instance, guest),
            device_names,
        )

    # An instance leaves this host, or is deleted: the claim goes last

    def destroy(
        self, request: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Destroy, as a rebuild does first: not where there is no level."""
        self._extension.guard_rebuild(instance)
        super().destroy(request, instance, *args, **kwargs)

    def cleanup(
        self, request: Any, instance: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Delete and every other way of leaving this host.

        Nova saves the instance in between (LibvirtDriver._cleanup), which
        reads its states anew: those of a resized one that is deleted are then
        what the source has set when it confirmed the resize.
        """
        was_gone = self._extension.is_gone_for_good(instance)
        super().cleanup(request, instance, *args, **kwargs)
        self._extension.settle(instance, was_gone)

    def post_live_migration_at_source(
        self, request: Any, instance: Any, network_info: Any
    ) -> None:
        """A live migration away from here has succeeded.

        With a directory on this host's own storage Nova calls cleanup
        later, which drops the claim then.
        """
        super().post_live_migration_at_source(request, instance, network_info)
        self._extension.settle(instance)

    def confirm_migration(
        self, request: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        """A resize or cold migration away from here is final."""
        super().confirm_migration(request, migration, instance, network_info)
        self._extension.settle(instance)

    def delete_instance_files(self, instance: Any) -> bool:
        """The files of an instance deleted while this host was down."""
        cleaned = bool(super().delete_instance_files(instance))
        if cleaned:
            self._extension.settle(instance)
        return cleaned

    # From time to time

    def get_available_resource(self, nodename: str) -> Any:
        """Nova calls this at start and every update_resources_interval.

        It fails at a disk whose header qemu-img does not know, which a QEMU
        that was taken over can write into its own. That must not keep this
        host from noticing what it runs.
        """
        try:
            found = super().get_available_resource(nodename)
            return disk_sizes.bounded(found)
        finally:
            self._extension.reconcile_if_due()

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, *args: Any, **kwargs: Any
    ) -> None:
        """Tell the scheduler whether this host keeps guests apart.

        Nova calls this after get_available_resource.
        """
        super().update_provider_tree(provider_tree, nodename, *args, **kwargs)
        traits.update(
            provider_tree,
            nodename,
            keeps_apart=self._extension.keeps_guests_apart,
        )
