# SPDX-License-Identifier: Apache-2.0
"""Two hosts, and what Nova's manager does around its driver.

After ``nova.compute.manager`` and ``nova.compute.api``: which state an
instance is in during each call, and what nova-compute does about it when
it starts again.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import nova.conf
from nova import exception as nova_exception

from svirt_nova.allocator import base
from svirt_nova.lifecycle import reaper
from svirt_nova.lifecycle import rules
from svirt_nova.virt import driver as svirt_driver
from tests.functional.nova import hypervisor

CONF = nova.conf.CONF
VICTIM = '11111111-1111-4111-8111-111111111111'
NEIGHBOUR = '22222222-2222-4222-8222-222222222222'


class Cloud:
    """A cloud on a directory.

    :param root: where its databases, hosts and volumes are
    :param allocator: what its hosts get their levels from
    :param is_shared: whether its hosts share the instances' directories
    :param files: the labels of files
    :param steps: what happens to the processes
    """

    def __init__(
        self,
        root: pathlib.Path,
        allocator: base.Allocator,
        is_shared: bool,
        files: hypervisor.Files,
        steps: hypervisor.Steps,
    ) -> None:
        self.root = root
        self.is_shared = is_shared
        self.steps = steps
        self._files = files
        self.allocator = allocator
        self.drivers: dict[str, Any] = {}
        (root / 'nova').mkdir(exist_ok=True)
        (root / 'volumes').mkdir(exist_ok=True)
        files.steps = steps
        self.hosts = {
            name: hypervisor.Hypervisor(
                name,
                root / name / 'libvirt',
                root / ('shared' if is_shared else name) / 'instances',
            )
            for name in ('A', 'B')
        }
        for host in self.hosts.values():
            host.steps = steps

    @property
    def volume_info(self) -> dict[str, Any]:
        return self._volume('volume-1')

    @property
    def other_volume_info(self) -> dict[str, Any]:
        return self._volume('volume-2')

    def _volume(self, name: str) -> dict[str, Any]:
        path = self.root / 'volumes' / name
        if not path.exists():
            path.touch()
        return {
            'driver_volume_type': 'nfs',
            'data': {'device_path': str(path)},
        }

    # Nova's database

    def save(self, instance: Any, **changes: Any) -> None:
        vars(instance).update(changes)
        with self.steps.changes('nova save'):
            hypervisor.write(
                self.root / 'nova' / instance.uuid, json.dumps(vars(instance))
            )

    @contextlib.contextmanager
    def _task(self, state: str, **afterwards: Any) -> Iterator[Any]:
        """Work on the instance, under a task state.

        :param afterwards: what is so once the work has succeeded
        """
        instance = self.load(VICTIM)
        self.save(instance, task_state=state)
        yield instance
        self.save(instance, task_state=None, **afterwards)

    def load(self, uuid: str) -> Any:
        text = (self.root / 'nova' / uuid).read_text()
        return SimpleNamespace(**json.loads(text))

    def instances(self) -> list[Any]:
        return [
            self.load(path.name)
            for path in sorted((self.root / 'nova').iterdir())
        ]

    def get_by_uuid(self, uuid: str) -> Any:
        try:
            return self.load(uuid)
        except FileNotFoundError:
            raise nova_exception.InstanceNotFound(instance_id=uuid) from None

    # What the reaper asks

    def check(self) -> None:
        pass

    def exists(self, uuid: str) -> bool:
        try:
            return not self.load(uuid).deleted
        except FileNotFoundError:
            return False

    # Processes

    def on(self, name: str) -> Any:
        """The driver on a host, from then on the one that works."""
        CONF.set_override('instances_path', str(self.hosts[name].instances))
        CONF.set_override('host', name)
        if name not in self.drivers:
            driver = svirt_driver.SvirtLibvirtDriver(None)
            driver._host = self.hosts[name]
            driver.is_shared = self.is_shared
            driver.init_host(name)
            self.drivers[name] = driver
        return self.drivers[name]

    def restart(self, name: str) -> None:
        """Start nova-compute after it died (ComputeManager.init_host)."""
        self.drivers.pop(name, None)
        driver = self.on(name)
        for instance in self.instances():
            if name in instance.evacuated_from:
                if any(
                    domain.uuid == instance.uuid
                    for domain in self.hosts[name].domains()
                ):
                    driver.destroy(
                        None, instance, destroy_disks=not self.is_shared
                    )
                self.save(instance, evacuated_from=[])
            elif instance.host == name and not instance.deleted:
                self._init_instance(driver, instance)
        self.reconcile(name)

    def _init_instance(self, driver: Any, instance: Any) -> None:
        task = instance.task_state
        if instance.vm_state == 'deleted':
            self.save(instance, deleted=True)
        elif instance.vm_state == 'building' or task == 'spawning':
            self.save(instance, vm_state='error', task_state=None)
        elif task == 'deleting':
            self.finish_deletion(driver, instance)
        elif task == 'reboot_started_hard':
            domain = driver._find(instance)
            if domain is None or not domain.is_running:
                driver._hard_reboot(None, instance, None, None)
            self.save(instance, task_state=None)
        elif task == 'resize_migrating':
            driver.finish_revert_migration(None, instance)
            self.save(instance, task_state=None)
        elif task == 'migrating':
            self.save(instance, task_state=None, failed_to='B')

    def clean(self, name: str) -> None:
        """The periodic tasks that clean up after deleted instances."""
        driver = self.on(name)
        for instance in self.instances():
            if not instance.deleted:
                continue
            # _cleanup_running_deleted_instances
            if driver._find(instance) is not None:
                driver.destroy(None, instance)
            # _run_pending_deletes and _cleanup_incomplete_migrations
            if name in (instance.host, instance.failed_to):
                driver.delete_instance_files(instance)

    def reconcile(self, name: str) -> None:
        """As nova-compute does, with the grace time over."""
        reconciler = self.on(name)._extension.reconciler
        reconciler._stale = rules.StaleClaims(0)
        reconciler.reconcile()

    def reap(self) -> None:
        reaper.retire(
            self.allocator,
            reaper.find(
                self.allocator, self, interval=0, sleep=lambda seconds: None
            ),
        )

    def leftovers(self) -> dict[str, list[pathlib.Path]]:
        """The directories of all instances, by instance."""
        found: dict[str, list[pathlib.Path]] = {}
        for instances in {host.instances for host in self.hosts.values()}:
            for path in instances.iterdir():
                uuid = path.name.partition('_')[0]
                found.setdefault(uuid, []).append(path)
        return found

    def remove_leftovers(self) -> None:
        """What an operator does about those of deleted instances."""
        for uuid, paths in self.leftovers().items():
            if not self.exists(uuid):
                for path in paths:
                    shutil.rmtree(path)

    # Operations

    def new(self, uuid: str, volumes: int = 0) -> Any:
        """The record of an instance that A is about to build."""
        instance = SimpleNamespace(
            uuid=uuid,
            project_id='project',
            host='A',
            deleted=False,
            vm_state='building',
            task_state='spawning',
            system_metadata={},
            volumes=[self.volume_info] * volumes,
            evacuated_from=[],
            failed_to=None,
        )
        self.save(instance)
        return instance

    def boot(self, uuid: str = VICTIM, volumes: int = 0) -> None:
        instance = self.new(uuid, volumes)
        self.on('A').spawn(None, instance)
        self.save(instance, vm_state='active', task_state=None)

    def boot_with_volume(self) -> None:
        self.boot(volumes=1)

    def delete(self) -> None:
        instance = self.load(VICTIM)
        if instance.host is None:
            self.save(instance, deleted=True, vm_state='deleted')
            return
        if instance.vm_state == 'resized':
            self.save(instance, task_state='deleting')
            self.on('A').confirm_migration(None, None, instance, None)
        self.save(instance, task_state='deleting')
        self.finish_deletion(self.on(instance.host), instance)

    def finish_deletion(self, driver: Any, instance: Any) -> None:
        driver.destroy(None, instance)
        self.save(instance, vm_state='deleted', task_state=None)
        self.save(instance, deleted=True)

    def delete_unseen(self) -> None:
        """The API deletes an instance whose host is down."""
        instance = self.load(VICTIM)
        self.save(instance, vm_state='deleted', deleted=True)

    def return_and_clean(self) -> None:
        self.clean('A')

    def reboot(self) -> None:
        with self._task('reboot_started_hard') as instance:
            self.on('A')._hard_reboot(None, instance, None, None)

    def rebuild(self) -> None:
        with self._task('rebuilding') as instance:
            self.on('A').destroy(None, instance)
            self.save(instance, task_state='rebuild_spawning')
            self.on('A').spawn(None, instance)

    def migrate(self) -> None:
        with self._task('resize_migrating', vm_state='resized') as instance:
            self.on('A').migrate_disk_and_power_off(None, instance)
            self.save(instance, task_state='resize_finish', host='B')
            self.on('B').finish_migration(None, None, instance)

    def confirm(self) -> None:
        instance = self.load(VICTIM)
        self.on('A').confirm_migration(None, None, instance, None)
        self.save(instance, vm_state='active')

    def revert(self) -> None:
        with self._task('resize_reverting', vm_state='active') as instance:
            self.on('B').destroy(
                None, instance, destroy_disks=not self.is_shared
            )
            self.save(instance, host='A')
            self.on('A').finish_revert_migration(None, instance)

    def resize_into_cell(self) -> None:
        """To B, in another cell: by a snapshot, with two records."""
        with self._task(
            'resize_migrating', vm_state='resized_into_cell'
        ) as instance:
            self.on('A').destroy(None, instance, destroy_disks=False)
            self.save(instance, task_state='resize_finish', host='B')
            self.on('B').spawn(None, instance)

    def confirm_into_cell(self) -> None:
        instance = self.load(VICTIM)
        self.on('A').cleanup(None, instance, None)
        self.save(instance, vm_state='active')

    def stop(self) -> None:
        with self._task('powering-off', vm_state='stopped') as instance:
            self.on('A')._power_off(instance)

    def start(self) -> None:
        with self._task('powering-on', vm_state='active') as instance:
            self.on('A')._hard_reboot(None, instance, None, None)

    def rescue(self) -> None:
        with self._task('rescuing', vm_state='rescued') as instance:
            driver = self.on('A')
            driver._power_off(instance)
            driver._start(None, instance, rescue=True)

    def unrescue(self) -> None:
        with self._task('unrescuing', vm_state='active') as instance:
            driver = self.on('A')
            driver._power_off(instance)
            driver._start(None, instance)
            driver._remove_rescue_disk(instance)

    def reboot_softly(self) -> None:
        with self._task('reboot_started') as instance:
            self.on('A')._soft_reboot(instance)

    def suspend(self) -> None:
        with self._task('suspending', vm_state='suspended') as instance:
            self.on('A').suspend(None, instance)

    def resume(self) -> None:
        with self._task('resuming', vm_state='active') as instance:
            self.on('A').resume(None, instance, None)

    def snapshot(self) -> None:
        """A cold one, for which a running guest is suspended."""
        with self._task('image_snapshot') as instance:
            self.on('A').snapshot(None, instance)

    def resize_in_place(self) -> None:
        with self._task('resize_migrating', vm_state='resized') as instance:
            self.on('A').migrate_disk_and_power_off(None, instance)
            self.save(instance, task_state='resize_finish')
            self.on('A').finish_migration(None, None, instance)

    def revert_in_place(self) -> None:
        with self._task('resize_reverting', vm_state='active') as instance:
            self.on('A').destroy(None, instance, destroy_disks=False)
            self.on('A').finish_revert_migration(None, instance)

    def fail_to_boot(self) -> None:
        """The build fails late on A and is done again on B."""
        instance = self.new(VICTIM)
        self.on('A').spawn(None, instance)
        # Such as a network that does not come up.
        self.on('A').destroy(None, instance)
        self.save(instance, host='B')
        self.on('B').spawn(None, instance)
        self.save(instance, vm_state='active', task_state=None)

    def swap(self) -> None:
        instance = self.load(VICTIM)
        driver = self.on('A')
        driver._connect_volume(None, self.other_volume_info, instance)
        driver._disconnect_volume(None, self.volume_info, instance)
        self.save(instance, volumes=[self.other_volume_info])

    def delete_softly(self) -> None:
        instance = self.load(VICTIM)
        self.save(instance, task_state='soft-deleting')
        self.on('A')._power_off(instance)
        self.save(instance, task_state=None, vm_state='soft-delete')

    def restore(self) -> None:
        with self._task('restoring', vm_state='active') as instance:
            self.on('A')._hard_reboot(None, instance, None, None)

    def offload(self) -> None:
        instance = self.load(VICTIM)
        self.save(
            instance, task_state='shelving_offloading', vm_state='shelved'
        )
        self.on('A').destroy(None, instance)
        self.save(
            instance, task_state=None, vm_state='shelved_offloaded', host=None
        )

    def unshelve(self) -> None:
        instance = self.load(VICTIM)
        self.save(instance, task_state='spawning', host='B')
        self.on('B').spawn(None, instance)
        self.save(instance, task_state=None, vm_state='active')

    def evacuate(self) -> None:
        instance = self.load(VICTIM)
        if instance.host == 'B':
            return
        self.save(
            instance, task_state='rebuild_spawning', evacuated_from=['A']
        )
        self.on('B').spawn(None, instance)
        self.save(instance, task_state=None, host='B')

    def source_returns(self) -> None:
        self.restart('A')

    def migrate_live(self) -> None:
        self.hosts['A'].peer = self.hosts['B']
        self._migrate_live()

    def fail_to_migrate_live(self) -> None:
        self.hosts['A'].peer = None
        self._migrate_live()

    def _migrate_live(self) -> None:
        instance = self.load(VICTIM)
        self.save(instance, task_state='migrating')
        self.on('B').pre_live_migration(None, instance)
        self.on('A').live_migration(
            None, instance, 'B', self._arrived, self._rolled_back
        )

    def _arrived(self, context: Any, instance: Any, dest: str) -> None:
        source = self.on('A')
        source.post_live_migration_at_source(None, instance, None)
        if not self.is_shared:
            source.cleanup(None, instance, None)
        self.on('B')
        self.save(instance, task_state=None, host='B')

    def _rolled_back(
        self, context: Any, instance: Any, dest: str, **kwargs: Any
    ) -> None:
        if not self.is_shared:
            self.on('B').rollback_live_migration_at_destination(None, instance)
        self.on('A')
        self.save(instance, task_state=None, failed_to='B')

    def attach(self) -> None:
        instance = self.load(VICTIM)
        self.on('A')._connect_volume(None, self.volume_info, instance)
        self.save(instance, volumes=[self.volume_info])

    def detach(self) -> None:
        instance = self.load(VICTIM)
        self.on('A')._disconnect_volume(None, self.volume_info, instance)
        self.save(instance, volumes=[])
