# SPDX-License-Identifier: Apache-2.0
"""Keystone, placement, glance, neutron and nova on the machine itself."""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import openstack

from tests.lab import cache
from tests.lab import schemas
from tests.lab.backends import MariaDB
from tests.lab.backends import RabbitMQ
from tests.lab.configuration import Configuration
from tests.lab.configuration import INSIDE
from tests.lab.configuration import OUTSIDE
from tests.lab.configuration import REGION
from tests.lab.processes import Daemons
from tests.lab.progress import Progress

#: Services by their catalog type.
CATALOG = {
    'identity': 'keystone',
    'placement': 'placement',
    'image': 'glance',
    'network': 'neutron',
    'compute': 'nova',
}


class ControlPlane:
    """The services of one cloud.

    :param volumes: whether cinder is one of them
    :ivar configuration: what their clients must know
    """

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
        self._database = MariaDB(run, secrets.token_hex(12))
        self._queue = RabbitMQ(run, secrets.token_hex(12))
        self.configuration = Configuration(
            run,
            self._database,
            self._queue,
            [*CATALOG, 'block-storage'] if volumes else CATALOG,
        )

    def start_backends(self) -> None:
        """Bring the databases up, with their schemas, and the queue."""
        self.configuration.write()
        with self._progress.step('control plane: databases'):
            self._queue.start(self._daemons)
            schemas.start(self._database, self._daemons, self.configuration)

    def start_services(self) -> None:
        """Bring the services up."""
        with self._progress.step('control plane: services'):
            url = self.configuration.url
            schemas.manage(
                self.configuration,
                self._daemons.logs,
                'keystone',
                'keystone-manage',
                '--config-file',
                self.configuration.directory('keystone') / 'keystone.conf',
                'bootstrap',
                '--bootstrap-password',
                self.configuration.password,
                '--bootstrap-region-id',
                REGION,
                '--bootstrap-public-url',
                url('identity'),
                '--bootstrap-internal-url',
                url('identity', INSIDE),
                '--bootstrap-admin-url',
                url('identity'),
            )
            self._queue.wait(self._daemons)
            self._start_services()

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
        if 'block-storage' in self.configuration.ports:
            file = self.configuration.directory('cinder') / 'cinder.conf'
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
                    self.configuration.directory(service) / f'{service}.conf',
                ],
                env=self.configuration.environment(),
                cwd=self._run,
            )
        for service in self.configuration.ports:
            self._wait_for(service)

    def _start_api(self, service: str, module: str, *words: str) -> None:
        self._daemons.start(
            f'{service}-api',
            [
                cache.VENV / 'bin/uwsgi',
                '--http-socket',
                f'{OUTSIDE}:{self.configuration.ports[service]}',
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
            env=self.configuration.environment(),
            cwd=self._run,
        )

    def _wait_for(self, service: str) -> None:
        url = self.configuration.url(service)
        self._daemons.wait_for(
            f'the {service} service',
            lambda: _answers(url),
            180,
        )

    def _fill_catalog(self) -> None:
        identity = self.connect().identity
        # Services send a token of their own beside the user's.
        identity.assign_project_role_to_user(
            identity.find_project('admin'),
            identity.find_user('admin'),
            identity.find_role('service', ignore_missing=False),
        )
        for kind in self.configuration.ports:
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
                    url=self.configuration.url(kind, address),
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
            auth={**self.configuration.credentials(), 'project_name': project},
        )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=20):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False
