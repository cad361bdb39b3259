# SPDX-License-Identifier: Apache-2.0
"""A simulated cloud of two hosts: its API, its hosts, its allocator."""

from __future__ import annotations

import dataclasses
import json
import uuid

from tempest.lib import exceptions as lib_exc
from tempest.lib.common import rest_client
from tempest.lib.services.compute import base_compute_client

from svirt_nova import exception
from svirt_nova.tempest import seen
from tests.unit.tempest import showing

HOSTS = ('one', 'two')


@dataclasses.dataclass
class Server:
    id: str
    level: str
    host: str | None
    number: int
    status: str = 'ACTIVE'
    flavor: str = '1'
    source: str | None = None
    volumes: list[str] = dataclasses.field(default_factory=list)
    # Detached, but not forgotten yet.
    let_go: list[str] = dataclasses.field(default_factory=list)
    actions: list[dict] = dataclasses.field(default_factory=list)


class Cloud:
    """The state of the cloud, and Nova's and cinder's clients at once."""

    user_id = 'user'
    build_timeout = 1
    build_interval = 0

    def __init__(self, **faults):
        self.all = {}
        self.volumes = {}
        self.labels = {}
        self.left = {}
        self.faults = faults
        self.count = 0

    # Nova

    def _server(self, server_id):
        try:
            return self.all[server_id]
        except KeyError:
            raise lib_exc.NotFound() from None

    def _done(self, server, action, status='ACTIVE'):
        if self.faults.get('failed_action') != action:
            server.status = status
        server.actions.append(
            {
                'action': action,
                'request_id': f'req-{uuid.uuid4()}',
                'message': 'Error'
                if self.faults.get('failed_action') == action
                else None,
            }
        )
        if self.faults.get('new_level_at') == action:
            server.level = 's0:c7,c8'
        return rest_client.ResponseBody(
            {'status': 202, 'x-openstack-request-id': 'req-1'}
        )

    def create_server(self, **kwargs):
        assert kwargs['networks'] == [{'uuid': 'network'}]
        assert kwargs['config_drive'] is True
        self.count += 1
        first = 1 if self.faults.get('same_level') else self.count
        server = Server(
            str(uuid.uuid4()),
            f's0:c{100 + first},c{200 + first}',
            self.faults.get('host', 'one'),
            self.count,
        )
        self.all[server.id] = server
        self._done(server, 'create')
        return rest_client.ResponseBody(
            {'status': 202, 'x-openstack-request-id': 'req-1'},
            {'server': {'id': server.id}},
        )

    def show_server(self, server_id):
        assert base_compute_client.COMPUTE_MICROVERSION is None
        server = self._server(server_id)
        return {
            'server': {
                'id': server.id,
                'status': server.status,
                'OS-EXT-STS:task_state': None,
                'OS-EXT-SRV-ATTR:host': server.host,
                'flavor': {'id': server.flavor},
                **self.faults.get('shown', {}),
            }
        }

    def delete_server(self, server_id):
        if not self.faults.get('soft_delete'):
            self.force_delete_server(server_id)
            return
        self._done(self._server(server_id), 'delete', 'SOFT_DELETED')

    def force_delete_server(self, server_id):
        server = self._server(server_id)
        del self.all[server_id]
        self.left.setdefault(server.host, []).append(server)

    def list_instance_actions(self, server_id):
        return {'instanceActions': list(self._server(server_id).actions)}

    def show_instance_action(self, server_id, request_id):
        assert base_compute_client.COMPUTE_MICROVERSION == '2.84'
        [action] = [
            action
            for action in self._server(server_id).actions
            if action['request_id'] == request_id
        ]
        event = {'event': 'compute', 'details': 'there is no level'}
        return {'instanceAction': {**action, 'events': [event]}}

    def reboot_server(self, server_id, type):
        return self._done(self._server(server_id), f'{type} reboot')

    def rebuild_server(self, server_id, image_ref):
        assert image_ref == 'image'
        return self._done(self._server(server_id), 'rebuild')

    def stop_server(self, server_id):
        return self._done(self._server(server_id), 'stop', 'SHUTOFF')

    def start_server(self, server_id):
        server = self._server(server_id)
        assert not server.let_go
        return self._done(server, 'start')

    def shelve_server(self, server_id):
        server = self._server(server_id)
        server.source, server.host = server.host, None
        return self._done(server, 'shelve', 'SHELVED_OFFLOADED')

    def unshelve_server(self, server_id):
        server = self._server(server_id)
        server.host = 'two'
        return self._done(server, 'unshelve')

    def resize_server(self, server_id, flavor):
        server = self._server(server_id)
        assert server.flavor == '1'
        if self.faults.get('failed_action') == 'resize':
            return self._done(server, 'resize')
        server.source, server.flavor = server.host, flavor
        return self._done(server, 'resize', 'VERIFY_RESIZE')

    def confirm_resize_server(self, server_id):
        return self._done(self._server(server_id), 'confirm')

    def revert_resize_server(self, server_id):
        server = self._server(server_id)
        server.host, server.source = server.source, server.host
        server.flavor = '1'
        return self._done(server, 'revert')

    def migrate_server(self, server_id, host):
        assert base_compute_client.COMPUTE_MICROVERSION == '2.56'
        server = self._server(server_id)
        server.source, server.host = server.host, host
        return self._done(server, 'migrate', 'VERIFY_RESIZE')

    def live_migrate_server(self, server_id, host, block_migration):
        assert block_migration == 'auto'
        assert base_compute_client.COMPUTE_MICROVERSION == '2.30'
        server = self._server(server_id)
        server.source, server.host = server.host, host
        return self._done(server, 'live-migration')

    def show_server_diagnostics(self, server_id):
        self._server(server_id)
        return {'driver': 'libvirt', 'hypervisor': 'qemu'}

    def list_services(self, binary):
        assert binary == 'nova-compute'
        return {
            'services': [
                {'host': host, 'state': 'up', 'status': 'enabled'}
                for host in HOSTS
            ]
        }

    # cinder

    def create_volume(self, name, size):
        volume_id = str(uuid.uuid4())
        self.volumes[volume_id] = 'available'
        return {'volume': {'id': volume_id}}

    def show_volume(self, volume_id):
        return {'volume': {'status': self.volumes[volume_id]}}

    def delete_volume(self, volume_id):
        assert self.volumes[volume_id] == 'available'
        del self.volumes[volume_id]

    def wait_for_resource_deletion(self, volume_id):
        assert volume_id not in self.volumes

    def attach_volume(self, server_id, volumeId):  # noqa: N803
        server = self._server(server_id)
        server.volumes.append(volumeId)
        self.labels[volumeId] = server.level
        self.volumes[volumeId] = 'in-use'
        return self._done(server, 'attach')

    def detach_volume(self, server_id, volume_id):
        server = self._server(server_id)
        assert server.status == 'SHUTOFF'
        server.volumes.remove(volume_id)
        server.let_go.append(volume_id)
        if not self.faults.get('volume_keeps_level'):
            self.labels[volume_id] = 's0'
        self.volumes[volume_id] = 'available'
        self._done(server, 'detach', 'SHUTOFF')

    def list_volume_attachments(self, server_id):
        server = self._server(server_id)
        known = [*server.volumes, *server.let_go]
        server.let_go.clear()
        return {'volumeAttachments': [{'volumeId': each} for each in known]}


class Host:
    """What a host shows of the cloud."""

    def __init__(self, name, cloud):
        self.name = name
        self.cloud = cloud

    def _here(self):
        return [
            server
            for server in self.cloud.all.values()
            if server.host == self.name and server.status != 'SHUTOFF'
        ]

    def look(self, instance):
        for server in self._here():
            if server.id == instance:
                return showing.guest(
                    instance=server.id,
                    host=self.name,
                    number=server.number,
                    level=server.level,
                    volumes=server.volumes,
                    disk_level=self.cloud.faults.get('disk_level'),
                )
        raise exception.HostCommandFailed('no such domain')

    def processes(self):
        found = {
            showing.name(server.number): showing.process(server.level)
            for server in self._here()
        }
        if self.name == 'two':
            found['another'] = showing.process(
                self.cloud.faults.get('another', 's0:c1,c2')
            )
        return found

    def domains(self):
        if self.cloud.faults.get('unreachable') == self.name:
            raise exception.HostUnreachable(f'{self.name} is far away')
        left = set()
        if self.cloud.faults.get('domains_stay'):
            left = {
                server.id
                for server in self.cloud.all.values()
                if server.source == self.name
            }
        return left | {server.id for server in self._here()}

    def instances(self):
        if not self.cloud.faults.get('directories_stay'):
            return frozenset()
        return {
            f'{server.id}_del' for server in self.cloud.left.get(self.name, [])
        }

    def label(self, path):
        if self.cloud.faults.get('unmounted'):
            return None
        [volume_id] = [
            volume for volume in self.cloud.labels if volume in path
        ]
        return showing.image(self.cloud.labels[volume_id])


class Manager:
    """What the allocator says of the cloud."""

    def __init__(self, cloud):
        self.cloud = cloud

    def show(self, target):
        for server in self.cloud.all.values():
            if target in (server.id, server.level):
                claims = {server.host} - {None}
                if self.cloud.faults.get('claims_stay'):
                    claims.add('one')
                return self._answer(server, 'held', claims)
        for servers in self.cloud.left.values():
            for server in servers:
                if target == server.level:
                    held = self.cloud.faults.get('level_stays')
                    return self._answer(
                        server, 'held' if held else 'cooling', ()
                    )
        raise exception.HostCommandFailed(f'{target} has no level')

    @staticmethod
    def _answer(server, state, claims):
        return seen.Allocation.parse(
            json.dumps(
                {
                    'Level': server.level,
                    'State': state,
                    'Instance': server.id,
                    'Hosts': sorted(claims),
                }
            )
        )
