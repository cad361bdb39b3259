# SPDX-License-Identifier: Apache-2.0
"""What the configuration files of OpenStack's services say.

All services listen on 127.0.0.1. The catalog's public endpoints name that
address, its internal ones the address under which a host's user-mode network
shows the same ports.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab import tap
from tests.lab.backends import MariaDB
from tests.lab.backends import RabbitMQ

OUTSIDE = '127.0.0.1'
#: QEMU's user-mode network shows the machine's loopback here to a host.
INSIDE = '10.0.2.2'
REGION = 'lab'

Sections = Mapping[str, Mapping[str, object]]


def ini(sections: Sections) -> str:
    """Render oslo.config's file format."""
    return ''.join(
        f'[{name}]\n'
        + ''.join(f'{key} = {value}\n' for key, value in options.items())
        + '\n'
        for name, options in sections.items()
    )


class Configuration:
    """The configuration of one cloud's services.

    :param run: the directory of the run
    :param services: which there are, by their catalog types
    :ivar ports: of the services, by their catalog types
    """

    def __init__(
        self,
        run: Path,
        database: MariaDB,
        queue: RabbitMQ,
        services: Iterable[str],
    ) -> None:
        self._run = run
        self._database = database
        self._queue = queue
        self.password = secrets.token_hex(12)
        names = list(services)
        self.ports = dict(
            zip(names, processes.free_ports(len(names)), strict=True)
        )

    def url(self, service: str, address: str = OUTSIDE) -> str:
        """Give the endpoint of a service, by its catalog type."""
        path = {
            'identity': '/v3',
            'compute': '/v2.1',
            'block-storage': '/v3',
        }.get(service, '')
        return f'http://{address}:{self.ports[service]}{path}'

    def credentials(self) -> dict[str, str]:
        """Give the administrator's credentials, as clients name them."""
        return {
            'auth_url': self.url('identity'),
            'username': 'admin',
            'password': self.password,
            'project_name': 'admin',
            'user_domain_id': 'default',
            'project_domain_id': 'default',
        }

    def environment(self) -> dict[str, str]:
        """Give the environment of all programs of the control plane."""
        return dict(
            os.environ,
            OS_KEYSTONE_CONFIG_DIR=str(self.directory('keystone')),
            OS_GLANCE_CONFIG_DIR=str(self.directory('glance')),
            OS_PLACEMENT_CONFIG_DIR=str(self.directory('placement')),
            OS_NEUTRON_CONFIG_FILES=';'.join(
                [
                    str(cache.VENV / 'etc/neutron/api-paste.ini'),
                    str(self.directory('neutron') / 'neutron.conf'),
                ]
            ),
            OS_NOVA_CONFIG_FILES=';'.join(
                [
                    str(cache.VENV / 'etc/nova/api-paste.ini'),
                    str(self.directory('nova') / 'nova.conf'),
                ]
            ),
            PYTHONPATH=f'{cache.CHECKOUT}:{self._run / "entry-points"}',
            HOME=str(self._run),
            PYTHONDONTWRITEBYTECODE='1',
        )

    def directory(self, service: str) -> Path:
        """Give the directory of a service's files."""
        return self._run / 'etc' / service

    def write(self) -> None:
        """Write the files of the services on the machine itself."""
        files: tuple[tuple[str, Sections], ...] = (
            ('keystone/keystone.conf', self._keystone_sections()),
            (
                'placement/placement.conf',
                {
                    'placement_database': {
                        'connection': self._database.url('placement')
                    },
                    'api': {'auth_strategy': 'keystone'},
                    'keystone_authtoken': self._authtoken(OUTSIDE, 'public'),
                },
            ),
            ('glance/glance-api.conf', self._glance_sections()),
            ('neutron/neutron.conf', self._neutron_sections()),
            ('nova/nova.conf', self._controller_sections()),
            ('cinder/cinder.conf', self.cinder_sections(OUTSIDE, 'public')),
        )
        for name, sections in files:
            path = self._run / 'etc' / name
            path.parent.mkdir(parents=True)
            path.write_text(ini(sections))
            path.chmod(0o600)
        paste = 'glance-api-paste.ini'
        (self.directory('glance') / paste).write_text(
            (cache.VENV / 'etc/glance' / paste).read_text()
        )
        for name in ('locks', 'state', 'images'):
            (self._run / name).mkdir()
        for name in ('fernet', 'credential'):
            keys = self.directory('keystone') / name
            keys.mkdir(mode=0o700)
            # As keystone-manage fernet_setup and credential_setup do:
            # 0 is the next key, 1 the current one.
            for number in ('0', '1'):
                (keys / number).write_bytes(
                    base64.urlsafe_b64encode(secrets.token_bytes(32))
                )
        tap.write_entry_point(self._run / 'entry-points')

    def allocator(self) -> Sections:
        """Give the configuration of the levels' store and its service."""
        return {
            'DEFAULT': {'transport_url': self._queue.url(OUTSIDE)},
            'svirt_database': {'connection': self._database.url('svirt_nova')},
            'svirt_nova_allocator': {'workers': 1, 'reap_interval': 0},
            'oslo_messaging_rabbit': {'heartbeat_timeout_threshold': 0},
        }

    def _client(self, address: str, interface: str) -> dict[str, object]:
        return {
            'auth_type': 'password',
            'username': 'admin',
            'auth_url': self.url('identity', address),
            'password': self.password,
            'project_name': 'admin',
            'user_domain_id': 'default',
            'project_domain_id': 'default',
            'region_name': REGION,
            'valid_interfaces': interface,
        }

    def _authtoken(self, address: str, interface: str) -> dict[str, object]:
        return {
            **self._client(address, interface),
            'www_authenticate_uri': self.url('identity', address),
            'interface': interface,
            'service_token_roles_required': True,
        }

    def _keystone_sections(self) -> Sections:
        home = self.directory('keystone')
        return {
            'database': {'connection': self._database.url('keystone')},
            'token': {'provider': 'fernet', 'expiration': 86400},
            # Each token is a password checked, and nobody is kept out.
            'identity': {'password_hash_rounds': 4},
            'fernet_tokens': {'key_repository': home / 'fernet'},
            'fernet_receipts': {'key_repository': home / 'fernet'},
            'credential': {'key_repository': home / 'credential'},
        }

    def _glance_sections(self) -> Sections:
        return {
            'DEFAULT': {'enabled_backends': 'lab:file'},
            'database': {'connection': self._database.url('glance')},
            'glance_store': {'default_backend': 'lab'},
            'lab': {'filesystem_store_datadir': self._run / 'images'},
            'keystone_authtoken': self._authtoken(OUTSIDE, 'public'),
            'paste_deploy': {'flavor': 'keystone'},
            'oslo_concurrency': {'lock_path': self._run / 'locks'},
        }

    def _neutron_sections(self) -> Sections:
        return {
            'DEFAULT': {
                'core_plugin': 'ml2',
                'service_plugins': '',
                'state_path': self._run / 'state',
                'transport_url': self._queue.url(OUTSIDE),
                'notify_nova_on_port_status_changes': False,
                'notify_nova_on_port_data_changes': False,
                'api_paste_config': cache.VENV / 'etc/neutron/api-paste.ini',
                'rpc_workers': 0,
            },
            'ml2': {
                'type_drivers': 'local',
                'tenant_network_types': 'local',
                'mechanism_drivers': tap.NAME,
                'extension_drivers': '',
            },
            'database': {'connection': self._database.url('neutron')},
            'keystone_authtoken': self._authtoken(OUTSIDE, 'public'),
            'oslo_concurrency': {'lock_path': self._run / 'locks'},
        }

    def cinder_sections(
        self, address: str, interface: str
    ) -> dict[str, dict[str, object]]:
        """Give what all of cinder's services have in common.

        :param address: where they find the control plane
        :param interface: which of the catalog's endpoints have that address
        """
        client = self._client(address, interface)
        return {
            'DEFAULT': {
                'transport_url': self._queue.url(address),
                'auth_strategy': 'keystone',
                'my_ip': OUTSIDE,
                'state_path': self._run / 'state',
                'api_paste_config': cache.VENV / 'etc/cinder/api-paste.ini',
                'rpc_response_timeout': 300,
                'service_down_time': 180,
                'osapi_volume_workers': 1,
                'glance_catalog_info': f'image:glance:{interface}URL',
                # Nova asks for attachments by instance.
                'resource_query_filters_file': (
                    cache.VENV / 'etc/cinder/resource_filters.json'
                ),
            },
            'database': {'connection': self._database.url('cinder', address)},
            'keystone_authtoken': self._authtoken(address, interface),
            'service_user': {**client, 'send_service_user_token': True},
            'nova': {**client, 'interface': interface},
            'oslo_concurrency': {'lock_path': self._run / 'locks'},
            'coordination': {'backend_url': f'file://{self._run}/state'},
            'oslo_messaging_rabbit': {'heartbeat_timeout_threshold': 0},
        }

    def nova_sections(
        self, address: str, interface: str
    ) -> dict[str, dict[str, object]]:
        """Give what all of Nova's services have in common.

        :param address: where they find the control plane
        :param interface: which of the catalog's endpoints have that address
        """
        client = self._client(address, interface)
        return {
            'DEFAULT': {
                'transport_url': self._queue.url(address),
                'rpc_response_timeout': 300,
                'long_rpc_timeout': 1200,
                'service_down_time': 180,
                'report_interval': 10,
                'graceful_shutdown_timeout': 5,
                'allow_resize_to_same_host': True,
                'instance_usage_audit': False,
            },
            'keystone_authtoken': self._authtoken(address, interface),
            'service_user': {**client, 'send_service_user_token': True},
            'placement': client,
            'neutron': client,
            'glance': {**client, 'num_retries': 3},
            'cinder': {
                **client,
                'catalog_info': f'block-storage:cinder:{interface}URL',
            },
            'oslo_concurrency': {'lock_path': '/var/lock'},
            'oslo_messaging_rabbit': {'heartbeat_timeout_threshold': 0},
        }

    def _controller_sections(self) -> Sections:
        sections = self.nova_sections(OUTSIDE, 'public')
        sections['DEFAULT'].update(
            {
                'host': 'controller',
                'my_ip': OUTSIDE,
                'state_path': self._run / 'state',
                'api_paste_config': cache.VENV / 'etc/nova/api-paste.ini',
            }
        )
        sections['api_database'] = {
            'connection': self._database.url('nova_api')
        }
        sections['database'] = {'connection': self._database.url('nova')}
        sections['scheduler'] = {
            'workers': 1,
            'discover_hosts_in_cells_interval': 5,
            'max_attempts': 1,
        }
        sections['conductor'] = {'workers': 1}
        sections['oslo_concurrency'] = {'lock_path': self._run / 'locks'}
        sections['wsgi'] = {
            'api_paste_config': cache.VENV / 'etc/nova/api-paste.ini'
        }
        return sections
