# SPDX-License-Identifier: Apache-2.0
"""``LibvirtDriver``, reduced to the steps that the promise rests on.

The methods are in the order of ``nova.virt.libvirt.driver``, and have its
names and parameters, of which they need few.
"""

from __future__ import annotations

import contextlib
from typing import Any

from nova import exception as nova_exception
from nova.compute import power_state
from nova.virt import driver
from nova.virt.libvirt import host as libvirt_host

from tests.fakes import domains
from tests.fakes import libvirt_disks
from tests.fakes import libvirt_moves


class LibvirtDriver(libvirt_disks.Disks, libvirt_moves.Moves):
    """What stands in the place of LibvirtDriver's own methods."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        self._volume_api: Any = None

    def init_host(self, host: str) -> None:
        pass

    def emit_event(self, event: Any) -> None:
        pass

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return {}

    def update_provider_tree(
        self, provider_tree: Any, nodename: str, allocations: Any = None
    ) -> None:
        pass

    # Domains

    def _get_guest_xml(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any = None,
        rescue: bool = False,
    ) -> str:
        names = ['disk.rescue', 'disk'] if rescue else ['disk']
        elements = [
            f'<disk type="file" device="disk">'
            f'<driver name="qemu" type="qcow2"/>'
            f'<source file="{self._directory(instance)}/{name}"/>'
            f'<target dev="vd{"yz"[number]}"/></disk>'
            for number, name in enumerate(names)
        ]
        for volume in driver.block_device_info_get_mapping(block_device_info):
            info = volume['connection_info']
            self._connect_volume(context, info, instance)
            elements.append(
                self._get_volume_config(
                    info, {'dev': volume['mount_device']}
                ).to_xml()
            )
        return (
            f'<domain><uuid>{instance.uuid}</uuid>'
            f'<devices>{"".join(elements)}</devices></domain>'
        )

    def _create_guest_with_network(
        self,
        context: Any,
        xml: str,
        instance: Any,
        block_device_info: Any,
        power_on: bool = True,
        cleanup_instance_dir: bool = False,
    ) -> Any:
        try:
            guest = self._create_guest(
                context, xml, instance, power_on=power_on
            )
            if instance.uuid in self._host.failing:
                # Such as a network that does not come up.
                self._host.failing.discard(instance.uuid)
                if guest.is_active():
                    guest.poweroff()
                raise nova_exception.VirtualInterfaceCreateException
        except Exception:
            self._cleanup(
                context,
                instance,
                None,
                block_device_info,
                cleanup_instance_dir=cleanup_instance_dir,
            )
            raise
        return guest

    def _create_guest(
        self,
        context: Any,
        xml: str,
        instance: Any,
        power_on: bool = True,
        pause: bool = False,
        post_xml_callback: Any = None,
    ) -> domains.Domain:
        guest = self._host.write_instance_config(xml)
        if post_xml_callback is not None:
            post_xml_callback()
        if power_on or pause:
            guest.launch(pause=pause)
        return guest

    # The end

    def _destroy(self, instance: Any) -> None:
        guest = self._find(instance)
        if guest is not None:
            guest.poweroff()

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
    ) -> None:
        self._destroy(instance)
        self.cleanup(
            context, instance, network_info, block_device_info, destroy_disks
        )

    def _undefine_domain(self, instance: Any) -> None:
        guest = self._find(instance)
        if guest is not None:
            guest.delete_configuration()

    def cleanup(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
    ) -> None:
        self._cleanup(
            context,
            instance,
            network_info,
            block_device_info,
            cleanup_instance_dir=destroy_disks,
        )

    def _cleanup(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        cleanup_instance_dir: bool = False,
    ) -> None:
        for volume in driver.block_device_info_get_mapping(block_device_info):
            self._disconnect_volume(
                context, volume['connection_info'], instance
            )
        if cleanup_instance_dir:
            instance.cleaned = self.delete_instance_files(instance)
            with contextlib.suppress(nova_exception.InstanceNotFound):
                instance.save()
        self._undefine_domain(instance)

    def delete_instance_files(self, instance: Any) -> bool:
        for suffix in ('', '_resize'):
            if self._exists(instance, suffix):
                try:
                    self._rename(instance, suffix, '_del')
                except OSError:
                    continue
                break
        if self._exists(instance) or self._exists(instance, '_resize'):
            return False
        if self._exists(instance, '_del') and not self._host.cannot_delete:
            self._remove(instance, '_del')
        return not self._exists(instance, '_del')

    # Power

    def reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        reboot_type: str,
        block_device_info: Any = None,
    ) -> None:
        if reboot_type == 'SOFT':
            try:
                if self._soft_reboot(instance):
                    return
            except libvirt_host.libvirt.libvirtError:
                pass
        self._hard_reboot(
            context, instance, network_info, None, block_device_info
        )

    def _soft_reboot(self, instance: Any) -> bool:
        guest = self._host.get_guest(instance)
        if guest.get_power_state(self._host) != power_state.RUNNING:
            return False
        guest.shutdown()
        guest.launch()
        return True

    def _hard_reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        share_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
    ) -> None:
        self.destroy(context, instance, network_info, block_device_info, False)
        self._create_image(instance)
        xml = self._get_guest_xml(context, instance, block_device_info)
        self._create_guest_with_network(
            context, xml, instance, block_device_info
        )

    def _create_images_and_backing(
        self,
        context: Any,
        instance: Any,
        instance_dir: str,
        disk_info: Any,
        fallback_from_host: Any = None,
    ) -> None:
        pass

    def cache_image(self, context: Any, image_id: str) -> bool:
        return True

    def get_console_output(self, context: Any, instance: Any) -> str:
        return 'what is there'

    def _needs_rebase_original_qcow2_image(
        self, instance: Any, backend: Any
    ) -> bool:
        return False

    def power_off(self, instance: Any, timeout: int = 0) -> None:
        self._destroy(instance)

    def power_on(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
    ) -> None:
        self._hard_reboot(
            context, instance, network_info, None, block_device_info
        )

    def pause(self, instance: Any) -> None:
        self._host.get_guest(instance).pause()

    def unpause(self, instance: Any) -> None:
        self._host.get_guest(instance).resume()

    def suspend(self, context: Any, instance: Any) -> None:
        self._host.get_guest(instance).save_memory_state()

    def resume(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
    ) -> None:
        guest = self._find(instance)
        if guest is not None:
            xml = guest.get_xml_desc()
        else:
            xml = self._get_guest_xml(context, instance, block_device_info)
        self._create_guest_with_network(
            context, xml, instance, block_device_info
        )

    def rescue(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        image_meta: Any,
        rescue_password: Any,
        block_device_info: Any,
        share_info: Any,
    ) -> None:
        guest = self._host.get_guest(instance)
        kept = guest.get_xml_desc()
        with self._host.steps.changes('keep unrescue.xml'):
            self._host.storage.write(self._unrescue_xml(instance), kept)
        self._create_image(instance, '.rescue')
        xml = self._get_guest_xml(
            context, instance, block_device_info, rescue=True
        )
        self._destroy(instance)
        self._create_guest(context, xml, instance)

    def _unrescue_xml(self, instance: Any) -> str:
        return f'{self._directory(instance)}/unrescue.xml'

    def unrescue(self, context: Any, instance: Any) -> None:
        path = self._unrescue_xml(instance)
        try:
            xml = self._host.storage.read(path)
        except FileNotFoundError as error:
            raise nova_exception.NotFound(path) from error
        self._destroy(instance)
        self._create_guest(context, xml, instance)
        for name in (path, f'{self._directory(instance)}/disk.rescue'):
            with self._host.steps.changes('remove rescue file'):
                self._host.storage.remove(name)

    def spawn(
        self,
        context: Any,
        instance: Any,
        image_meta: Any,
        injected_files: Any,
        admin_password: Any,
        allocations: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        power_on: bool = True,
    ) -> None:
        is_new = self._create_image(instance)
        xml = self._get_guest_xml(context, instance, block_device_info)
        self._create_guest_with_network(
            context,
            xml,
            instance,
            block_device_info,
            power_on=power_on,
            cleanup_instance_dir=is_new,
        )
