# SPDX-License-Identifier: Apache-2.0
"""A cloud: hosts, Nova, an allocator, and what operators do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.lifecycle import reaper
from svirt_nova.lifecycle import rules
from svirt_nova.virt import driver as svirt_driver
from tests.fakes import allocators
from tests.fakes import api
from tests.fakes import database
from tests.fakes import files as fake_files
from tests.fakes import libvirt
from tests.fakes import processes as fake_processes
from tests.fakes import startup
from tests.fakes import steps as fake_steps
from tests.fakes import storage as fake_storage

VOLUMES = '/volumes/hash'


class Cloud:
    """A cloud, as its processes find it when they start.

    :param storage: what there is of it
    :param allocator: what its hosts get their levels from
    :param processes: how they work
    :param steps: what may befall them
    :param hosts: their names
    :param is_shared: whether they share the directories of instances
    :ivar now: the clock of all hosts, in seconds
    """

    def __init__(
        self,
        storage: fake_storage.Storage,
        allocator: base.Allocator,
        processes: fake_processes.Processes,
        steps: fake_steps.Steps,
        hosts: Sequence[str] = ('A', 'B'),
        is_shared: bool = False,
    ) -> None:
        self.storage = storage
        self.allocator = allocator
        self.processes = processes
        self.steps = steps
        self.is_shared = is_shared
        self.now = 1000.0
        self.faults = allocators.Faults()
        self.files = fake_files.Files(storage, steps)
        self.database = database.Database(storage, steps)
        self.api = api.Api(self)
        self.computes: dict[str, startup.Compute] = {}
        storage.make_directory(VOLUMES)
        self.hosts = {
            name: libvirt.Libvirt(
                name,
                storage,
                self.files,
                steps,
                f'/{"shared" if is_shared else name}/instances',
            )
            for name in hosts
        }
        for name, host in self.hosts.items():
            host.peers = {k: v for k, v in self.hosts.items() if k != name}
            processes.instances[name] = host.instances

    # Volumes

    def new_volume(self) -> str:
        """Make a volume; its name."""
        number = len(self.storage.names(VOLUMES))
        name = f'volume-{number:04}'
        self.files.make(f'{VOLUMES}/{name}')
        return name

    @staticmethod
    def connection(volume: str) -> dict[str, Any]:
        """How a host reaches a volume, as Nova's connection_info."""
        return {
            'driver_volume_type': 'nfs',
            'serial': volume,
            'data': {
                'device_path': f'{VOLUMES}/{volume}',
                'name': volume,
                'volume_id': volume,
            },
        }

    def block_device_info(self, uuid: str) -> dict[str, Any]:
        """The volumes of an instance, as Nova tells its driver."""
        return {
            'block_device_mapping': [
                {
                    'connection_info': self.connection(volume),
                    'mount_device': self.database.device_of(volume),
                }
                for volume in self.database.volumes_of(uuid)
            ]
        }

    # nova-compute

    def compute(self, name: str) -> startup.Compute:
        """nova-compute on a host, which may have to load its driver."""
        if name not in self.computes:
            driver = svirt_driver.SvirtLibvirtDriver(None)
            driver._host = self.hosts[name]
            driver.is_shared = self.is_shared
            with self.processes.on(name):
                driver.init_host(name)
            self.computes[name] = startup.Compute(self, name, driver)
        return self.computes[name]

    def is_up(self, name: str) -> bool:
        """Whether a host answers, as Nova knows."""
        return name not in self.processes.down

    def _work(self, name: str, method: str, args: Any) -> Callable[[], Any]:
        told = [
            # What another process is told is a copy.
            copy.copy(each) if isinstance(each, SimpleNamespace) else each
            for each in args
        ]
        return lambda: getattr(self.compute(name), method)(*told)

    def cast(self, name: str, method: str, *args: Any) -> None:
        """Have a host do something, without waiting for it."""
        self.processes.cast(name, self._work(name, method, args))

    def call(self, name: str, method: str, *args: Any) -> Any:
        """Have a host do something, and wait for its answer."""
        return self.processes.call(name, self._work(name, method, args))

    def crash_here(self) -> None:
        """End the processes of the host that is working."""
        assert isinstance(self.processes, fake_processes.TakingTurns)
        self.processes.crash_here()

    def restart(self, name: str) -> None:
        """Start nova-compute after it died."""
        self.computes.pop(name, None)
        with self.processes.on(name):
            self.compute(name).init_host()

    def clean(self, name: str) -> None:
        """Run the periodic tasks of a host that clean up."""
        with self.processes.on(name):
            self.compute(name).clean()

    def reconcile_if_due(self, name: str) -> None:
        """Let a host report its resources, where the driver reconciles."""
        self.compute(name).update_available_resource()

    def reconcile(self, name: str) -> None:
        """Compare the claims of a host, with the grace time over."""
        with self.processes.on(name):
            reconciler = self.compute(name).driver._extension.reconciler
            reconciler._stale = rules.StaleClaims(0)
            reconciler.reconcile()

    # What the reaper asks

    def client(self) -> Any:
        """The allocator, as a process reaches it."""
        return allocators.Calls(self.allocator, self)

    def check(self) -> clouds.Cloud:
        if self.faults.next and self.faults.next.popleft() != 'none':
            raise exception.ComputeApiError('Nova answered 503')
        return self.shown()

    def shown(self) -> clouds.Cloud:
        """The compute services, as Nova's API shows them."""
        return clouds.Cloud(
            'a cloud of fakes',
            tuple(
                clouds.ComputeService(
                    name,
                    f'aaaaaaaa-0000-4000-8000-{number:012}',
                    self.is_up(name),
                )
                for number, name in enumerate(sorted(self.hosts))
            ),
        )

    def exists(self, uuid: str) -> bool:
        self.steps.reach('nova server')
        return self.is_known(uuid)

    def is_known(self, uuid: str) -> bool:
        """Whether Nova has an instance that is not deleted."""
        path = f'/nova/instances/{uuid}'
        return (
            self.storage.exists(path)
            and not self.database.record(uuid).deleted
        )

    def is_live(self, uuid: str) -> bool:
        """Whether an instance is neither deleted nor being deleted."""
        if not self.is_known(uuid):
            return False
        instance = self.database.record(uuid)
        return (
            not instance.queued_for_delete
            and instance.vm_state != 'deleted'
            # Nova notes nothing before it reclaims an instance.
            and not (
                instance.vm_state == 'soft-delete'
                and not any(self.has(name, uuid) for name in self.hosts)
            )
        )

    def has(self, name: str, uuid: str) -> bool:
        """Whether a host has anything of an instance."""
        host = self.hosts[name]
        return host.record(uuid) is not None or any(
            self.storage.exists(f'{host.instances}/{uuid}{suffix}')
            for suffix in ('', '_resize', '_del')
        )

    def reap(self) -> None:
        client = self.client()
        self.allocator.meet_cloud(self.shown(), replaces=True)
        reaper.retire(
            client,
            reaper.find(
                client,
                self,
                interval=0,
                sleep=lambda seconds: None,
                # Of so few instances, one that a crash left hides too many.
                needs_controls=False,
            ),
        )

    # What operators do

    def fence(self, name: str) -> None:
        """Give a host up for good, and set up a new one of its name.

        Nothing is left of what it alone had, and its claims are purged.
        """
        host = self.hosts[name]
        for uuid in host.uuids():
            host.put(uuid, None)
        for entry in self.storage.names(host.instances):
            uuid, _, suffix = entry.partition('_')
            if (
                not self.is_shared
                or (suffix == 'resize' and name in self.homes(uuid))
                or self.database.record(uuid).host in (name, None)
            ):
                self.storage.remove(f'{host.instances}/{entry}')
        for allocation in self.allocator.list(host=name):
            assert allocation.instance_uuid is not None
            self.allocator.unclaim(allocation.instance_uuid, name)
        for instance in self.database.instances():
            for migration in self._migrations(instance.uuid):
                if migration.source_compute == name:
                    self.database.set_status(migration, 'error')
            if instance.host != name or instance.deleted:
                continue
            if instance.queued_for_delete:
                instance.destroy()
                continue
            instance.host, instance.vm_state = None, 'error'
            instance.task_state = None
            instance.save()

    def reset(self, uuid: str) -> None:
        """Give up what was being done to an instance, and its migrations."""
        instance = self.database.load(uuid)
        if instance.deleted:
            return
        for migration in self._migrations(uuid):
            if (
                migration.status != 'finished'
                and migration.migration_type != 'evacuation'
            ):
                self.database.set_status(migration, 'error')
        if instance.task_state is not None:
            instance.vm_state, instance.task_state = 'error', None
            instance.save()

    def tidy(self, name: str, is_busy: Callable[[str], bool]) -> None:
        """Remove by hand what failed operations have left on a host.

        :param is_busy: whether something is being done to an instance
        """
        host = self.hosts[name]
        for uuid in host.uuids():
            if not is_busy(uuid) and not self._belongs(uuid, name):
                host.put(uuid, None)
        for entry in self.storage.names(host.instances):
            uuid = entry.partition('_')[0]
            belongs = (
                self.is_known(uuid)
                if self.is_shared
                else self._belongs(uuid, name)
            )
            if not is_busy(uuid) and not belongs:
                self.storage.remove(f'{host.instances}/{entry}')

    def _belongs(self, uuid: str, name: str) -> bool:
        """Whether a host may have something of an instance."""
        return self.is_known(uuid) and name in self.homes(uuid)

    def homes(self, uuid: str) -> frozenset[str]:
        """The hosts that an instance lives on, or may come back to."""
        found = {self.database.record(uuid).host}
        found.update(each.source_compute for each in self._migrations(uuid))
        return frozenset(name for name in found if name is not None)

    def _migrations(self, uuid: str) -> list[SimpleNamespace]:
        return [
            found
            for found in self.database.migrations(instance_uuid=uuid)
            if found.status not in database.ENDED
        ]
