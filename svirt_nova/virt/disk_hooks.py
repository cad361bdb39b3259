# SPDX-License-Identifier: Apache-2.0
"""The hooks of the driver that are about disks, images and volumes.

They stand before everything that Nova does with a file that a guest can have
written.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import nova.conf
from nova.virt import images
from nova.virt.libvirt import driver as libvirt_driver

from svirt_nova.virt import disk_sizes
from svirt_nova.virt import extension
from svirt_nova.virt import faults
from svirt_nova.virt import snapshots
from svirt_nova.virt import volumes

CONF = nova.conf.CONF

_CHECK: contextvars.ContextVar[Callable[[], None] | None] = (
    contextvars.ContextVar('svirt_nova_check_before_rebase', default=None)
)
"""Checks the volume whose snapshot this thread, or greenlet, deletes."""


class DiskHooks(libvirt_driver.LibvirtDriver):  # type: ignore[misc]
    """The libvirt driver of Nova, with hooks about disks."""

    _extension: extension.Extension

    # Images and disks

    def _needs_rebase_original_qcow2_image(
        self, instance: Any, backend: Any
    ) -> bool:
        """Whether a root disk is put on the image before a snapshot.

        Nova believes a property of the image here, which its owner has set,
        when a resize does not leave the cell.
        """
        return self._extension.may_rebase(instance) and bool(
            super()._needs_rebase_original_qcow2_image(instance, backend)
        )

    def rescue(
        self,
        request: Any,
        instance: Any,
        network_info: Any,
        image_meta: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Start the guest from a rescue image, which need not be its own."""
        image = None
        if image_meta.obj_attr_is_set('id'):
            image = image_meta.id
        image = image or CONF.libvirt.rescue_image_id or instance.image_ref
        with self._extension.rescuing(instance, image):
            super().rescue(
                request, instance, network_info, image_meta, *args, **kwargs
            )

    def _create_images_and_backing(
        self,
        request: Any,
        instance: Any,
        instance_dir: str,
        disk_info: Any,
        fallback_from_host: Any = None,
    ) -> None:
        """Make files that are missing, but none that a header alone names.

        A hard reboot reads the names in headers, and the destination of a
        migration has them from its source. Nova would store the image of the
        instance under any such name in the image cache.
        """
        self._extension.check_backing_files(instance, disk_info or ())
        self._extension.review_image(request, instance, disk_info or ())
        super()._create_images_and_backing(
            request, instance, instance_dir, disk_info, fallback_from_host
        )

    def _get_instance_disk_info_from_config(
        self, guest_config: Any, block_device_info: Any
    ) -> list[dict[str, Any]]:
        """Say what disks take, also while guests can change their headers."""
        ask_nova = super()._get_instance_disk_info_from_config
        # In permissive mode a guest is started whatever its header says.
        if not self._extension.distrusts_headers or not faults.is_enforcing():
            found: list[dict[str, Any]] = ask_nova(
                guest_config, block_device_info
            )
            return found
        return disk_sizes.of_config(guest_config, block_device_info, ask_nova)

    def cache_image(self, request: Any, image_id: str) -> bool:
        """Fetch an image that no guest uses yet."""
        is_new = bool(super().cache_image(request, image_id))
        if is_new:
            self._extension.image_cached(image_id)
        return is_new

    # Consoles

    def get_console_output(self, request: Any, instance: Any) -> Any:
        """Read a console as root, where QEMU says that it is."""
        self._extension.check_console(instance)
        return super().get_console_output(request, instance)

    # Snapshots

    def _live_snapshot(
        self,
        request: Any,
        instance: Any,
        guest: Any,
        disk_path: str,
        out_path: str,
        source_format: str,
        image_format: str,
        image_meta: Any,
    ) -> None:
        """Copy what the guest sees, and follow no header."""
        if not self._extension.distrusts_headers:
            super()._live_snapshot(
                request,
                instance,
                guest,
                disk_path,
                out_path,
                source_format,
                image_format,
                image_meta,
            )
            return
        snapshots.copy_disk(
            self,
            request,
            instance,
            guest,
            disk_path,
            out_path,
            source_format=source_format,
            image_format=image_format,
            image_meta=image_meta,
            label=self._extension.guard(instance).give_copy,
        )

    def _volume_snapshot_create(
        self,
        request: Any,
        instance: Any,
        guest: Any,
        volume_id: str,
        new_file: str,
    ) -> None:
        """Have QEMU go on in a new file of a volume."""
        super()._volume_snapshot_create(
            request,
            instance,
            self._extension.guard(instance).snapshotted(guest),
            volume_id,
            new_file,
        )

    def _volume_snapshot_delete(
        self,
        request: Any,
        instance: Any,
        volume_id: str,
        snapshot_id: str,
        delete_info: Any = None,
    ) -> None:
        """Merge two files of a volume, which QEMU or qemu-img writes."""
        guard = self._extension.guard(instance)
        guard.check_volume(volume_id)
        token = _CHECK.set(lambda: guard.check_volume(volume_id))
        try:
            super()._volume_snapshot_delete(
                request,
                instance,
                volume_id,
                snapshot_id,
                delete_info=delete_info,
            )
        finally:
            _CHECK.reset(token)

    def _rebase_with_qemu_img(
        self, source_path: str, rebase_base: str | None
    ) -> None:
        """Copy into a disk what is below it, of a guest that is off.

        The guest may have ended only since its volume was checked, and may
        have changed the header before.
        """
        check = _CHECK.get()
        if check is not None:
            check()
        super()._rebase_with_qemu_img(source_path, rebase_base)

    def _suspend_guest_for_snapshot(
        self,
        request: Any,
        live_snapshot: bool,
        current_power_state: int,
        instance: Any,
    ) -> None:
        """Suspend a guest that is started again with what it has."""
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, current_power_state
        ):
            self._extension.guard(instance).check_saved_memory()
        super()._suspend_guest_for_snapshot(
            request, live_snapshot, current_power_state, instance
        )
        if not live_snapshot:
            # Nova's tools read the disk from here on.
            self._extension.check_off(instance)

    def _resume_guest_after_snapshot(
        self,
        request: Any,
        live_snapshot: bool,
        original_power_state: int,
        instance: Any,
        guest: Any,
    ) -> None:
        """Start a guest again that was suspended for its snapshot."""
        super()._resume_guest_after_snapshot(
            request, live_snapshot, original_power_state, instance, guest
        )
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, original_power_state
        ):
            self._extension.guard(instance).check_restarted()

    # Volumes

    def _connect_volume(
        self,
        request: Any,
        connection_info: dict[str, Any],
        instance: Any,
        encryption: Any = None,
    ) -> None:
        """Label a file-backed volume before a guest gets it."""
        super()._connect_volume(
            request, connection_info, instance, encryption=encryption
        )
        try:
            self._extension.volume_connected(
                instance, connection_info, self._get_volume_driver
            )
        except Exception:
            super()._disconnect_volume(
                request, connection_info, instance, encryption=encryption
            )
            raise

    def _get_volume_config(self, *args: Any) -> Any:
        """Describe the disk of a volume: whose it is, of what it is made.

        :param args: in Nova 33 the instance first; then the connection and
            the description of the disk
        """
        image = volumes.kept_label(args[-2])
        chain = volumes.kept_chain(args[-2])
        config = super()._get_volume_config(*args)
        if image is not None or chain is not None:
            volumes.confine(config, image, chain)
        return config

    def _resize_attached_encrypted_volume(
        self,
        request: Any,
        original_new_size: int,
        block_device: Any,
        instance: Any,
        connection_info: dict[str, Any],
        encryption: Any,
    ) -> None:
        """Tell QEMU the new size of a volume that it decrypts itself.

        Nova finds out as root how long the header is, and lets qemu-img guess
        the format of what the guest can write.
        """
        path = connection_info['data'].get('device_path')
        if (
            path is None
            or not self._extension.distrusts_headers
            or not self._allow_native_luksv1(encryption)
        ):
            super()._resize_attached_encrypted_volume(
                request,
                original_new_size,
                block_device,
                instance,
                connection_info,
                encryption,
            )
            return
        info = images.privileged_qemu_img_info(path, format='luks')
        header = info.format_specific['data']['payload-offset']
        self._resize_attached_volume(
            original_new_size - header, block_device, instance
        )

    def _disconnect_volume(
        self,
        request: Any,
        connection_info: dict[str, Any],
        instance: Any,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Take a volume's label off while its file can still be reached."""
        self._extension.volume_disconnecting(
            request,
            instance,
            connection_info,
            self._get_volume_driver,
            self._volume_api,
        )
        super()._disconnect_volume(
            request, connection_info, instance, *args, **kwargs
        )
