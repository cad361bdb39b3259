# SPDX-License-Identifier: Apache-2.0
"""Database server and message queue, on ports and in folders of the lab."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.lab import processes
from tests.lab.processes import Daemons

DATABASES = (
    'keystone',
    'placement',
    'glance',
    'neutron',
    'nova_api',
    'nova',
    'nova_cell0',
    'cinder',
    'svirt_nova',
)


class MariaDB:
    """A MariaDB server for the services' own databases."""

    def __init__(self, run: Path, password: str) -> None:
        self._home = run / 'mariadb'
        self._password = password
        [self.port] = processes.free_ports(1)

    def url(self, database: str, address: str = '127.0.0.1') -> str:
        """Give the SQLAlchemy URL of one database."""
        return (
            f'mysql+pymysql://lab:{self._password}@{address}:{self.port}'
            f'/{database}?charset=utf8'
        )

    def start(self, daemons: Daemons) -> None:
        """Start it, on the restored databases or on new, empty ones."""
        data = self._home / 'data'
        # Another MariaDB that starts deletes the temporary tables of all in
        # the same place (mysql_rm_tmp_tables).
        env = {**os.environ, 'TMPDIR': str(self._home)}
        if not data.exists():
            self._home.mkdir(parents=True)
            processes.run(
                [
                    'mariadb-install-db',
                    '--no-defaults',
                    '--user=root',
                    f'--datadir={data}',
                    '--skip-test-db',
                ],
                log=daemons.logs / 'mariadb-install.log',
                timeout=180,
                env=env,
            )
        statements = [
            f'CREATE DATABASE IF NOT EXISTS {name};' for name in DATABASES
        ]
        statements += [
            "CREATE OR REPLACE USER lab@'127.0.0.1' IDENTIFIED BY "
            f"'{self._password}';",
            "GRANT ALL ON *.* TO lab@'127.0.0.1';",
        ]
        first = self._home / 'first.sql'
        first.touch(0o600)
        first.write_text('\n'.join(statements) + '\n')
        daemons.start(
            'mariadb',
            [
                'mariadbd',
                '--no-defaults',
                '--user=root',
                f'--datadir={data}',
                f'--socket={self._home}/socket',
                f'--port={self.port}',
                '--bind-address=127.0.0.1',
                '--skip-name-resolve',
                f'--pid-file={self._home}/pid',
                f'--init-file={first}',
                '--max-connections=500',
                '--innodb-buffer-pool-size=192M',
                # Nothing here has to survive the machine.
                '--innodb-flush-log-at-trx-commit=0',
                '--innodb-doublewrite=0',
            ],
            env=env,
        )
        daemons.wait_for(
            'MariaDB', lambda: processes.port_is_open(self.port), 120
        )

    def restore(self, archive: Path) -> None:
        """Take the databases that ``save`` kept; before ``start``."""
        self._home.mkdir(parents=True)
        processes.run(
            ['tar', '-x', '-f', archive, '-C', self._home],
            log=self._home / 'tar.log',
            timeout=120,
        )

    def save(self, archive: Path, daemons: Daemons) -> None:
        """Stop the server and keep its databases in a .tar."""
        daemons.stop('mariadb')
        made = archive.with_suffix('.new')
        processes.run(
            ['tar', '-c', '-f', made, '-C', self._home, 'data'],
            log=self._home / 'tar.log',
            timeout=120,
        )
        made.replace(archive)


class RabbitMQ:
    """A RabbitMQ node with an epmd of its own."""

    def __init__(self, run: Path, password: str) -> None:
        self._home = run / 'rabbitmq'
        self._password = password
        self.port, self._distribution, self._epmd = processes.free_ports(3)

    def url(self, address: str) -> str:
        """Give the oslo.messaging URL, as seen from where it has address."""
        return f'rabbit://lab:{self._password}@{address}:{self.port}/'

    def start(self, daemons: Daemons) -> None:
        """Start epmd and the node."""
        self._home.mkdir(parents=True, exist_ok=True)
        (self._home / 'lab.conf').write_text(
            f'listeners.tcp.1 = 127.0.0.1:{self.port}\n'
            'default_user = lab\n'
            f'default_pass = {self._password}\n'
            # The lab shares its machine's disk; a watermark relative to
            # memory would stop all messages for no reason.
            'disk_free_limit.absolute = 100MB\n'
        )
        (self._home / 'plugins').write_text('[].\n')
        # The node's own start of an epmd would leave it running for ever.
        daemons.start(
            'epmd',
            [_epmd(), '-address', '127.0.0.1', '-port', str(self._epmd)],
        )
        daemons.wait_for(
            'epmd', lambda: processes.port_is_open(self._epmd), 30
        )
        daemons.start(
            'rabbitmq',
            ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
            env=dict(
                os.environ,
                HOME=str(self._home),
                LC_ALL='C.UTF-8',
                ERL_EPMD_ADDRESS='127.0.0.1',
                ERL_EPMD_PORT=str(self._epmd),
                RABBITMQ_NODENAME='svirt-nova-lab@localhost',
                RABBITMQ_CONFIG_FILE=str(self._home / 'lab.conf'),
                RABBITMQ_CONF_ENV_FILE='/dev/null',
                RABBITMQ_ENABLED_PLUGINS_FILE=str(self._home / 'plugins'),
                RABBITMQ_MNESIA_BASE=str(self._home / 'mnesia'),
                RABBITMQ_LOG_BASE=str(self._home / 'log'),
                RABBITMQ_PID_FILE=str(self._home / 'pid'),
                RABBITMQ_DIST_PORT=str(self._distribution),
                # The busy-waiting schedulers of Erlang would eat a core.
                RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
                    '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none '
                    '-kernel inet_dist_use_interface {127,0,0,1}'
                ),
            ),
        )

    def wait(self, daemons: Daemons) -> None:
        """Wait until it listens."""
        daemons.wait_for(
            'RabbitMQ', lambda: processes.port_is_open(self.port), 180
        )


def _epmd() -> str:
    return shutil.which('epmd') or '/usr/bin/epmd'
