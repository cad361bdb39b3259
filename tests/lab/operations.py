# SPDX-License-Identifier: Apache-2.0
"""What users ask of Nova and cinder; each call waits until it is done."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from tests.lab.host import Host
from tests.lab.progress import LabError

#: Seconds until a thing that an emulated host does counts as hung.
PATIENCE = 420.0


class Operations:
    """Instances and volumes of a cloud that runs.

    :ivar api: the cloud as its administrator sees it
    """

    api: Any

    def boot(
        self,
        names: Iterable[str],
        api: Any = None,
        image: str = 'idle',
        host: Host | None = None,
    ) -> list[Any]:
        """Create instances through Nova's API; wait until all are active.

        :param api: of the project that gets them; by default the
            administrator's
        :param image: ``idle``, or ``writer``, which goes on writing its disk
        :param host: where; by default Nova decides
        """
        api = api or self.api
        flavor = self.api.compute.find_flavor('tiny')
        source = self.api.image.find_image(image)
        network = self.api.network.find_network('private')
        where = {'host': host.name} if host is not None else {}
        servers = [
            api.compute.create_server(
                name=name,
                flavor_id=flavor.id,
                image_id=source.id,
                networks=[{'uuid': network.id}],
                **where,
            )
            for name in names
        ]
        return [self.wait_active(server) for server in servers]

    def wait_active(self, server: Any) -> Any:
        """Wait until an instance is active; LabError gives Nova's fault."""
        return self.wait_status(server, 'ACTIVE')

    def wait_status(self, server: Any, status: str) -> Any:
        """Wait for a status, with no task; LabError gives Nova's fault."""
        for _ in self.poll(f'{server.name} {status}'):
            server = self.api.compute.get_server(server.id)
            if server.status == status and not server.task_state:
                break
            if server.status == 'ERROR':
                fault = (server.fault or {}).get('message', 'no fault given')
                raise LabError(f'instance {server.name} is in ERROR: {fault}')
        return server

    def wait_idle(self, server: Any) -> Any:
        """Wait until Nova has done what it was asked for, or given up."""
        for _ in self.poll(f'{server.name} without a task'):
            server = self.api.compute.get_server(server.id)
            if not server.task_state:
                break
        return server

    def poll(self, what: str) -> Iterator[None]:
        """Give the caller a turn each second, until it has what it wants.

        :raises LabError: it has not after a long time
        """
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            yield
            time.sleep(1)
        raise LabError(f'{what}: not there after {PATIENCE:.0f} s')

    def make_volume(self, name: str, api: Any = None, **kwargs: Any) -> Any:
        """Create a volume of 1 GiB; wait until it is available."""
        storage_api = (api or self.api).block_storage
        volume = storage_api.create_volume(size=1, name=name, **kwargs)
        return storage_api.wait_for_status(
            volume, 'available', interval=1, wait=int(PATIENCE)
        )

    def attach(self, server: Any, volume: Any, api: Any = None) -> None:
        """Attach a volume to an instance; wait until it is."""
        api = api or self.api
        api.compute.create_volume_attachment(server, volume_id=volume.id)
        for _ in self.poll(f'{volume.name} on {server.name}'):
            found = api.block_storage.get_volume(volume.id)
            # Nova attaches, and then lets cinder know.
            if found.status == 'in-use' and server.id in {
                each['server_id'] for each in found.attachments
            }:
                return

    def detach(self, server: Any, volume: Any) -> None:
        """Detach a volume from an instance; wait until it is."""
        self.api.compute.delete_volume_attachment(server, volume)
        for _ in self.poll(f'{server.name} without {volume.name}'):
            found = self.api.block_storage.get_volume(volume.id)
            # Nova lets cinder know, and then forgets the volume.
            if server.id not in {
                each['server_id'] for each in found.attachments
            } and volume.id not in {
                each.volume_id
                for each in self.api.compute.volume_attachments(server)
            }:
                return

    def delete(self, servers: Iterable[Any]) -> None:
        """Delete instances through Nova's API; wait until none is left."""
        gone = list(servers)
        for server in gone:
            self.api.compute.delete_server(server)
        for server in gone:
            self.api.compute.wait_for_delete(
                server, interval=1, wait=int(PATIENCE)
            )
