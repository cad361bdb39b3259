# SPDX-License-Identifier: Apache-2.0
"""The databases of OpenStack's services, with their schemas."""

from __future__ import annotations

import concurrent.futures
import functools
import os
from collections.abc import Callable
from pathlib import Path

from tests.lab import cache
from tests.lab import processes
from tests.lab import wheels
from tests.lab.backends import MariaDB
from tests.lab.configuration import Configuration
from tests.lab.processes import Daemons


def manage(
    configuration: Configuration,
    logs: Path,
    service: str,
    *words: str | os.PathLike[str],
) -> None:
    """Run a command of a service that ends.

    :param words: its program, and arguments
    :raises LabError: it failed
    """
    processes.run(
        [cache.VENV / 'bin' / words[0], *words[1:]],
        log=logs / f'{service}-setup.log',
        timeout=300,
        env=configuration.environment(),
    )


def start(
    database: MariaDB, daemons: Daemons, configuration: Configuration
) -> None:
    """Start MariaDB with the schemas of all services.

    Nothing in them depends on a run's ports and passwords, so they
    come from the cache when it has them.
    """
    key = cache.key(cache.HERE / 'backends.py', Path(__file__), wheels.key())
    archive = cache.root() / f'databases-{key}.tar'
    if archive.exists():
        database.restore(archive)
        database.start(daemons)
        return
    database.start(daemons)
    run = functools.partial(manage, configuration, daemons.logs)
    jobs = (_sync_nova, _sync_neutron, _sync_others)
    with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
        try:
            for done in [pool.submit(job, configuration, run) for job in jobs]:
                done.result()
        except BaseException:
            processes.end_commands()
            raise
    database.save(archive, daemons)
    cache.drop_others('databases-*', archive)
    database.start(daemons)


def _sync_nova(configuration: Configuration, run: Callable[..., None]) -> None:
    file = configuration.directory('nova') / 'nova.conf'
    command = ('nova-manage', '--config-file', file)
    cells = (*command, 'cell_v2')
    # Templates, filled in from nova.conf whenever a cell is used.
    server = '{scheme}://{username}:{password}@{hostname}:{port}'
    run('nova', *command, 'api_db', 'sync')
    run(
        'nova',
        *cells,
        'map_cell0',
        '--database_connection',
        f'{server}/nova_cell0?{{query}}',
    )
    run('nova', *command, 'db', 'sync')
    run(
        'nova',
        *cells,
        'create_cell',
        '--name',
        'cell1',
        '--database_connection',
        f'{server}/nova?{{query}}',
        '--transport-url',
        f'{server}/',
    )


def _sync_neutron(
    configuration: Configuration, run: Callable[..., None]
) -> None:
    run(
        'neutron',
        'neutron-db-manage',
        '--config-file',
        configuration.directory('neutron') / 'neutron.conf',
        'upgrade',
        'heads',
    )


def _sync_others(
    configuration: Configuration, run: Callable[..., None]
) -> None:
    for service, file, verb in (
        ('keystone', 'keystone.conf', ('db_sync',)),
        ('placement', 'placement.conf', ('db', 'sync')),
        ('glance', 'glance-api.conf', ('db_sync',)),
        ('cinder', 'cinder.conf', ('db', 'sync')),
    ):
        run(
            service,
            f'{service}-manage',
            '--config-file',
            configuration.directory(service) / file,
            *verb,
        )
