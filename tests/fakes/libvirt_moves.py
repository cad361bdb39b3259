# SPDX-License-Identifier: Apache-2.0
"""The part of the fake ``LibvirtDriver`` by which guests move."""

from __future__ import annotations

from typing import Any

from nova import exception as nova_exception
from nova.virt import driver
from nova.virt.libvirt import host as libvirt_host

from tests.fakes import libvirt_base


class Moves(libvirt_base.Part):
    """Migration, cold and live."""

    power_off: Any
    _undefine_domain: Any

    # Cold

    def migrate_disk_and_power_off(
        self,
        context: Any,
        instance: Any,
        dest: str,
        flavor: Any,
        network_info: Any,
        block_device_info: Any = None,
    ) -> str:
        self.power_off(instance)
        for volume in driver.block_device_info_get_mapping(block_device_info):
            self._disconnect_volume(
                context, volume['connection_info'], instance
            )
        if self._exists(instance, '_resize'):
            self._remove(instance, '_resize')
        self._rename(instance, '', '_resize')
        return '[]'

    def finish_migration(
        self,
        context: Any,
        migration: Any,
        instance: Any,
        disk_info: str,
        network_info: Any,
        image_meta: Any,
        resize_instance: bool,
        allocations: Any,
        block_device_info: Any = None,
        power_on: bool = True,
    ) -> None:
        self._create_image(instance)
        xml = self._get_guest_xml(context, instance, block_device_info)
        self._create_guest_with_network(
            context, xml, instance, block_device_info, power_on=power_on
        )

    def finish_revert_migration(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        migration: Any,
        block_device_info: Any = None,
        power_on: bool = True,
    ) -> None:
        if self._exists(instance, '_resize'):
            if self._exists(instance):
                self._remove(instance, '')
            self._rename(instance, '_resize', '')
        xml = self._get_guest_xml(context, instance, block_device_info)
        self._create_guest_with_network(
            context, xml, instance, block_device_info, power_on=power_on
        )

    def confirm_migration(
        self, context: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        if self._exists(instance, '_resize'):
            self._remove(instance, '_resize')
        if instance.host != self._host.name:
            self._undefine_domain(instance)

    # Live

    def pre_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        network_info: Any,
        disk_info: Any,
        migrate_data: Any,
    ) -> Any:
        if not self.is_shared:
            self._create_image(instance)
        for volume in driver.block_device_info_get_mapping(block_device_info):
            self._connect_volume(context, volume['connection_info'], instance)
        return migrate_data

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool = False,
        migrate_data: Any = None,
    ) -> None:
        guest = self._host.get_guest(instance)
        try:
            self._live_migration_operation(
                context,
                instance,
                dest,
                block_migration,
                migrate_data,
                guest,
                [],
            )
        except (
            nova_exception.MigrationError,
            libvirt_host.libvirt.libvirtError,
        ):
            recover_method(context, instance, dest, migrate_data=migrate_data)
            return
        post_method(context, instance, dest, block_migration, migrate_data)

    def _live_migration_operation(
        self,
        context: Any,
        instance: Any,
        dest: str,
        block_migration: bool,
        migrate_data: Any,
        guest: Any,
        device_names: Any,
    ) -> None:
        xml = guest.get_xml_desc(dump_migratable=True)
        # Hosts would have their directories at the same path.
        there = self._host.peers[dest].instances
        guest.migrate(
            dest, destination_xml=xml.replace(self._host.instances, there)
        )

    def rollback_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any,
        destroy_disks: bool = True,
        migrate_data: Any = None,
    ) -> None:
        try:
            self.destroy(
                context,
                instance,
                network_info,
                block_device_info,
                destroy_disks,
            )
        finally:
            if not self.is_shared and self._exists(instance):
                self._remove(instance, '')

    def post_live_migration(
        self,
        context: Any,
        instance: Any,
        block_device_info: Any,
        migrate_data: Any = None,
    ) -> None:
        for volume in driver.block_device_info_get_mapping(block_device_info):
            self._disconnect_volume(
                context, volume['connection_info'], instance
            )

    def post_live_migration_at_destination(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_migration: bool = False,
        block_device_info: Any = None,
    ) -> None:
        pass

    def post_live_migration_at_source(
        self, context: Any, instance: Any, network_info: Any
    ) -> None:
        pass
