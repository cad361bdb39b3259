# SPDX-License-Identifier: Apache-2.0
"""libvirt on one host, in the role of nova's ``Host``."""

from __future__ import annotations

from typing import Any

from lxml import etree
from nova import exception as nova_exception

from tests import samples
from tests.fakes import domain_records
from tests.fakes import domains
from tests.fakes import files as fake_files
from tests.fakes import steps as fake_steps
from tests.fakes import storage as fake_storage

CAPABILITIES = samples.CAPABILITIES


class Libvirt:
    """libvirt on one host.

    :param name: the name of the host
    :param files: the labels of files that the host can reach
    :param instances: the directory of its instances
    :ivar peers: the other hosts, by name, to which guests can migrate
    :ivar was_read: what was read of domains, by UUID, since they were
        started
    :ivar misapplied: the UUIDs of domains whose next process runs at another
        level than was asked for
    :ivar failing: the UUIDs of instances whose next start fails late
    :ivar refused: the UUIDs of domains that cannot migrate to here
    :ivar cannot_delete: whether directories cannot be removed
    """

    def __init__(
        self,
        name: str,
        storage: fake_storage.Storage,
        files: fake_files.Files,
        steps: fake_steps.Steps,
        instances: str,
    ) -> None:
        self.name = name
        self.storage = storage
        self.files = files
        self.steps = steps
        self.instances = instances
        self.peers: dict[str, Libvirt] = {}
        self.was_read: set[tuple[str, str]] = set()
        self.misapplied: set[str] = set()
        self.failing: set[str] = set()
        self.refused: set[str] = set()
        self.cannot_delete = False
        self._directory = f'/{name}/libvirt'
        storage.make_directory(self._directory)
        storage.make_directory(instances)

    # Domains, without a step

    def uuids(self) -> list[str]:
        """The domains of the host."""
        return self.storage.names(self._directory)

    def record(self, uuid: str) -> domain_records.Record | None:
        path = f'{self._directory}/{uuid}'
        if not self.storage.exists(path):
            return None
        return domain_records.Record.loads(self.storage.read(path))

    def records(self) -> dict[str, domain_records.Record]:
        """All domains, by UUID."""
        return {
            uuid: domain_records.Record.loads(
                self.storage.read(f'{self._directory}/{uuid}')
            )
            for uuid in self.uuids()
        }

    def put(self, uuid: str, record: domain_records.Record | None) -> None:
        path = f'{self._directory}/{uuid}'
        if record is None:
            self.storage.remove(path)
        else:
            self.storage.write(path, record.dumps())

    def lose_power(self) -> None:
        """End all processes of the host at once: the labels stay."""
        for uuid, record in self.records().items():
            kept = record.but(live=None, is_paused=False, omitted='')
            self.put(uuid, kept if kept.definition is not None else None)

    # The role of nova.virt.libvirt.host.Host

    def get_connection(self) -> Libvirt:
        return self

    def getCapabilities(self) -> str:  # noqa: N802
        return CAPABILITIES

    def list_guests(self, only_running: bool = True) -> list[domains.Domain]:
        self.steps.reach('libvirt list')
        return [
            domains.Domain(self, uuid)
            for uuid, record in self.records().items()
            if record.live is not None or not only_running
        ]

    def get_guest(self, instance: Any) -> domains.Domain:
        self.steps.reach('libvirt lookup')
        if self.record(instance.uuid) is None:
            raise nova_exception.InstanceNotFound(instance_id=instance.uuid)
        return domains.Domain(self, instance.uuid)

    def write_instance_config(self, xml: str) -> domains.Domain:
        uuid = etree.fromstring(xml).findtext('uuid')
        assert uuid is not None
        guest = domains.Domain(self, uuid)
        guest.define(xml)
        return guest
