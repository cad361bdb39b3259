# SPDX-License-Identifier: Apache-2.0
"""The part of nova-compute by which instances move."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import oslo_messaging
from nova import exception as nova_exception
from nova.objects import migrate_data

from tests.fakes import compute
from tests.fakes import database
from tests.fakes import processes as fake_processes

Instance = database.Instance


class Moves(compute.Base):
    """Moves from and to this host."""

    spawn: Any

    # Resize and cold migration

    def resize(self, instance: Instance, migration: Any) -> None:
        """On the source (resize_instance)."""
        with self._failing(
            instance, migration, vm_state='error', task_state=None
        ):
            self._save(instance, task_state='resize_migrating')
            self.driver.migrate_disk_and_power_off(
                None,
                instance,
                migration.dest_compute,
                None,
                None,
                self._volumes(instance),
            )
            self._cloud.database.set_status(migration, 'post-migrating')
            self._save(
                instance,
                task_state='resize_migrated',
                host=migration.dest_compute,
            )
        self._cloud.cast(
            migration.dest_compute,
            'finish_resize',
            instance.copy(),
            migration,
        )

    def finish_resize(self, instance: Instance, migration: Any) -> None:
        """On the destination."""
        with self._failing(
            instance, migration, vm_state='error', task_state=None
        ):
            self._save(instance, task_state='resize_finish')
            self.driver.finish_migration(
                None,
                migration,
                instance,
                '[]',
                None,
                None,
                True,
                None,
                self._volumes(instance),
            )
            self._cloud.database.set_status(migration, 'finished')
            self._save(instance, vm_state='resized', task_state=None)

    def confirm(self, instance: Instance, migration: Any) -> None:
        """On the source (confirm_resize)."""
        with self.locked(instance.uuid):
            instance = self._cloud.database.load(instance.uuid)
            if instance.deleted:
                return
            with self._failing(instance, vm_state='error', task_state=None):
                self.driver.confirm_migration(None, migration, instance, None)
                self._cloud.database.set_status(migration, 'confirmed')
                instance.vm_state, instance.task_state = 'active', None
                instance.save(expected_task_state=[None, 'deleting'])

    def revert(self, instance: Instance, migration: Any) -> None:
        """On the destination (revert_resize)."""
        with self._failing(instance, vm_state='error', task_state=None):
            is_here = migration.source_compute == self.name
            self.driver.destroy(
                None,
                instance,
                None,
                self._volumes(instance),
                not (self._cloud.is_shared or is_here),
            )
        self._cloud.cast(
            migration.source_compute,
            'finish_revert',
            instance.copy(),
            migration,
        )

    def finish_revert(self, instance: Instance, migration: Any) -> None:
        """On the source (finish_revert_resize)."""
        with self._failing(instance, vm_state='error', task_state=None):
            self._save(instance, host=self.name)
            self.driver.finish_revert_migration(
                None, instance, None, migration, self._volumes(instance)
            )
            self._cloud.database.set_status(migration, 'reverted')
            self._save(instance, vm_state='active', task_state=None)

    # Resize into another cell

    def resize_into_cell(self, instance: Instance, migration: Any) -> None:
        """On the source, whose guest is snapshotted."""
        self._save(instance, task_state='resize_migrating')
        self.driver.power_off(instance)
        self.driver.destroy(
            None, instance, None, self._volumes(instance), False
        )

    def finish_in_cell(self, instance: Instance, migration: Any) -> None:
        """On the destination, whose cell has a record of its own."""
        with self._failing(
            instance, migration, vm_state='error', task_state=None
        ):
            self._save(instance, task_state='resize_finish')
            self.spawn(instance)
            self._cloud.database.set_status(migration, 'finished')
            self._save(
                instance, vm_state='resized', task_state=None, host=self.name
            )

    def confirm_into_cell(self, instance: Instance, migration: Any) -> None:
        """On the source, whose cell loses its record."""
        with self.locked(instance.uuid):
            state = instance.task_state
            instance.task_state = 'resize_migrated'
            # Nova does so on storage that both cells share, too.
            self.driver.cleanup(None, instance, None, self._volumes(instance))
            self._cloud.database.set_status(migration, 'confirmed')
            self._save(
                instance,
                vm_state='active',
                task_state=state,
                unknown_to=[self.name],
            )

    def revert_from_cell(self, instance: Instance, migration: Any) -> None:
        """On the destination, whose cell loses its record."""
        self.driver.destroy(
            None,
            instance,
            None,
            self._volumes(instance),
            not self._cloud.is_shared,
        )
        self._save(instance, unknown_to=[self.name])
        self._cloud.cast(
            migration.source_compute,
            'finish_revert',
            instance.copy(),
            migration,
        )

    # Live migration

    def live_migrate(self, instance: Instance, migration: Any) -> None:
        """On the source (live_migration)."""
        dest = migration.dest_compute
        volumes = self._volumes(instance)
        try:
            self._cloud.call(dest, 'prepare_live', instance.copy(), volumes)
        except fake_processes.FAILURES:
            self._clean_up_destination(instance, dest, volumes)
            self._give_up(instance, migration)
            return
        self._cloud.database.set_status(migration, 'running')
        try:
            self.driver.live_migration(
                None,
                instance,
                dest,
                functools.partial(self._arrived, migration, volumes),
                functools.partial(self._roll_back, migration, volumes),
            )
        except fake_processes.FAILURES:
            self._cloud.database.set_status(migration, 'error')
            instance.refresh()
            self._save(instance, vm_state='error', task_state=None)

    def prepare_live(self, instance: Instance, volumes: Any) -> None:
        """On the destination (pre_live_migration)."""
        self.driver.pre_live_migration(
            None,
            instance,
            volumes,
            None,
            None,
            migrate_data.LibvirtLiveMigrateData(
                is_shared_instance_path=self._cloud.is_shared
            ),
        )

    def _arrived(
        self,
        migration: Any,
        volumes: Any,
        context: Any,
        instance: Instance,
        dest: str,
        *args: Any,
    ) -> None:
        """On the source (_post_live_migration)."""
        try:
            self.driver.post_live_migration(None, instance, volumes)
            self.driver.post_live_migration_at_source(None, instance, None)
            if not self._cloud.is_shared:
                self.driver.cleanup(None, instance, None, None, True)
            self._cloud.call(dest, 'arrive_live', instance.copy())
        except fake_processes.FAILURES:
            if instance.host != dest:
                self._save(instance, host=dest, task_state=None)
            raise
        self._cloud.database.set_status(migration, 'completed')

    def arrive_live(self, instance: Instance) -> None:
        """On the destination (post_live_migration_at_destination)."""
        state = 'active'
        try:
            self.driver.post_live_migration_at_destination(
                None, instance, None, False, self._volumes(instance)
            )
        except Exception:
            state = 'error'
            raise
        finally:
            self._save(
                instance, host=self.name, vm_state=state, task_state=None
            )

    def _roll_back(
        self,
        migration: Any,
        volumes: Any,
        context: Any,
        instance: Instance,
        dest: str,
        **kwargs: Any,
    ) -> None:
        """On the source (_rollback_live_migration)."""
        with contextlib.suppress(
            nova_exception.NovaException, oslo_messaging.MessagingException
        ):
            self._cloud.call(dest, 'remove_volumes', instance.copy(), volumes)
        self._clean_up_destination(instance, dest, volumes)
        self._give_up(instance, migration)

    def _clean_up_destination(
        self, instance: Instance, dest: str, volumes: Any
    ) -> None:
        if not self._cloud.is_shared:
            self._cloud.cast(dest, 'roll_back_live', instance.copy(), volumes)

    def _give_up(self, instance: Instance, migration: Any) -> None:
        self._cloud.database.set_status(migration, 'error')
        self._save(instance, task_state=None)

    def remove_volumes(self, instance: Instance, volumes: Any) -> None:
        """On the destination (remove_volume_connection)."""
        for volume in volumes['block_device_mapping']:
            self.driver.detach_volume(
                None,
                volume['connection_info'],
                instance,
                volume['mount_device'],
            )

    def roll_back_live(self, instance: Instance, volumes: Any) -> None:
        """On the destination (rollback_live_migration_at_destination)."""
        self.driver.rollback_live_migration_at_destination(
            None, instance, None, volumes, not self._cloud.is_shared
        )

    # Evacuation

    def evacuate(self, instance: Instance, migration: Any) -> None:
        """To here, from a host that is down (rebuild_instance)."""
        with self._failing(
            instance, migration, 'failed', vm_state='error', task_state=None
        ):
            self._cloud.database.set_status(migration, 'pre-migrating')
            self._save(instance, task_state='rebuild_spawning')
            self.spawn(instance)
            self._save(
                instance, vm_state='active', task_state=None, host=self.name
            )
            self._cloud.database.set_status(migration, 'done')
