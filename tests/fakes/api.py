# SPDX-License-Identifier: Apache-2.0
"""What users and operators ask Nova for.

After ``nova.compute.api`` and ``nova.conductor.manager``: what is noted of an
instance before its host is told.
"""

from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

import oslo_messaging
from nova import exception as nova_exception

from tests.fakes import database

if TYPE_CHECKING:
    from tests.fakes import cloud as fake_cloud


def _host_of(instance: database.Instance) -> str:
    """The host that must be told.

    :raises nova.exception.InstanceNotReady: it has been given up meanwhile
    """
    if instance.host is None:
        raise nova_exception.InstanceNotReady(instance_id=instance.uuid)
    return instance.host


class Api:
    """Nova's API and conductor.

    Each method does one thing to one instance, and ends when the hosts have
    been told.
    """

    def __init__(self, cloud: fake_cloud.Cloud) -> None:
        self._cloud = cloud
        self._database = cloud.database

    def _note(self, uuid: str, task: str | None) -> database.Instance:
        """Note what is going to be done to an instance."""
        instance = self._database.load(uuid)
        instance.task_state = task
        instance.save()
        return instance

    def _have(
        self, method: str, uuid: str, task: str | None, *args: Any
    ) -> None:
        """Have an instance's host do something."""
        instance = self._note(uuid, task)
        self._cloud.cast(_host_of(instance), method, instance.copy(), *args)

    # It comes, and goes

    def boot(
        self, uuid: str, hosts: tuple[str, ...], volumes: int = 0
    ) -> None:
        """Build an instance, on the first of some hosts that can."""
        instance = self._database.create(uuid, None)
        for number in range(volumes):
            volume = self._prepare_volume(uuid, number)
            # As a host does before it builds (_prep_block_device).
            self._database.connect(volume, self._cloud.connection(volume))
        for host in hosts:
            try:
                if self._cloud.call(host, 'build', instance.copy()):
                    return
            except oslo_messaging.MessagingException:
                # Nobody waits for a host that builds.
                return
        instance.refresh()
        instance.vm_state, instance.task_state = 'error', None
        instance.save()

    def _prepare_volume(self, uuid: str, number: int = 0) -> str:
        volume = self._cloud.new_volume()
        device = f'vd{chr(ord("b") + number)}'
        self._database.attach(volume, uuid, device)
        return volume

    def delete(self, uuid: str) -> None:
        instance = self._database.load(uuid)
        if instance.host is None:
            instance.destroy()
            return
        instance.task_state, instance.queued_for_delete = 'deleting', True
        instance.save()
        if instance.vm_state == 'resized':
            # The record is noted as not being worked on by that.
            self._confirm(instance)
        if not self._cloud.is_up(instance.host):
            instance.destroy()
            return
        self._cloud.cast(instance.host, 'terminate', instance.copy())

    def delete_softly(self, uuid: str) -> None:
        self._have('delete_softly', uuid, 'soft-deleting')

    def restore(self, uuid: str) -> None:
        self._have('restore', uuid, 'restoring')

    def offload(self, uuid: str) -> None:
        self._have('offload', uuid, 'shelving')

    def unshelve(self, uuid: str, host: str) -> None:
        instance = self._note(uuid, 'unshelving')
        self._cloud.cast(host, 'unshelve', instance.copy())

    # It stays where it is

    def reboot(self, uuid: str, kind: str) -> None:
        self._have('reboot', uuid, 'rebooting', kind)

    def stop(self, uuid: str) -> None:
        self._have('stop', uuid, 'powering-off')

    def start(self, uuid: str) -> None:
        self._have('start', uuid, 'powering-on')

    def pause(self, uuid: str) -> None:
        self._have('pause', uuid, 'pausing')

    def unpause(self, uuid: str) -> None:
        self._have('unpause', uuid, 'unpausing')

    def suspend(self, uuid: str) -> None:
        self._have('suspend', uuid, 'suspending')

    def resume(self, uuid: str) -> None:
        self._have('resume', uuid, 'resuming')

    def rescue(self, uuid: str) -> None:
        self._have('rescue', uuid, 'rescuing')

    def unrescue(self, uuid: str) -> None:
        self._have('unrescue', uuid, 'unrescuing')

    def snapshot(self, uuid: str) -> None:
        self._have('snapshot', uuid, 'image_snapshot')

    def rebuild(self, uuid: str) -> None:
        self._have('rebuild', uuid, 'rebuilding')

    # It moves

    def _migration(
        self, instance: database.Instance, dest: str, kind: str, **more: Any
    ) -> Any:
        return self._database.migrate(
            instance.uuid,
            migration_type=kind,
            source_compute=_host_of(instance),
            dest_compute=dest,
            status='accepted',
            is_cross_cell=False,
            **more,
        )

    def _unconfirmed(self, uuid: str) -> Any:
        found = self._database.migrations(
            instance_uuid=uuid, status='finished'
        )
        return found[0] if found else None

    def migrate(self, uuid: str, dest: str) -> None:
        """A cold migration; to the host where it is, a resize."""
        instance = self._note(uuid, 'resize_prep')
        migration = self._migration(instance, dest, 'migration')
        self._cloud.cast(
            _host_of(instance), 'resize', instance.copy(), migration
        )

    def confirm(self, uuid: str) -> None:
        self._confirm(self._database.load(uuid))

    def _confirm(self, instance: database.Instance) -> None:
        migration = self._unconfirmed(instance.uuid)
        if migration is None:
            # It may have been confirmed meanwhile.
            return
        method = 'confirm'
        if migration.is_cross_cell:
            method = 'confirm_into_cell'
        self._cloud.call(
            migration.source_compute, method, instance.copy(), migration
        )

    def revert(self, uuid: str) -> None:
        instance = self._note(uuid, 'resize_reverting')
        migration = self._unconfirmed(uuid)
        if migration is None:
            raise nova_exception.MigrationNotFoundByStatus(
                instance_id=uuid, status='finished'
            )
        method = 'revert'
        if migration.is_cross_cell:
            method = 'revert_from_cell'
        self._cloud.cast(
            migration.dest_compute, method, instance.copy(), migration
        )

    def resize_into_cell(self, uuid: str, dest: str) -> None:
        instance = self._note(uuid, 'resize_prep')
        source = _host_of(instance)
        migration = self._migration(instance, dest, 'migration')
        migration.is_cross_cell = True
        self._database.set_status(migration, 'migrating')
        self._cloud.call(
            source, 'resize_into_cell', instance.copy(), migration
        )
        instance.refresh()
        self._cloud.call(dest, 'finish_in_cell', instance.copy(), migration)

    def migrate_live(self, uuid: str, dest: str) -> None:
        instance = self._note(uuid, 'migrating')
        migration = self._migration(instance, dest, 'live-migration')
        self._cloud.cast(
            _host_of(instance), 'live_migrate', instance.copy(), migration
        )

    def evacuate(self, uuid: str, dest: str) -> None:
        """From a host that is down."""
        instance = self._note(uuid, 'rebuilding')
        migration = self._migration(instance, dest, 'evacuation')
        self._cloud.cast(dest, 'evacuate', instance.copy(), migration)

    # Volumes

    def attach(self, uuid: str) -> None:
        """Attach a new volume."""
        used = map(self._database.device_of, self._database.volumes_of(uuid))
        number = max((ord(name[-1]) - ord('a') for name in used), default=0)
        volume = self._prepare_volume(uuid, number)
        instance = self._database.load(uuid)
        self._cloud.cast(
            _host_of(instance), 'attach_volume', instance.copy(), volume
        )

    def detach(self, uuid: str, volume: str) -> None:
        instance = self._database.load(uuid)
        self._cloud.cast(
            _host_of(instance), 'detach_volume', instance.copy(), volume
        )

    def swap(self, uuid: str, volume: str) -> None:
        """Put a new volume in the place of one."""
        instance = self._database.load(uuid)
        self._cloud.cast(
            _host_of(instance),
            'swap_volume',
            instance.copy(),
            volume,
            self._cloud.new_volume(),
        )
