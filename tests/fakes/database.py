# SPDX-License-Identifier: Apache-2.0
"""What Nova's database has: instances, migrations, and who has a volume."""

from __future__ import annotations

import copy
import functools
import json
from types import SimpleNamespace
from typing import Any

from nova import exception as nova_exception

from tests.fakes import steps as fake_steps
from tests.fakes import storage as fake_storage

_INSTANCES = '/nova/instances'
_MIGRATIONS = '/nova/migrations'
_VOLUMES = '/nova/volumes'

ENDED = frozenset(
    ['cancelled', 'completed', 'confirmed', 'error', 'failed', 'reverted']
)
"""The states of migrations that are over."""


class Instance:
    """A copy of the record of an instance, as ``nova.objects.Instance``.

    :param record: what the database has
    """

    uuid: str
    project_id: str
    host: str | None
    vm_state: str
    task_state: str | None
    deleted: bool
    cleaned: bool
    queued_for_delete: bool
    unknown_to: list[str]
    is_archived: bool
    system_metadata: dict[str, str]

    def __init__(self, database: Database, record: dict[str, Any]) -> None:
        self._database = database
        self._refresh(record)

    def _refresh(self, record: dict[str, Any]) -> None:
        self._record = record
        vars(self).update(copy.deepcopy(record))

    reads_deleted = False
    """Whether it can be saved although it is deleted."""

    def copy(self) -> Instance:
        """What another process gets that is told of the instance."""
        copied = Instance(self._database, self._record)
        for name in self._record:
            setattr(copied, name, copy.deepcopy(getattr(self, name)))
        return copied

    def save(self, expected_task_state: Any = None) -> None:
        """Save what has changed, and read everything anew, as Nova does.

        :param expected_task_state: those that the record may have; None for
            any
        :raises nova.exception.UnexpectedTaskStateError: it has another one
        :raises nova.exception.InstanceNotFound: it was deleted
        """
        changes = {
            name: getattr(self, name)
            for name, old in self._record.items()
            if getattr(self, name) != old
        }
        self._refresh(
            self._database.update(
                self.uuid, changes, expected_task_state, self.reads_deleted
            )
        )

    def refresh(self) -> None:
        """Read everything anew."""
        self._refresh(self._database.read(self.uuid))

    def destroy(self) -> None:
        """Mark the record as deleted; it has no volumes any more."""
        self._database.destroy(self.uuid)
        self.deleted = True


@functools.lru_cache(maxsize=4096)
def _record(text: str) -> SimpleNamespace:
    """A record, which nobody may change."""
    return SimpleNamespace(**json.loads(text))


IMAGE = '5d3c9a41-0f6e-4b21-9f57-2f1c0b6d8e70'
"""The image that all instances are booted from."""


class Database:
    """Nova's database: every change of it is a step."""

    def __init__(
        self, storage: fake_storage.Storage, steps: fake_steps.Steps
    ) -> None:
        self._storage = storage
        self._steps = steps
        for directory in (_INSTANCES, _MIGRATIONS, _VOLUMES):
            storage.make_directory(directory)

    def _put(self, path: str, record: dict[str, Any]) -> None:
        self._storage.write(path, json.dumps(record))

    # Instances

    def create(self, uuid: str, host: str | None, **more: Any) -> Instance:
        """The record of an instance that is about to be built."""
        record = {
            'uuid': uuid,
            'project_id': 'project',
            'image_ref': IMAGE,
            'migration_context': None,
            'host': host,
            'vm_state': 'building',
            'task_state': 'scheduling',
            'deleted': False,
            'cleaned': False,
            'queued_for_delete': False,
            'system_metadata': {},
            'unknown_to': [],
            'is_archived': False,
            **more,
        }
        with self._steps.changes('nova create'):
            self._put(f'{_INSTANCES}/{uuid}', record)
        return Instance(self, record)

    def read(self, uuid: str) -> dict[str, Any]:
        try:
            text = self._storage.read(f'{_INSTANCES}/{uuid}')
        except FileNotFoundError:
            raise nova_exception.InstanceNotFound(instance_id=uuid) from None
        record: dict[str, Any] = json.loads(text)
        return record

    def load(self, uuid: str) -> Instance:
        """The record of an instance, deleted or not."""
        return Instance(self, self.read(uuid))

    def instances(self) -> list[Instance]:
        return [self.load(uuid) for uuid in self._storage.names(_INSTANCES)]

    def records(self) -> list[SimpleNamespace]:
        """The records of all instances, to look at."""
        return [self.record(uuid) for uuid in self._storage.names(_INSTANCES)]

    def record(self, uuid: str) -> SimpleNamespace:
        """The record of an instance, to look at."""
        return _record(self._storage.read(f'{_INSTANCES}/{uuid}'))

    def get_by_uuid(
        self, uuid: str, read_deleted: str, host: str | None
    ) -> Instance:
        """As the conductor of a host's cell answers.

        :raises nova.exception.InstanceNotFound: the cell has no such record
        """
        self._steps.reach('nova instance')
        found = self.load(uuid)
        if (
            found.is_archived
            or host in found.unknown_to
            or (found.deleted and read_deleted == 'no')
        ):
            raise nova_exception.InstanceNotFound(instance_id=uuid)
        return found

    def update(
        self,
        uuid: str,
        changes: dict[str, Any],
        expected: Any,
        reads_deleted: bool,
    ) -> dict[str, Any]:
        with self._steps.changes('nova save'):
            record = self.read(uuid)
            if record['deleted'] and not reads_deleted:
                raise nova_exception.InstanceNotFound(instance_id=uuid)
            if expected is not None and record['task_state'] not in expected:
                raise nova_exception.UnexpectedTaskStateError(
                    instance_uuid=uuid,
                    expected={'task_state': expected},
                    actual={'task_state': record['task_state']},
                )
            record.update(changes)
            self._put(f'{_INSTANCES}/{uuid}', record)
        return record

    def destroy(self, uuid: str) -> None:
        with self._steps.changes('nova destroy'):
            record = self.read(uuid)
            record.update(deleted=True, vm_state='deleted', task_state=None)
            self._put(f'{_INSTANCES}/{uuid}', record)
            for volume in self.volumes_of(uuid):
                self._storage.remove(f'{_VOLUMES}/{volume}')

    # Migrations

    def migrations(self, **filters: Any) -> list[SimpleNamespace]:
        """The migrations whose fields have these values, oldest first."""
        found = []
        for name in self._storage.names(_MIGRATIONS):
            record = _record(self._storage.read(f'{_MIGRATIONS}/{name}'))
            if all(getattr(record, key) == v for key, v in filters.items()):
                found.append(copy.copy(record))
        return found

    def get_by_filters(self, filters: dict[str, Any]) -> list[SimpleNamespace]:
        """As ``MigrationList.get_by_filters`` answers."""
        self._steps.reach('nova migrations')
        wanted = dict(filters)
        host = wanted.pop('host', None)
        statuses = wanted.pop('status', None)
        return [
            found
            for found in self.migrations(**wanted)
            if host in (None, found.source_compute, found.dest_compute)
            and (statuses is None or found.status in statuses)
        ]

    def migrate(self, uuid: str, **record: Any) -> SimpleNamespace:
        """Begin a migration."""
        number = len(self._storage.names(_MIGRATIONS))
        made = {'id': f'{number:06}', 'instance_uuid': uuid, **record}
        with self._steps.changes('nova migration'):
            self._put(f'{_MIGRATIONS}/{made["id"]}', made)
        return SimpleNamespace(**made)

    def set_status(self, migration: SimpleNamespace, status: str) -> None:
        with self._steps.changes('nova migration'):
            migration.status = status
            self._put(f'{_MIGRATIONS}/{migration.id}', vars(migration))

    # Volumes

    def _volume(self, volume: str) -> dict[str, Any]:
        path = f'{_VOLUMES}/{volume}'
        if not self._storage.exists(path):
            raise nova_exception.VolumeBDMNotFound(volume_id=volume)
        found: dict[str, Any] = json.loads(self._storage.read(path))
        return found

    def attach(self, volume: str, uuid: str, device: str) -> None:
        """Note that an instance is about to get a volume."""
        record = {'instance_uuid': uuid, 'device': device, 'connection': None}
        with self._steps.changes('nova volume'):
            self._put(f'{_VOLUMES}/{volume}', record)

    def connect(self, volume: str, connection: dict[str, Any]) -> None:
        """Note how an instance has its volume."""
        with self._steps.changes('nova volume'):
            record = {**self._volume(volume), 'connection': connection}
            self._put(f'{_VOLUMES}/{volume}', record)

    def swap(self, old: str, new: str, connection: dict[str, Any]) -> None:
        """Note that an instance has another volume in the place of one."""
        with self._steps.changes('nova volume'):
            record = {**self._volume(old), 'connection': connection}
            self._storage.remove(f'{_VOLUMES}/{old}')
            self._put(f'{_VOLUMES}/{new}', record)

    def detach(self, volume: str) -> None:
        with self._steps.changes('nova volume'):
            self._storage.remove(f'{_VOLUMES}/{volume}')

    def device_of(self, volume: str) -> str:
        """The device that a volume is to its instance, such as ``vdb``."""
        device: str = self._volume(volume)['device']
        return device

    def holders(self) -> dict[str, str]:
        """The instance that has a volume, by volume."""
        return {
            name: _record(
                self._storage.read(f'{_VOLUMES}/{name}')
            ).instance_uuid
            for name in self._storage.names(_VOLUMES)
        }

    def volumes_of(self, uuid: str) -> list[str]:
        holders = self.holders()
        return [name for name, holder in holders.items() if holder == uuid]
