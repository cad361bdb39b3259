# SPDX-License-Identifier: Apache-2.0
"""Keystone, placement, glance, neutron and nova on the machine itself.

All listen on 127.0.0.1. The catalog's public endpoints name that address,
its internal ones the address under which a host's user-mode network shows
the same ports.
"""

from __future__ import annotations

import base64
import concurrent.futures
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack

from tests.lab import cache
from tests.lab import preparation
from tests.lab import processes
from tests.lab import tap
from tests.lab import wheels
from tests.lab.backends import MariaDB
from tests.lab.backends import RabbitMQ
from tests.lab.processes import Daemons
from tests.lab.progress import Progress

OUTSIDE = '127.0.0.1'
#: QEMU's user-mode network shows the machine's loopback here to a host.
INSIDE = '10.0.2.2'
REGION = 'lab'

#: Services by their catalog type.
CATALOG = {
    'identity': 'keystone',
    'placement': 'placement',
    'image': 'glance',
    'network': 'neutron',
    'compute': 'nova',
}

Sections = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True)
class Access:
    """How a compute service finds the control plane.

    :ivar address: where it listens
    :ivar interface: which of the catalog's endpoints have that address
    :ivar python: the command that runs a Python script beside it
    """

    address: str
    interface: str
    python: str


#: In a host, behind QEMU's user-mode network.
FROM_HOST = Access(INSIDE, 'internal', preparation.python())
#: On the machine itself.
FROM_MACHINE = Access(OUTSIDE, 'public', f'{cache.VENV}/bin/python3')


def ini(sections: Sections) -> str:
    """Render oslo.config's file format."""
    return ''.join(
        f'[{name}]\n'
        + ''.join(f'{key} = {value}\n' for key, value in options.items())
        + '\n'
        for name, options in sections.items()
    )


class ControlPlane:
    """The services of one cloud, and what their clients must know."""

    def __init__(
        self,
        run: Path,
        daemons: Daemons,
        progress: Progress,
        volumes: bool = False,
    ) -> None:
        self._run = run
        self._daemons = daemons
        self._progress = progress
        self.password = secrets.token_hex(12)
        self._database = MariaDB(run, secrets.token_hex(12))
        self._queue = RabbitMQ(run, secrets.token_hex(12))
        names = [*CATALOG, 'block-storage'] if volumes else CATALOG
        self._ports = dict(
            zip(names, processes.free_ports(len(names)), strict=True)
        )

    def url(self, service: str, address: str = OUTSIDE) -> str:
        """Give the endpoint of a service, by its catalog type."""
        path = {
            'identity': '/v3',
            'compute': '/v2.1',
            'block-storage': '/v3',
        }.get(service, '')
        return f'http://{address}:{self._ports[service]}{path}'

    def start_backends(self) -> None:
        """Bring the databases up, with their schemas, and the queue."""
        self._write_configuration()
        with self._progress.step('control plane: databases'):
            self._queue.start(self._daemons)
            self._make_databases()

    def start_services(self) -> None:
        """Bring the services up."""
        with self._progress.step('control plane: services'):
            self._venv(
                'keystone-manage',
                '--config-file',
                self._conf('keystone') / 'keystone.conf',
                'bootstrap',
                '--bootstrap-password',
                self.password,
                '--bootstrap-region-id',
                REGION,
                '--bootstrap-public-url',
                self.url('identity'),
                '--bootstrap-internal-url',
                self.url('identity', INSIDE),
                '--bootstrap-admin-url',
                self.url('identity'),
                name='keystone',
            )
            self._queue.wait(self._daemons)
            self._start_services()

    def compute_configuration(
        self, name: str, address: str, access: Access = FROM_HOST
    ) -> dict[str, dict[str, object]]:
        """Give the nova.conf of a compute host, without its driver.

        :param address: the host's own, for migrations
        """
        sections = self._nova_sections(access.address, access.interface)
        sections['DEFAULT'].update(
            {
                'host': name,
                'my_ip': address,
                'force_config_drive': True,
                'state_path': '/var/lib/nova',
                'vif_plugging_timeout': 600,
                # The guests do not listen when asked to power off.
                'shutdown_timeout': 2,
                # The hosts' times are an emulator's.
                'resize_confirm_window': 0,
                'reserved_host_memory_mb': 512,
                # Guests that do nothing can be many.
                'cpu_allocation_ratio': 64,
                'update_resources_interval': 60,
                'heal_instance_info_cache_interval': -1,
            }
        )
        sections['libvirt'] = {
            'virt_type': 'qemu',
            'cpu_mode': 'none',
            'images_type': 'qcow2',
            'num_pcie_ports': 8,
            'wait_soft_reboot_seconds': 5,
            'live_migration_scheme': 'tcp',
            'live_migration_inbound_addr': address,
        }
        sections['vnc'] = {'enabled': False}
        # Neutron's ports are active without an agent that could tell.
        sections['compute'] = {'live_migration_wait_for_vif_plug': False}
        sections['workarounds'] = {'skip_cpu_compare_on_dest': True}
        # Without sudo: nova-compute is root on a lab's host.
        for group in (
            'nova_sys_admin',
            'vif_plug_linux_bridge_privileged',
            'vif_plug_ovs_privileged',
            'privsep_osbrick',
            'svirt_nova_privileged',
        ):
            sections[group] = {
                'helper_command': _privsep_command(
                    access, '/etc/nova/nova.conf'
                )
            }
        return sections

    # Preparation

    def _venv(
        self, *words: str | os.PathLike[str], name: str, timeout: float = 300
    ) -> None:
        processes.run(
            [cache.VENV / 'bin' / words[0], *words[1:]],
            log=self._daemons.logs / f'{name}-setup.log',
            timeout=timeout,
            env=self.environment(),
        )

    def _conf(self, name: str) -> Path:
        return self._run / 'etc' / name

    def environment(self) -> dict[str, str]:
        """Give the environment of all programs of the control plane."""
        return dict(
            os.environ,
            OS_KEYSTONE_CONFIG_DIR=str(self._conf('keystone')),
            OS_GLANCE_CONFIG_DIR=str(self._conf('glance')),
            OS_PLACEMENT_CONFIG_DIR=str(self._conf('placement')),
            OS_NEUTRON_CONFIG_FILES=';'.join(
                [
                    str(cache.VENV / 'etc/neutron/api-paste.ini'),
                    str(self._conf('neutron') / 'neutron.conf'),
                ]
            ),
            OS_NOVA_CONFIG_FILES=';'.join(
                [
                    str(cache.VENV / 'etc/nova/api-paste.ini'),
                    str(self._conf('nova') / 'nova.conf'),
                ]
            ),
            PYTHONPATH=f'{cache.CHECKOUT}:{self._run / "entry-points"}',
            HOME=str(self._run),
            PYTHONDONTWRITEBYTECODE='1',
        )

    def _make_databases(self) -> None:
        """Start MariaDB with the schemas of all services.

        Nothing in them depends on a run's ports and passwords, so they
        come from the cache when it has them.
        """
        key = cache.key(
            cache.HERE / 'backends.py', Path(__file__), wheels.key()
        )
        archive = cache.root() / f'databases-{key}.tar'
        if archive.exists():
            self._database.restore(archive)
            self._database.start(self._daemons)
            return
        self._database.start(self._daemons)
        jobs = (self._sync_nova, self._sync_neutron, self._sync_others)
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            try:
                for done in [pool.submit(job) for job in jobs]:
                    done.result()
            except BaseException:
                processes.end_commands()
                raise
        self._database.save(archive, self._daemons)
        cache.drop_others('databases-*', archive)
        self._database.start(self._daemons)

    def _sync_nova(self) -> None:
        manage = (
            'nova-manage',
            '--config-file',
            self._conf('nova') / 'nova.conf',
        )
        # Templates, filled in from nova.conf whenever a cell is used.
        server = '{scheme}://{username}:{password}@{hostname}:{port}'
        self._venv(*manage, 'api_db', 'sync', name='nova')
        self._venv(
            *manage,
            'cell_v2',
            'map_cell0',
            '--database_connection',
            f'{server}/nova_cell0?{{query}}',
            name='nova',
        )
        self._venv(*manage, 'db', 'sync', name='nova')
        self._venv(
            *manage,
            'cell_v2',
            'create_cell',
            '--name',
            'cell1',
            '--database_connection',
            f'{server}/nova?{{query}}',
            '--transport-url',
            f'{server}/',
            name='nova',
        )

    def _sync_neutron(self) -> None:
        self._venv(
            'neutron-db-manage',
            '--config-file',
            self._conf('neutron') / 'neutron.conf',
            'upgrade',
            'heads',
            name='neutron',
        )

    def _sync_others(self) -> None:
        for service, file, verb in (
            ('keystone', 'keystone.conf', ('db_sync',)),
            ('placement', 'placement.conf', ('db', 'sync')),
            ('glance', 'glance-api.conf', ('db_sync',)),
            ('cinder', 'cinder.conf', ('db', 'sync')),
        ):
            self._venv(
                f'{service}-manage',
                '--config-file',
                self._conf(service) / file,
                *verb,
                name=service,
            )

    # Services

    def _start_services(self) -> None:
        for service, module in (
            ('identity', 'keystone.wsgi.api'),
            ('placement', 'placement.wsgi.api'),
            ('image', 'glance.wsgi.api'),
            ('network', 'neutron.wsgi.api'),
        ):
            self._start_api(service, module)
        self._wait_for('identity')
        self._fill_catalog()
        # These ask for the catalog once, and never again.
        self._start_api('compute', 'nova.wsgi.osapi_compute')
        programs = [('nova', 'conductor'), ('nova', 'scheduler')]
        if 'block-storage' in self._ports:
            file = self._conf('cinder') / 'cinder.conf'
            self._start_api(
                'block-storage',
                'cinder.wsgi.api',
                '--pyargv',
                f'--config-file {file}',
            )
            programs.append(('cinder', 'scheduler'))
        for service, part in programs:
            self._daemons.start(
                f'{service}-{part}',
                [
                    cache.VENV / 'bin' / f'{service}-{part}',
                    '--config-file',
                    self._conf(service) / f'{service}.conf',
                ],
                env=self.environment(),
                cwd=self._run,
            )
        for service in self._ports:
            self._wait_for(service)

    def _start_api(self, service: str, module: str, *words: str) -> None:
        self._daemons.start(
            f'{service}-api',
            [
                cache.VENV / 'bin/uwsgi',
                '--http-socket',
                f'{OUTSIDE}:{self._ports[service]}',
                '--module',
                f'{module}:application',
                '--threads',
                '8',
                '--need-app',
                '--die-on-term',
                '--buffer-size',
                '65535',
                '--chunked-input-limit',
                '67108864',
                '--chunked-input-timeout',
                '60',
                '--disable-logging',
                # It closes, and clients have to know: a reused connection
                # would fail.
                '--add-header',
                'Connection: close',
                *words,
            ],
            env=self.environment(),
            cwd=self._run,
        )

    def _wait_for(self, service: str) -> None:
        self._daemons.wait_for(
            f'the {service} service', lambda: _answers(self.url(service)), 180
        )

    def _fill_catalog(self) -> None:
        identity = self.connect().identity
        # Services send a token of their own beside the user's.
        identity.assign_project_role_to_user(
            identity.find_project('admin'),
            identity.find_user('admin'),
            identity.find_role('service', ignore_missing=False),
        )
        for kind in self._ports:
            if kind == 'identity':
                continue
            name = CATALOG.get(kind, 'cinder')
            service = identity.create_service(type=kind, name=name)
            for interface, address in (
                ('public', OUTSIDE),
                ('internal', INSIDE),
            ):
                identity.create_endpoint(
                    service_id=service.id,
                    interface=interface,
                    url=self.url(kind, address),
                    region_id=REGION,
                )

    def connect(self, project: str = 'admin') -> Any:
        """Connect to the cloud as its administrator, in a project."""
        return openstack.connect(
            load_yaml_config=False,
            load_envvars=False,
            auth_type='password',
            region_name=REGION,
            interface='public',
            auth={**self.credentials(), 'project_name': project},
        )

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

    # Configuration

    def _write_configuration(self) -> None:
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
            ('cinder/cinder.conf', self._cinder_sections(OUTSIDE, 'public')),
        )
        for name, sections in files:
            path = self._conf(name)
            path.parent.mkdir(parents=True)
            path.write_text(ini(sections))
            path.chmod(0o600)
        paste = 'glance-api-paste.ini'
        (self._conf('glance') / paste).write_text(
            (cache.VENV / 'etc/glance' / paste).read_text()
        )
        for name in ('locks', 'state', 'images'):
            (self._run / name).mkdir()
        for name in ('fernet', 'credential'):
            keys = self._conf('keystone') / name
            keys.mkdir(mode=0o700)
            # As keystone-manage fernet_setup and credential_setup do:
            # 0 is the next key, 1 the current one.
            for number in ('0', '1'):
                (keys / number).write_bytes(
                    base64.urlsafe_b64encode(secrets.token_bytes(32))
                )
        tap.write_entry_point(self._run / 'entry-points')

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
        home = self._conf('keystone')
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

    def volume_configuration(
        self, address: str, access: Access = FROM_HOST
    ) -> Sections:
        """Give the cinder.conf of the host that serves volumes.

        :param address: the host's own
        """
        sections = self._cinder_sections(access.address, access.interface)
        sections['DEFAULT'].update(
            {
                'enabled_backends': 'nfs',
                'host': 'volumes',
                'my_ip': address,
                'state_path': '/var/lib/cinder',
            }
        )
        sections['oslo_concurrency'] = {'lock_path': '/var/lib/cinder'}
        sections['coordination'] = {'backend_url': 'file:///var/lib/cinder'}
        sections['nfs'] = {
            'volume_driver': 'shareable.NfsDriver',
            'volume_backend_name': 'nfs',
            'nfs_shares_config': '/etc/cinder/shares',
            'nfs_mount_point_base': '/var/lib/cinder/mnt',
            'nfs_snapshot_support': True,
            'nas_secure_file_operations': False,
            'nas_secure_file_permissions': False,
        }
        # Without sudo: cinder-volume is root on a lab's host.
        for group in ('cinder_sys_admin', 'privsep_osbrick'):
            sections[group] = {
                'helper_command': _privsep_command(
                    access, '/etc/cinder/cinder.conf'
                )
            }
        return sections

    def allocator_configuration(self) -> Sections:
        """Give the configuration of the levels' store and its service."""
        return {
            'DEFAULT': {'transport_url': self._queue.url(OUTSIDE)},
            'svirt_database': {'connection': self._database.url('svirt_nova')},
            'svirt_nova_allocator': {'workers': 1, 'reap_interval': 0},
            'oslo_messaging_rabbit': {'heartbeat_timeout_threshold': 0},
        }

    def _cinder_sections(
        self, address: str, interface: str
    ) -> dict[str, dict[str, object]]:
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

    def _nova_sections(
        self, address: str, interface: str
    ) -> dict[str, dict[str, object]]:
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
        sections = self._nova_sections(OUTSIDE, 'public')
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


def _privsep_command(access: Access, configuration: str) -> str:
    """Give the command that starts a privileged helper."""
    return (
        f'{access.python} {cache.VENV}/bin/privsep-helper '
        f'--config-file {configuration}'
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
