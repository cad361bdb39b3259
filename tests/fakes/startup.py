# SPDX-License-Identifier: Apache-2.0
"""What nova-compute does when it starts, and from time to time."""

from __future__ import annotations

import contextlib

from nova.compute import power_state

from tests.fakes import compute
from tests.fakes import compute_moves
from tests.fakes import database
from tests.fakes import processes as fake_processes

Instance = database.Instance

_BUILDING = ('scheduling', 'networking', 'spawning')
_REBUILDING = ('rebuilding', 'rebuild_spawning')
_REBOOTING = ('reboot_started', 'reboot_started_hard')
_EVACUATED = ('accepted', 'pre-migrating', 'done')


class Compute(compute.Guests, compute_moves.Moves):
    """nova-compute on one host."""

    def init_host(self) -> None:
        """Take up what the last process has left (ComputeManager)."""
        self._destroy_evacuated()
        for instance in self._cloud.database.instances():
            if instance.host == self.name and not instance.deleted:
                with contextlib.suppress(*fake_processes.FAILURES):
                    self._init_instance(instance)
        self.update_available_resource()

    def _destroy_evacuated(self) -> None:
        local = self._cloud.hosts[self.name].uuids()
        for migration in self._cloud.database.migrations(
            source_compute=self.name, migration_type='evacuation'
        ):
            if migration.status not in _EVACUATED:
                continue
            instance = self._cloud.database.load(migration.instance_uuid)
            if instance.is_archived:
                continue
            if instance.uuid in local:
                with contextlib.suppress(*fake_processes.FAILURES):
                    self.driver.destroy(
                        None,
                        instance,
                        None,
                        self._volumes(instance),
                        instance.deleted or not self._cloud.is_shared,
                    )
            self._cloud.database.set_status(migration, 'completed')

    def _init_instance(self, instance: Instance) -> None:
        task = instance.task_state
        if instance.vm_state == 'soft-delete' or (
            instance.vm_state == 'error'
            and task not in ('resize_migrating', 'deleting')
        ):
            return
        if instance.vm_state == 'deleted':
            instance.destroy()
        elif (
            instance.vm_state == 'building'
            or task in _BUILDING
            or task in _REBUILDING
        ):
            self._save(instance, vm_state='error', task_state=None)
        elif task == 'image_snapshot':
            self._save(instance, task_state=None)
        elif task == 'deleting':
            self.delete(instance)
        elif task in _REBOOTING:
            # One that is paused was not let go on.
            if self._state(instance) != power_state.RUNNING:
                self.reboot(instance, 'HARD')
            else:
                self._save(instance, vm_state='active', task_state=None)
        elif task == 'powering-off':
            self.stop(instance)
        elif task == 'powering-on':
            self.start(instance)
        elif task == 'resize_migrating':
            try:
                self.driver.finish_revert_migration(
                    None, instance, None, None, self._volumes(instance)
                )
            finally:
                self._save(instance, task_state=None)
        elif task == 'migrating':
            self._reset_live_migration(instance)

    def _state(self, instance: Instance) -> int:
        record = self._cloud.hosts[self.name].record(instance.uuid)
        if record is None:
            return int(power_state.NOSTATE)
        if record.live is None:
            return int(power_state.SHUTDOWN)
        return int(
            power_state.PAUSED if record.is_paused else power_state.RUNNING
        )

    def _reset_live_migration(self, instance: Instance) -> None:
        for migration in self._cloud.database.migrations(
            instance_uuid=instance.uuid, status='running'
        ):
            self._cloud.database.set_status(migration, 'error')
        instance.task_state = None
        instance.save(expected_task_state=['migrating'])

    # From time to time

    def update_available_resource(self) -> None:
        """Report the host's resources; the driver reconciles there."""
        self.driver.get_available_resource(self.name)

    def clean(self) -> None:
        """Clean up after instances that were deleted."""
        for instance in self._cloud.database.instances():
            if instance.deleted and not instance.is_archived:
                instance.reads_deleted = True
                with contextlib.suppress(*fake_processes.FAILURES):
                    self._clean(instance)

    def _clean(self, instance: Instance) -> None:
        # _cleanup_running_deleted_instances
        if self._cloud.hosts[self.name].record(instance.uuid) is not None:
            self.driver.destroy(None, instance, None, self._volumes(instance))
        # _run_pending_deletes
        if instance.host == self.name and not instance.cleaned:
            instance.cleaned = self.driver.delete_instance_files(instance)
            instance.save()
        # _cleanup_incomplete_migrations
        for migration in self._cloud.database.migrations(
            instance_uuid=instance.uuid, status='error'
        ):
            if instance.host != self.name and self.name in (
                migration.source_compute,
                migration.dest_compute,
            ):
                self.driver.delete_instance_files(instance)
                self._cloud.database.set_status(migration, 'failed')

    def reclaim(self) -> None:
        """Delete what was softly deleted long ago."""
        for instance in self._cloud.database.instances():
            if (
                instance.host == self.name
                and instance.vm_state == 'soft-delete'
                and instance.task_state is None
            ):
                with contextlib.suppress(*fake_processes.FAILURES):
                    self.delete(instance)
