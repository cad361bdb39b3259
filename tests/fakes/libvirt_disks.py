# SPDX-License-Identifier: Apache-2.0
"""The part of the fake ``LibvirtDriver`` that is about disks."""

from __future__ import annotations

from typing import Any

from nova import exception as nova_exception
from nova.compute import power_state
from nova.virt.libvirt import config as libvirt_config
from nova.virt.libvirt import host as libvirt_host

from svirt_nova.host import domain_xml
from tests.fakes import libvirt_base


class Disks(libvirt_base.Part):
    """Volumes and snapshots."""

    suspend: Any

    # Volumes

    def _connect_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        encryption: Any = None,
    ) -> None:
        with self._host.steps.changes('connect volume'):
            pass

    def _disconnect_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        encryption: Any = None,
    ) -> None:
        with self._host.steps.changes('disconnect volume'):
            pass

    def _get_volume_config(self, *args: Any) -> Any:
        connection_info, disk_info = args[-2:]
        config = libvirt_config.LibvirtConfigGuestDisk()
        config.source_type = 'file'
        config.source_path = connection_info['data']['device_path']
        config.serial = connection_info['serial']
        config.target_dev = disk_info['dev']
        config.target_bus = 'virtio'
        return config

    def attach_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        mountpoint: str,
    ) -> None:
        guest = self._host.get_guest(instance)
        self._connect_volume(context, connection_info, instance)
        config = self._get_volume_config(
            connection_info, {'dev': mountpoint.rpartition('/')[2]}
        )
        try:
            guest.attach_device(config, persistent=True, live=True)
        except Exception:
            self._disconnect_volume(context, connection_info, instance)
            raise

    def swap_volume(
        self,
        context: Any,
        old_connection_info: Any,
        new_connection_info: Any,
        instance: Any,
        mountpoint: str,
        resize_to: int,
    ) -> None:
        guest = self._host.get_guest(instance)
        target = mountpoint.rpartition('/')[2]
        self._connect_volume(context, new_connection_info, instance)
        config = self._get_volume_config(new_connection_info, {'dev': target})
        try:
            self._swap_volume(guest, target, config, resize_to)
        except nova_exception.VolumeRebaseFailed:
            self._disconnect_volume(context, new_connection_info, instance)
            raise
        self._disconnect_volume(context, old_connection_info, instance)

    def _swap_volume(
        self, guest: Any, disk_dev: str, conf: Any, resize_to: int
    ) -> None:
        xml = guest.get_xml_desc(dump_inactive=True)
        try:
            # A domain that runs is undefined meanwhile.
            guest.delete_configuration()
            try:
                guest.swap_disk(disk_dev, conf)
            except libvirt_host.libvirt.libvirtError as error:
                raise nova_exception.VolumeRebaseFailed(
                    reason=str(error)
                ) from error
            xml = guest.get_xml_desc()
        finally:
            self._host.write_instance_config(xml)

    def detach_volume(
        self,
        context: Any,
        connection_info: Any,
        instance: Any,
        mountpoint: str,
    ) -> None:
        guest = self._find(instance)
        if guest is not None:
            guest.detach_device(mountpoint.rpartition('/')[2])
        self._disconnect_volume(context, connection_info, instance)

    def _get_instance_disk_info_from_config(
        self, guest_config: Any, block_device_info: Any
    ) -> list[Any]:
        return []

    # Snapshots

    def snapshot(
        self,
        context: Any,
        instance: Any,
        image_id: Any,
        update_task_state: Any,
    ) -> None:
        """A cold one, for which a guest that runs is suspended."""
        guest = self._host.get_guest(instance)
        state = guest.get_power_state(self._host)
        self._suspend_guest_for_snapshot(context, False, state, instance)
        self._resume_guest_after_snapshot(
            context, False, state, instance, guest
        )

    def _live_snapshot(
        self,
        context: Any,
        instance: Any,
        guest: Any,
        disk_path: str,
        out_path: str,
        source_format: str,
        image_format: str,
        image_meta: Any,
    ) -> None:
        raise AssertionError('it follows the header of the disk')

    def _volume_snapshot_create(
        self,
        context: Any,
        instance: Any,
        guest: Any,
        volume_id: str,
        new_file: str,
    ) -> None:
        """QEMU goes on in a file that cinder has made."""
        [path] = [
            disk.path
            for disk in domain_xml.disks(guest.get_xml_desc())
            if disk.serial == volume_id
        ]
        conf = libvirt_config.LibvirtConfigGuestSnapshot()
        disk = libvirt_config.LibvirtConfigGuestSnapshotDisk()
        disk.name = path
        disk.source_path = f'{path.rpartition("/")[0]}/{new_file}'
        disk.source_type = 'file'
        disk.snapshot = 'external'
        conf.add_disk(disk)
        guest.snapshot(conf, reuse_ext=True)

    def _volume_snapshot_delete(
        self,
        context: Any,
        instance: Any,
        volume_id: str,
        snapshot_id: str,
        delete_info: Any = None,
    ) -> None:
        if not self._host.get_guest(instance).is_active():
            self._rebase_with_qemu_img(f'/volumes/{volume_id}', None)
            return
        with self._host.steps.changes('libvirt commit'):
            pass

    @staticmethod
    def _rebase_with_qemu_img(
        source_path: str, rebase_base: str | None
    ) -> None:
        """Nothing is copied here."""

    def _resize_attached_encrypted_volume(
        self,
        context: Any,
        original_new_size: int,
        block_device: Any,
        instance: Any,
        connection_info: Any,
        encryption: Any,
    ) -> None:
        self._resize_attached_volume(original_new_size, block_device, instance)

    def _resize_attached_volume(
        self, new_size: int, block_device: Any, instance: Any
    ) -> None:
        block_device.resize(new_size)

    def _allow_native_luksv1(self, encryption: Any = None) -> bool:
        return bool(encryption) and encryption['provider'] == 'luks'

    def _needs_suspend_resume_for_snapshot(
        self, live_snapshot: bool, current_power_state: int
    ) -> bool:
        return not live_snapshot and current_power_state in (
            power_state.RUNNING,
            power_state.PAUSED,
        )

    def _suspend_guest_for_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        current_power_state: int,
        instance: Any,
    ) -> None:
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, current_power_state
        ):
            self.suspend(context, instance)

    def _resume_guest_after_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        original_power_state: int,
        instance: Any,
        guest: Any,
    ) -> None:
        if self._needs_suspend_resume_for_snapshot(
            live_snapshot, original_power_state
        ):
            guest.launch()
