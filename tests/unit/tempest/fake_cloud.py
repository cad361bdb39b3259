# SPDX-License-Identifier: Apache-2.0
"""A simulated cloud of two hosts: its API, its hosts, its allocator."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import uuid

from tempest.lib import exceptions as lib_exc
from tempest.lib.common import rest_client
from tempest.lib.services.compute import base_compute_client

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.mcs import levels
from tests.unit.tempest import samples

HOSTS = ('one', 'two')

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@dataclasses.dataclass
class Server:
    id: str
    number: int
    level: levels.Level
    host: str | None
    status: str = 'ACTIVE'
    flavor: str = '1'
    source: str | None = None
    volumes: list[str] = dataclasses.field(default_factory=list)
    # Volumes that Nova has detached and still lists once.
    forgotten: list[str] = dataclasses.field(default_factory=list)
    actions: list[dict] = dataclasses.field(default_factory=list)


class Cloud:
    """The clients of Nova, cinder and the allocator, all at once.

    :param faults: what is wrong in the cloud
    """

    user_id = 'user'
    build_timeout = 1
    build_interval = 0

    def __init__(self, **faults):
        self.servers = {}
        self.volumes = {}
        self.volume_levels = {}
        self.faults = collections.defaultdict(lambda: None, faults)

    @property
    def left(self):
        """What no test has deleted."""
        servers = self.servers.values()
        return [
            *(each for each in servers if each.status != 'DELETED'),
            *self.volumes,
        ]

    # Nova

    def _server(self, server_id):
        server = self.servers.get(server_id)
        if server is None or server.status == 'DELETED':
            raise lib_exc.NotFound()
        return server

    def _do(self, server_id, action, status='ACTIVE', **changes):
        """Do an action that ends in a status, unless it is to fail."""
        server = self._server(server_id)
        has_failed = self.faults['failed_action'] == action
        if not has_failed:
            server.status = status
            vars(server).update(changes)
        if self.faults['new_level_at'] == action:
            server.level = levels.Level.parse('s0:c7,c8')
        server.actions.append(
            {
                'action': action,
                'request_id': f'req-{uuid.uuid4()}',
                'message': 'Error' if has_failed else None,
            }
        )
        return rest_client.ResponseBody(
            {'status': 202, 'x-openstack-request-id': 'req-1'},
            {'server': {'id': server_id}},
        )

    def _move(self, server_id, action, host, status='ACTIVE', **changes):
        source = self._server(server_id).host
        return self._do(
            server_id, action, status, source=source, host=host, **changes
        )

    def create_server(self, **kwargs):
        assert kwargs['networks'] == [{'uuid': 'network'}]
        assert kwargs['config_drive'] is True
        number = len(self.servers) + 1
        first = 1 if self.faults['same_level'] else number
        server = Server(
            str(uuid.uuid4()),
            number,
            levels.Level(frozenset([100 + first, 200 + first])),
            self.faults['host'] or 'one',
        )
        self.servers[server.id] = server
        return self._do(server.id, 'create')

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
                **(self.faults['shown'] or {}),
            }
        }

    def delete_server(self, server_id):
        is_soft = self.faults['soft_delete']
        self._do(server_id, 'delete', 'SOFT_DELETED' if is_soft else 'DELETED')

    def force_delete_server(self, server_id):
        self._do(server_id, 'delete', 'DELETED')

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
        return self._do(server_id, f'{type} reboot')

    def rebuild_server(self, server_id, image_ref):
        assert image_ref == 'image'
        return self._do(server_id, 'rebuild')

    def stop_server(self, server_id):
        return self._do(server_id, 'stop', 'SHUTOFF')

    def start_server(self, server_id):
        assert not self._server(server_id).forgotten
        return self._do(server_id, 'start')

    def shelve_server(self, server_id):
        return self._move(server_id, 'shelve', None, 'SHELVED_OFFLOADED')

    def unshelve_server(self, server_id):
        return self._do(server_id, 'unshelve', host='two')

    def resize_server(self, server_id, flavor):
        server = self._server(server_id)
        assert server.flavor == '1'
        return self._move(
            server_id, 'resize', server.host, 'VERIFY_RESIZE', flavor=flavor
        )

    def confirm_resize_server(self, server_id):
        return self._do(server_id, 'confirm')

    def revert_resize_server(self, server_id):
        source = self._server(server_id).source
        return self._move(server_id, 'revert', source, flavor='1')

    def migrate_server(self, server_id, host):
        assert base_compute_client.COMPUTE_MICROVERSION == '2.56'
        return self._move(server_id, 'migrate', host, 'VERIFY_RESIZE')

    def live_migrate_server(self, server_id, host, block_migration):
        assert block_migration == 'auto'
        assert base_compute_client.COMPUTE_MICROVERSION == '2.30'
        return self._move(server_id, 'live-migration', host)

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
        self.volume_levels[volumeId] = server.level
        self.volumes[volumeId] = 'in-use'
        return self._do(server_id, 'attach')

    def detach_volume(self, server_id, volume_id):
        server = self._server(server_id)
        assert server.status == 'SHUTOFF'
        server.volumes.remove(volume_id)
        server.forgotten.append(volume_id)
        if not self.faults['volume_keeps_level']:
            self.volume_levels[volume_id] = 's0'
        self.volumes[volume_id] = 'available'
        self._do(server_id, 'detach', 'SHUTOFF')

    def list_volume_attachments(self, server_id):
        server = self._server(server_id)
        listed = [*server.volumes, *server.forgotten]
        server.forgotten.clear()
        return {'volumeAttachments': [{'volumeId': each} for each in listed]}

    # The allocator

    def allocation_of(self, instance_uuid):
        server = self.servers[instance_uuid]
        is_gone = server.status == 'DELETED'
        claims = set() if is_gone else {server.host} - {None}
        if self.faults['claims_stay']:
            claims.add('one')
        if self.faults['claims_lost']:
            claims.clear()
        return types.Allocation(
            levels.Level.parse(self.faults['allocated'] or str(server.level)),
            server.id,
            'project',
            frozenset(claims),
            retired_at=NOW
            if is_gone and not self.faults['level_stays']
            else None,
        )

    def holder_of(self, level):
        *_, last = [
            server for server in self.servers.values() if server.level == level
        ]
        found = self.allocation_of(last.id)
        if self.faults['level_given_again']:
            found = dataclasses.replace(
                found, instance_uuid=str(uuid.uuid4()), retired_at=None
            )
        return found


class Host:
    """What a host shows of the cloud."""

    def __init__(self, name, cloud):
        self.name = name
        self._cloud = cloud
        self._faults = cloud.faults

    def _running(self):
        return {
            server.id: server
            for server in self._cloud.servers.values()
            if server.host == self.name
            and server.status not in ('SHUTOFF', 'DELETED')
        }

    def running_domain(self, instance_uuid):
        server = self._running().get(instance_uuid)
        if server is None:
            raise exception.HostCommandFailed('no such domain')
        return samples.running_domain(
            uuid=server.id,
            host=self.name,
            number=server.number,
            level=server.level,
            volumes=server.volumes,
            disk_level=self._faults['disk_level'],
            is_enforcing=not self._faults['permissive'],
        )

    def process_contexts(self):
        found = {
            samples.name(server.number): samples.process(server.level)
            for server in self._running().values()
        }
        if self.name == 'two':
            found['another'] = samples.process(
                self._faults['another'] or 's0:c1,c2'
            )
        return found

    def domain_uuids(self):
        if self._faults['unreachable'] == self.name:
            raise exception.HostUnreachable(f'{self.name} is far away')
        stay = self._faults['domains_stay']
        return {
            *self._running(),
            *(
                server.id
                for server in self._cloud.servers.values()
                if stay
                and server.source == self.name
                and server.status != 'DELETED'
            ),
        }

    def instance_directories(self):
        stay = self._faults['directories_stay']
        return {
            f'{server.id}_del'
            for server in self._cloud.servers.values()
            if stay and server.host == self.name and server.status == 'DELETED'
        }

    def file_context(self, path):
        if self._faults['unmounted']:
            return None
        [level] = [
            level
            for volume_id, level in self._cloud.volume_levels.items()
            if volume_id in path
        ]
        return samples.image(level)
