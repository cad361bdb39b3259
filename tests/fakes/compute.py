# SPDX-License-Identifier: Apache-2.0
"""nova-compute on one host.

After ``nova.compute.manager``: in which state an instance is at each call of
the driver, and what becomes of it when the call fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from typing import TYPE_CHECKING

from nova import exception as nova_exception
from nova.objects import image_meta

from tests.fakes import database
from tests.fakes import processes as fake_processes

if TYPE_CHECKING:
    from tests.fakes import cloud as fake_cloud

Instance = database.Instance


class Base:
    """What all parts of nova-compute need.

    :param cloud: the cloud that it is a part of
    :param name: its host
    :param driver: the driver of the host
    """

    def __init__(
        self, cloud: fake_cloud.Cloud, name: str, driver: Any
    ) -> None:
        self._cloud = cloud
        self.name = name
        self.driver = driver
        self._locked: set[str] = set()

    @contextlib.contextmanager
    def locked(self, uuid: str, blocking: bool = True) -> Iterator[None]:
        """Hold the lock of an instance, as ``nova.utils.synchronized``.

        :raises BlockingIOError: somebody else holds it
        """
        if uuid in self._locked:
            if not blocking:
                raise BlockingIOError(uuid)
            self._cloud.processes.wait(lambda: uuid not in self._locked)
        self._locked.add(uuid)
        try:
            yield
        finally:
            self._locked.discard(uuid)

    @contextlib.contextmanager
    def _failing(
        self,
        instance: Instance,
        migration: Any = None,
        status: str = 'error',
        **changes: Any,
    ) -> Iterator[None]:
        """Say what becomes of an instance if what is done to it fails.

        :param status: that of the migration
        """
        try:
            yield
        except fake_processes.FAILURES:
            if migration is not None:
                self._cloud.database.set_status(migration, status)
            with contextlib.suppress(nova_exception.InstanceNotFound):
                self._save(instance, **changes)
            raise

    @staticmethod
    def _save(instance: Instance, **changes: Any) -> None:
        vars(instance).update(changes)
        instance.save()

    def _volumes(self, instance: Instance) -> dict[str, Any]:
        return self._cloud.block_device_info(instance.uuid)


class Guests(Base):
    """What is done to an instance on the host where it is."""

    def build(self, instance: Instance) -> bool:
        """Build an instance (build_and_run_instance).

        :returns: whether it runs; otherwise the host has cleaned up
        """
        with self.locked(instance.uuid):
            self._save(instance, host=self.name, task_state='spawning')
            try:
                self.spawn(instance)
            except fake_processes.FAILURES:
                # _shutdown_instance
                self.driver.destroy(
                    None, instance, None, self._volumes(instance)
                )
                self._save(instance, host=None)
                return False
            self._save(instance, vm_state='active', task_state=None)
            return True

    def spawn(self, instance: Instance) -> None:
        self.driver.spawn(
            None,
            instance,
            None,
            [],
            None,
            None,
            block_device_info=self._volumes(instance),
        )

    def terminate(self, instance: Instance) -> None:
        """Delete an instance that is in the state deleting."""
        with (
            self.locked(instance.uuid),
            self._failing(instance, vm_state='error', task_state=None),
        ):
            self.delete(instance)

    def delete(self, instance: Instance) -> None:
        self.driver.destroy(None, instance, None, self._volumes(instance))
        self._save(instance, vm_state='deleted', task_state=None)
        instance.destroy()

    def reboot(self, instance: Instance, kind: str) -> None:
        state = 'reboot_started'
        if kind == 'HARD':
            state = 'reboot_started_hard'
        self._save(instance, task_state=state)
        try:
            self.driver.reboot(
                None, instance, None, kind, self._volumes(instance)
            )
        except fake_processes.FAILURES:
            record = self._cloud.hosts[self.name].record(instance.uuid)
            if record is None or record.live is None or record.is_paused:
                instance.vm_state = 'error'
        self._save(instance, task_state=None)

    def stop(self, instance: Instance) -> None:
        with self.locked(instance.uuid):
            self.driver.power_off(instance)
            self._save(instance, vm_state='stopped', task_state=None)

    def start(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self._power_on(instance)
            self._save(instance, vm_state='active', task_state=None)

    def _power_on(self, instance: Instance) -> None:
        self.driver.power_on(None, instance, None, self._volumes(instance))

    def pause(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self.driver.pause(instance)
            self._save(instance, vm_state='paused', task_state=None)

    def unpause(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self.driver.unpause(instance)
            self._save(instance, vm_state='active', task_state=None)

    def suspend(self, instance: Instance) -> None:
        with self._failing(instance, vm_state='active', task_state=None):
            self.driver.suspend(None, instance)
            self._save(instance, vm_state='suspended', task_state=None)

    def resume(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self.driver.resume(None, instance, None, self._volumes(instance))
            self._save(instance, vm_state='active', task_state=None)

    def rescue(self, instance: Instance) -> None:
        with self._failing(instance, vm_state='error', task_state=None):
            self.driver.power_off(instance)
            self.driver.rescue(
                None,
                instance,
                None,
                image_meta.ImageMeta(id=database.IMAGE),
                None,
                self._volumes(instance),
                None,
            )
            self._save(instance, vm_state='rescued', task_state=None)

    def unrescue(self, instance: Instance) -> None:
        with self._failing(instance, vm_state='error', task_state=None):
            self.driver.unrescue(None, instance)
            self._save(instance, vm_state='active', task_state=None)

    def snapshot(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self.driver.snapshot(None, instance, None, None)
            self._save(instance, task_state=None)

    def rebuild(self, instance: Instance) -> None:
        with self._failing(instance, vm_state='error', task_state=None):
            self.driver.power_off(instance)
            self.driver.destroy(None, instance, None, self._volumes(instance))
            self._save(instance, task_state='rebuild_spawning')
            self.spawn(instance)
            self._save(instance, vm_state='active', task_state=None)

    def delete_softly(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self.driver.power_off(instance)
            self._save(instance, vm_state='soft-delete', task_state=None)

    def restore(self, instance: Instance) -> None:
        with self._failing(instance, task_state=None):
            self._power_on(instance)
            self._save(instance, vm_state='active', task_state=None)

    def offload(self, instance: Instance) -> None:
        """Shelve an instance, and take it from the host."""
        with self.locked(instance.uuid):
            self.driver.power_off(instance)
            self._save(
                instance, vm_state='shelved', task_state='shelving_offloading'
            )
            self.driver.destroy(None, instance, None, self._volumes(instance))
            self._save(
                instance,
                vm_state='shelved_offloaded',
                task_state=None,
                host=None,
            )

    def unshelve(self, instance: Instance) -> None:
        with (
            self.locked(instance.uuid),
            self._failing(instance, host=None, task_state=None),
        ):
            self._save(instance, host=self.name, task_state='spawning')
            self.spawn(instance)
            self._save(instance, vm_state='active', task_state=None)

    # Volumes

    def attach_volume(self, instance: Instance, volume: str) -> None:
        try:
            self.driver.attach_volume(
                None,
                self._cloud.connection(volume),
                instance,
                self._cloud.database.device_of(volume),
            )
        except fake_processes.FAILURES:
            self._cloud.database.detach(volume)
            raise
        self._cloud.database.connect(volume, self._cloud.connection(volume))

    def detach_volume(self, instance: Instance, volume: str) -> None:
        self.driver.detach_volume(
            None,
            self._cloud.connection(volume),
            instance,
            self._cloud.database.device_of(volume),
        )
        self._cloud.database.detach(volume)

    def swap_volume(self, instance: Instance, old: str, new: str) -> None:
        """Move a guest from one volume to another, which cinder has made."""
        self.driver.swap_volume(
            None,
            self._cloud.connection(old),
            self._cloud.connection(new),
            instance,
            self._cloud.database.device_of(old),
            0,
        )
        self._cloud.database.swap(old, new, self._cloud.connection(new))
