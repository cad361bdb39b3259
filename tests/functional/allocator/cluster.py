# SPDX-License-Identifier: Apache-2.0
"""A model of a cloud: what Nova believes and what hosts really have.

An operation of Nova is a generator; between two of its steps anything else
may happen, or its host may crash. Hosts run the driver's own HostClaims on
the real SQL allocator; only libvirt, files and Nova's database are modelled.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest import mock

from nova import exception as nova_exception
from oslo_concurrency import lockutils

from svirt_nova import exception
from svirt_nova.lifecycle import rules
from svirt_nova.virt import claims
from svirt_nova.virt import remains

GRACE = 600

FAULTS = ('none', 'away', 'lost', 'twice', 'late', 'crash', 'done and crash')
"""What can happen to a call: nothing; the store is away; the answer is lost;
it is repeated at once; it is repeated much later; the host crashes before it
or after it."""

# Repeated after anything else: no other call may ever come that late.
_MAY_COME_LATE = ('acquire', 'retire')


class Crash(BaseException):
    """The acting host is no more; nothing on it may catch this."""


class Unreachable(Exception):
    """An operation needs a host that is down."""


@dataclasses.dataclass
class Instance:
    """What Nova's database has, and the level that it should keep."""

    uuid: str
    host: str | None = None
    old_host: str | None = None
    vm_state: str = 'building'
    task_state: str | None = None
    deleted: bool = False
    is_archived: bool = False
    level: Any = None

    @property
    def is_live(self) -> bool:
        return not self.deleted and self.task_state != 'deleting'


@dataclasses.dataclass
class Operation:
    """What Nova is doing to an instance, and which hosts take part."""

    uuid: str
    hosts: tuple[str, ...]
    steps: Iterator[None]


class Host:
    """A compute node: what is on its disk, and its nova-compute."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud = cloud
        self.name = name
        self.left: dict[str, set[str]] = collections.defaultdict(set)
        self.start()

    def start(self) -> None:
        self.is_up = True
        # Files that Nova fails to delete are left; it goes on all the same.
        self.cannot_delete = False
        self.allocator = Calls(self.cloud, self.name)
        self.claims = claims.HostClaims(self.allocator, self.name, self, GRACE)

    def has(self, uuid: str) -> bool:
        return bool(self.left.get(uuid))


class Calls:
    """One client's calls of the allocator, with what befalls them."""

    def __init__(self, cloud: Cloud, host: str | None) -> None:
        self._cloud = cloud
        self._host = host

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        return call

    def _call(self, name: str, args: Any, kwargs: Any) -> Any:
        cloud = self._cloud
        fault = cloud.faults.popleft() if cloud.faults else 'none'
        if self._host is None and 'crash' in fault:
            fault = 'away'
        if fault == 'crash':
            raise Crash
        if fault == 'away':
            raise exception.StoreUnreachable('away')
        answer = cloud.call(name, args, kwargs)
        if fault == 'twice':
            answer = cloud.call(name, args, kwargs)
        if fault == 'late' and name in _MAY_COME_LATE:
            cloud.late.append((name, args, kwargs))
        if fault == 'lost':
            raise exception.StoreUnreachable('the answer was lost')
        if fault == 'done and crash':
            raise Crash
        return answer


class Cloud:
    """Instances, hosts, and what goes on between them.

    :param allocator: the real one
    """

    def __init__(self, allocator: Any, hosts: tuple[str, ...]) -> None:
        self.allocator = allocator
        self.now = 0.0
        self.faults: collections.deque[str] = collections.deque()
        self.late: list[Any] = []
        self.instances: dict[str, Instance] = {}
        self.operations: list[Operation] = []
        self.hosts = {name: Host(self, name) for name in hosts}

    # What HostClaims asks of Nova and of the host

    def patches(self) -> list[Any]:
        """Put this model below :mod:`svirt_nova.virt.claims`."""
        return [
            mock.patch.object(claims, 'remains', self),
            mock.patch.object(claims, 'objects', mock.Mock(Instance=self)),
            mock.patch.object(
                claims, 'migrations', mock.Mock(MigrationList=self)
            ),
            mock.patch.object(
                claims, 'time', mock.Mock(monotonic=lambda: self.now)
            ),
            mock.patch.object(claims.nova_utils, 'synchronized', self._lock),
            mock.patch.object(claims, 'LOG'),
        ]

    def of_instance(self, host: Host, instance: Instance) -> Any:
        found = host.left.get(instance.uuid, set())
        return rules.Remains(
            domain='domain' in found,
            local=('directory',) if 'files' in found else (),
        )

    def of_host(self, host: Host) -> Any:
        return remains.HostRemains(
            {u: None for u, left in host.left.items() if 'domain' in left},
            frozenset(u for u, left in host.left.items() if 'files' in left),
        )

    def get_by_uuid(self, _context: Any, uuid: str) -> Instance:
        instance = self.instances[uuid]
        if instance.is_archived:
            raise nova_exception.InstanceNotFound(instance_id=uuid)
        return instance

    def get_by_filters(self, _context: Any, filters: Any) -> list[Any]:
        """What has moved, or moves, an instance from or to a host."""
        uuid, host = filters['instance_uuid'], filters['host']
        waits = self.instances[uuid].old_host == host
        moves = any(
            op.uuid == uuid and host in op.hosts and len(op.hosts) > 1
            for op in self.operations
        )
        statuses = ['error', 'completed', 'confirmed', 'done']
        statuses += ['finished'] * waits + ['running'] * moves
        return [mock.Mock(status=status) for status in statuses]

    def _lock(self, uuid: str, *, blocking: bool) -> Any:
        assert not blocking

        def synchronized(function: Any) -> Any:
            def run(*args: Any) -> None:
                if self.is_locked(function.__self__._name, uuid):
                    raise lockutils.AcquireLockFailedException(uuid)
                function(*args)

            return run

        return synchronized

    def is_locked(self, host: str, uuid: str) -> bool:
        return any(
            op.uuid == uuid and host in op.hosts for op in self.operations
        )

    # The reaper's view of Nova

    def check(self) -> None:
        if self.faults and self.faults.popleft() != 'none':
            raise exception.ComputeApiError('Nova answered 503')

    def exists(self, uuid: str) -> bool:
        return not self.instances[uuid].deleted

    # The allocator itself

    def call(self, name: str, args: Any, kwargs: Any) -> Any:
        answer = getattr(self.allocator, name)(*args, **kwargs)
        if name == 'acquire':
            instance = self.instances[args[0]]
            if instance.is_live:
                assert instance.level in (None, answer.level), 'not stable'
                instance.level = answer.level
        return answer

    # Operations and crashes

    def begin(
        self,
        instance: Instance,
        task: str | None,
        hosts: tuple[str, ...],
        steps: Iterator[None],
    ) -> None:
        if task is not None:
            instance.task_state = task
        self.operations.append(Operation(instance.uuid, hosts, steps))

    def advance(self, operation: Operation) -> None:
        """One step of an operation, with whatever comes of it."""
        self.acting = operation.hosts[0]
        try:
            next(operation.steps)
            return
        except StopIteration:
            self._end(operation)
        except Crash:
            self.crash(self.acting)
        except (exception.SvirtError, Unreachable):
            self._end(operation)

    def _end(self, operation: Operation) -> None:
        if operation not in self.operations:
            return
        self.operations.remove(operation)
        instance = self.instances[operation.uuid]
        if instance.task_state != 'deleting' and not self.has_operation(
            instance.uuid
        ):
            instance.task_state = None

    def _on(self, name: str, work: Any) -> None:
        self.acting = name
        try:
            work()
        except Crash:
            self.crash(name)
        except exception.SvirtError:
            pass

    def has_operation(self, uuid: str) -> bool:
        return any(op.uuid == uuid for op in self.operations)

    def crash(self, name: str) -> None:
        self.hosts[name].is_up = False
        for operation in list(self.operations):
            if name in operation.hosts:
                operation.steps = iter(())
                self._end(operation)

    def restart(self, name: str) -> None:
        """nova-compute's start: what it finishes, and cleans up."""
        host = self.hosts[name]
        host.start()
        for instance in self.instances.values():
            if instance.is_archived or self.has_operation(instance.uuid):
                continue
            if instance.host == name and instance.task_state == 'deleting':
                self.delete(instance)
            elif host.has(instance.uuid) and (
                instance.deleted
                if instance.host == name
                # Evacuated from here, or confirmed while this was down.
                else instance.old_host != name
            ):
                self.begin(instance, None, (name,), self.wipe(name, instance))

    def reconcile(self, name: str) -> None:
        self._on(name, self.hosts[name].claims.reconcile)

    def at(self, name: str) -> Host:
        """A host that does the next step."""
        self.acting = name
        host = self.hosts[name]
        if not host.is_up:
            raise Unreachable
        return host

    # What Nova and the driver do, step by step

    def level(self, name: str, instance: Instance) -> None:
        """SvirtLibvirtDriver._level."""
        host = self.at(name)
        try:
            host.allocator.acquire(instance.uuid, 'project', name)
        except exception.StoreUnreachable:
            if 'domain' not in host.left[instance.uuid]:
                raise

    def write(self, name: str, instance: Instance) -> Iterator[None]:
        self.at(name).left[instance.uuid].add('files')
        yield
        self.at(name).left[instance.uuid].add('domain')

    def wipe(self, name: str, instance: Instance) -> Iterator[None]:
        self.at(name).left[instance.uuid].discard('domain')
        yield
        host = self.at(name)
        if not host.cannot_delete:
            host.left[instance.uuid].discard('files')
        yield
        self.at(name).claims.settle(instance)

    def spawn(self, instance: Instance, name: str, fails: bool) -> None:
        """Boot, unshelve."""

        def steps() -> Iterator[None]:
            instance.host = name
            try:
                self.level(name, instance)
                yield
                yield from self.write(name, instance)
                if fails:
                    raise exception.LabelError('spawn')
            except exception.SvirtError:
                yield from self.wipe(name, instance)
                instance.host, instance.vm_state = None, 'error'
            else:
                yield
                instance.vm_state = 'active'

        self.begin(instance, 'spawning', (name,), steps())

    def reboot(self, instance: Instance) -> None:
        """A hard reboot; also stop and start."""
        name = instance.host
        assert name is not None

        def steps() -> Iterator[None]:
            self.level(name, instance)
            self.at(name).left[instance.uuid].discard('domain')
            yield
            yield from self.write(name, instance)

        self.begin(instance, 'rebooting', (name,), steps())

    def delete(self, instance: Instance) -> None:
        hosts = tuple(
            name
            for name in (instance.host, instance.old_host)
            if name is not None
        )

        def steps() -> Iterator[None]:
            if instance.old_host is not None:
                # It is confirmed first.
                yield from self.wipe(instance.old_host, instance)
                instance.old_host = None
            assert instance.host is not None
            yield from self.wipe(instance.host, instance)
            yield
            self.at(instance.host)
            self.delete_row(instance)

        if instance.host is None or not all(
            self.hosts[name].is_up for name in hosts
        ):
            # Locally, by the API.
            self.delete_row(instance)
        else:
            self.begin(instance, 'deleting', hosts, steps())

    def delete_row(self, instance: Instance) -> None:
        instance.deleted, instance.vm_state = True, 'deleted'
        instance.task_state = None

    def shelve(self, instance: Instance) -> None:
        name = instance.host
        assert name is not None

        def steps() -> Iterator[None]:
            yield from self.wipe(name, instance)
            instance.host, instance.vm_state = None, 'shelved_offloaded'

        self.begin(instance, 'shelving_offloading', (name,), steps())

    def resize(self, instance: Instance, to: str) -> None:
        source = instance.host
        assert source is not None

        def steps() -> Iterator[None]:
            self.at(source).left[instance.uuid].discard('domain')
            yield
            instance.host, instance.old_host = to, source
            self.level(to, instance)
            yield
            yield from self.write(to, instance)
            instance.vm_state = 'resized'

        self.begin(instance, 'resize_finish', (to, source), steps())

    def confirm(self, instance: Instance) -> None:
        source = instance.old_host
        assert source is not None

        def steps() -> Iterator[None]:
            yield from self.wipe(source, instance)
            instance.old_host, instance.vm_state = None, 'active'

        self.begin(instance, None, (source,), steps())

    def revert(self, instance: Instance) -> None:
        here, source = instance.host, instance.old_host
        assert here is not None
        assert source is not None

        def steps() -> Iterator[None]:
            yield from self.wipe(here, instance)
            instance.host, instance.old_host = source, None
            self.level(source, instance)
            yield
            yield from self.write(source, instance)
            instance.vm_state = 'active'

        self.begin(instance, 'resize_reverting', (here, source), steps())

    def live_migrate(
        self, instance: Instance, to: str, fails: bool, is_told: bool
    ) -> None:
        source = instance.host
        assert source is not None

        def steps() -> Iterator[None]:
            self.level(to, instance)
            yield
            held = self.at(source).allocator.get(instance.uuid)
            if to not in held.hosts or fails:
                if is_told:
                    yield from self.wipe(to, instance)
                return
            yield
            yield from self.write(to, instance)
            yield
            self.at(source).left[instance.uuid].discard('domain')
            yield
            instance.host = to
            yield from self.wipe(source, instance)

        self.begin(instance, 'migrating', (to, source), steps())

    def evacuate(self, instance: Instance, to: str) -> None:
        """The instance's host is down."""

        def steps() -> Iterator[None]:
            self.level(to, instance)
            yield
            yield from self.write(to, instance)
            instance.host, instance.old_host = to, None
            instance.vm_state = 'active'

        self.begin(instance, 'rebuild_spawning', (to,), steps())

    # What operators do

    def replace(self, name: str) -> None:
        """Fence a host for good, purge its claims, set up a new one."""
        self.crash(name)
        self.hosts[name].left.clear()
        for allocation in self.allocator.list(host=name):
            self.allocator.unclaim(allocation.instance_uuid, name)
        for instance in self.instances.values():
            if instance.old_host == name:
                instance.old_host = None
            if instance.host == name:
                instance.host, instance.vm_state = None, 'error'
                if instance.task_state == 'deleting':
                    self.delete_row(instance)
        self.hosts[name].start()

    def tidy(self, name: str) -> None:
        """Remove by hand what failed operations left on a host."""
        for uuid, left in self.hosts[name].left.items():
            instance = self.instances[uuid]
            if not self.has_operation(uuid) and (
                instance.deleted
                or name not in (instance.host, instance.old_host)
            ):
                left.clear()
