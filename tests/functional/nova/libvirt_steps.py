# SPDX-License-Identifier: Apache-2.0
"""LibvirtDriver reduced to the steps that the promise rests on.

They are in the order of ``nova.virt.libvirt.driver``.
"""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

from nova import exception as nova_exception

from tests.functional.nova import hypervisor


class LibvirtDriver:
    """What the tests put in the place of LibvirtDriver's own methods."""

    _host: hypervisor.Hypervisor
    is_shared: bool

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        # No volume here is a multiattach one, so cinder is not asked.
        self._volume_api = None

    def init_host(self, host: str) -> None:
        pass

    def get_available_resource(self, nodename: str) -> dict[str, Any]:
        return {}

    def _directory(self, instance: Any, suffix: str = '') -> pathlib.Path:
        return self._host.instances / f'{instance.uuid}{suffix}'

    def _make_disk(self, instance: Any) -> None:
        directory = self._directory(instance)
        with self._host.steps.changes('make directory'):
            directory.mkdir(exist_ok=True)
            (directory / 'disk').touch()

    def _start(self, context: Any, instance: Any, rescue: bool = False) -> Any:
        disks = [self._directory(instance) / 'disk']
        if rescue:
            disks.insert(0, self._directory(instance) / 'disk.rescue')
            with self._host.steps.changes('make rescue disk'):
                disks[0].touch()
        for info in instance.volumes:
            self._connect_volume(context, info, instance)
            disks.append(info['data']['device_path'])
        elements = ''.join(
            f'<disk type="file"><source file="{disk}"/>'
            f'<target dev="vd{number}"/></disk>'
            for number, disk in enumerate(disks)
        )
        return self._create_guest(
            context,
            f'<domain><uuid>{instance.uuid}</uuid>'
            f'<devices>{elements}</devices></domain>',
            instance,
        )

    def _create_guest(
        self,
        context: Any,
        xml: str,
        instance: Any,
        power_on: bool = True,
        pause: bool = False,
        post_xml_callback: Any = None,
    ) -> hypervisor.Domain:
        guest = hypervisor.Domain(self._host, instance.uuid)
        guest.define(xml)
        if post_xml_callback is not None:
            post_xml_callback()
        if power_on or pause:
            guest.launch()
        return guest

    def _remove_rescue_disk(self, instance: Any) -> None:
        with self._host.steps.changes('remove rescue disk'):
            (self._directory(instance) / 'disk.rescue').unlink(missing_ok=True)

    def _find(self, instance: Any) -> hypervisor.Domain | None:
        for domain in self._host.domains():
            if domain.uuid == instance.uuid:
                return domain
        return None

    def spawn(self, context: Any, instance: Any, *args: Any) -> None:
        self._make_disk(instance)
        self._start(context, instance)

    def _power_off(self, instance: Any) -> None:
        domain = self._find(instance)
        if domain is not None:
            domain.poweroff()

    def destroy(
        self,
        context: Any,
        instance: Any,
        network_info: Any = None,
        block_device_info: Any = None,
        destroy_disks: bool = True,
    ) -> None:
        self._power_off(instance)
        self.cleanup(
            context, instance, network_info, block_device_info, destroy_disks
        )

    def cleanup(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        block_device_info: Any = None,
        destroy_disks: bool = True,
    ) -> None:
        for info in instance.volumes:
            self._disconnect_volume(context, info, instance)
        if destroy_disks:
            self.delete_instance_files(instance)
        domain = self._find(instance)
        if domain is not None:
            domain.undefine()

    def delete_instance_files(self, instance: Any) -> bool:
        doomed = self._directory(instance, '_del')
        for suffix in ('', '_resize'):
            directory = self._directory(instance, suffix)
            if directory.exists() and not doomed.exists():
                with self._host.steps.changes('rename directory'):
                    directory.rename(doomed)
        left = any(
            self._directory(instance, suffix).exists()
            for suffix in ('', '_resize')
        )
        if doomed.exists() and not left:
            with self._host.steps.changes('remove directory'):
                shutil.rmtree(doomed)
        return not left

    def _hard_reboot(
        self,
        context: Any,
        instance: Any,
        network_info: Any,
        share_info: Any,
        block_device_info: Any = None,
        accel_info: Any = None,
    ) -> None:
        self.destroy(context, instance, destroy_disks=False)
        self._start(context, instance)

    def _soft_reboot(self, instance: Any) -> bool:
        guest = self._host.get_guest(instance)
        guest.poweroff()
        guest.launch()
        return True

    def suspend(self, context: Any, instance: Any) -> None:
        # Its memory is saved; what is defined stays.
        self._host.get_guest(instance).poweroff()

    def resume(self, context: Any, instance: Any, network_info: Any) -> None:
        guest = self._host.get_guest(instance)
        self._create_guest(context, guest.get_xml_desc(), instance)

    def _needs_suspend_resume_for_snapshot(
        self, live_snapshot: bool, current_power_state: int
    ) -> bool:
        return not live_snapshot

    def _suspend_guest_for_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        current_power_state: int,
        instance: Any,
    ) -> None:
        self.suspend(context, instance)

    def snapshot(self, context: Any, instance: Any) -> None:
        self._suspend_guest_for_snapshot(context, False, 1, instance)
        guest = self._host.get_guest(instance)
        self._resume_guest_after_snapshot(context, False, 1, instance, guest)

    def _resume_guest_after_snapshot(
        self,
        context: Any,
        live_snapshot: bool,
        original_power_state: int,
        instance: Any,
        guest: Any,
    ) -> None:
        guest.launch()

    def migrate_disk_and_power_off(self, context: Any, instance: Any) -> None:
        self._power_off(instance)
        for info in instance.volumes:
            self._disconnect_volume(context, info, instance)
        with self._host.steps.changes('rename directory'):
            self._directory(instance).rename(
                self._directory(instance, '_resize')
            )

    def finish_migration(
        self, context: Any, migration: Any, instance: Any
    ) -> None:
        self._make_disk(instance)
        self._start(context, instance)

    def finish_revert_migration(self, context: Any, instance: Any) -> None:
        old = self._directory(instance, '_resize')
        new = self._directory(instance)
        if old.exists():
            with self._host.steps.changes('rename directory'):
                shutil.rmtree(new, ignore_errors=True)
                old.rename(new)
        self._start(context, instance)

    def confirm_migration(
        self, context: Any, migration: Any, instance: Any, network_info: Any
    ) -> None:
        old = self._directory(instance, '_resize')
        if old.exists():
            with self._host.steps.changes('remove directory'):
                shutil.rmtree(old)
        domain = self._find(instance)
        if domain is not None and instance.host != self._host.name:
            domain.undefine()

    def pre_live_migration(self, context: Any, instance: Any) -> None:
        if not self.is_shared:
            self._make_disk(instance)
        for info in instance.volumes:
            self._connect_volume(context, info, instance)

    def live_migration(
        self,
        context: Any,
        instance: Any,
        dest: str,
        post_method: Any,
        recover_method: Any,
        block_migration: bool,
        migrate_data: Any,
    ) -> None:
        guest = self._find(instance)
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
        except nova_exception.MigrationError:
            recover_method(context, instance, dest)
            return
        post_method(context, instance, dest)

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
        guest.migrate(destination_xml=guest.xml())

    def post_live_migration_at_source(
        self, context: Any, instance: Any, network_info: Any
    ) -> None:
        pass

    def rollback_live_migration_at_destination(
        self, context: Any, instance: Any
    ) -> None:
        self.destroy(context, instance, destroy_disks=not self.is_shared)

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
