# SPDX-License-Identifier: Apache-2.0
"""Database servers and a message bus of the tests' own, on loopback.

One server of a kind serves all tests of a process, from files in memory.
Others wait for the disk at each commit, as they do in production. All end
with the process that started them.
"""

from __future__ import annotations

import abc
import atexit
import base64
import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from typing import Any

import fixtures
import sqlalchemy as sa

from tests import quick_store
from tests.lab import backends
from tests.lab import processes

_PATIENCE = 90


class Server(abc.ABC):
    """A server in a directory of its own.

    :param root: where the directory is made; None for that of temporary
        files
    :ivar port: where it listens on 127.0.0.1
    """

    admin_database: str
    user = 'root'
    # How it ends without waiting for its clients.
    quickly = signal.SIGTERM

    def __init__(self, root: str | None = None) -> None:
        self.directory = pathlib.Path(
            tempfile.mkdtemp(prefix='svirt-nova-', dir=root)
        )
        [self.port] = processes.free_ports(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / 'log'
        shutil.chown(self.directory, self.user)
        # A MariaDB that starts deletes the temporary tables of all others in
        # the same place (mysql_rm_tmp_tables), and then those do not start.
        self._environment = {**os.environ, 'TMPDIR': str(self.directory)}
        atexit.register(self.remove)
        self.make()
        self.start()

    @abc.abstractmethod
    def make(self) -> None:
        """Make an empty data directory."""

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The server's command line."""

    @abc.abstractmethod
    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""

    def run(self, *words: str | pathlib.Path) -> None:
        """Run a command as the server's user."""
        done = subprocess.run(
            [*self._as_user(), *words],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            cwd='/',
            env=self._environment,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f'{" ".join(map(str, words))}: {done.stdout}{done.stderr}'
            )

    def _as_user(self) -> list[str]:
        return [
            'setpriv',
            f'--reuid={self.user}',
            f'--regid={self.user}',
            '--init-groups',
        ]

    def start(self) -> None:
        """Start it, on what it has, and wait until it answers."""
        with self._log.open('ab') as log:
            self._process = subprocess.Popen(
                [*self._as_user(), '--pdeathsig=KILL', *self.command()],
                stdout=log,
                stderr=log,
                cwd='/',
                env=self._environment,
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or (
                time.monotonic() > deadline
            ):
                raise RuntimeError(
                    f'{self.command()[0]} does not start:\n'
                    f'{self._log.read_text()[-3000:]}'
                )
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            self.execute('SELECT 1')
        except sa.exc.OperationalError:
            return False
        return True

    def execute(self, *statements: str) -> None:
        """Run statements as the server's administrator."""
        engine = sa.create_engine(
            self.url(self.admin_database),
            poolclass=sa.pool.NullPool,
            isolation_level='AUTOCOMMIT',
            connect_args={'connect_timeout': 5},
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def create_database(self) -> str:
        """Make an empty database; its URL."""
        name = f'test_{uuid.uuid4().hex}'
        self.execute(f'CREATE DATABASE {name}')
        return self.url(name)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: in order, or by SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop it in order, and start it."""
        self.stop(self.quickly)
        self.start()

    def remove(self) -> None:
        """End it and remove its files."""
        if self._process is not None:
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)


class MariaDB(Server):
    """A MariaDB server."""

    admin_database = 'mysql'
    user = 'mysql'

    def make(self) -> None:
        self.run(
            'mariadb-install-db',
            '--no-defaults',
            f'--datadir={self.directory / "data"}',
            '--skip-test-db',
            '--auth-root-authentication-method=normal',
        )

    def command(self) -> list[str]:
        return [
            'mariadbd',
            '--no-defaults',
            f'--datadir={self.directory / "data"}',
            f'--socket={self.directory / "socket"}',
            f'--pid-file={self.directory / "pid"}',
            f'--port={self.port}',
            '--bind-address=127.0.0.1',
            '--skip-name-resolve',
            '--max-connections=500',
            '--innodb-buffer-pool-size=1G',
        ]

    def url(self, database: str) -> str:
        return (
            f'mysql+pymysql://root@127.0.0.1:{self.port}/{database}'
            f'?charset=utf8mb4'
        )


class PostgreSQL(Server):
    """A PostgreSQL server."""

    admin_database = 'postgres'
    user = 'postgres'
    quickly = signal.SIGINT

    @staticmethod
    def _program(name: str) -> str:
        # Debian keeps them out of PATH.
        found = sorted(pathlib.Path('/usr/lib/postgresql').glob('*/bin'))
        path = shutil.which(
            name, path=os.pathsep.join(map(str, reversed(found)))
        )
        if path is None:
            raise RuntimeError(f'PostgreSQL is not installed: no {name}')
        return path

    def make(self) -> None:
        self.run(
            self._program('initdb'),
            '--auth=trust',
            '--encoding=UTF8',
            '--no-locale',
            '--username=root',
            '--pgdata',
            self.directory / 'data',
        )

    def command(self) -> list[str]:
        return [
            self._program('postgres'),
            '-D',
            str(self.directory / 'data'),
            '-p',
            str(self.port),
            '-k',
            str(self.directory),
            '-h',
            '127.0.0.1',
            '-c',
            'max_connections=200',
            '-c',
            'shared_buffers=1GB',
        ]

    def url(self, database: str) -> str:
        return f'postgresql+psycopg2://root@127.0.0.1:{self.port}/{database}'


class RabbitMQ:
    """A RabbitMQ node.

    :param definitions: the users, virtual hosts and permissions that it has
        from its start on, as RabbitMQ exports them; None for one user
    """

    def __init__(self, definitions: dict[str, Any] | None = None) -> None:
        self._definitions = definitions
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='svirt-nova-'))
        self._node = backends.RabbitMQ(self.directory, 'secret')
        self._daemons = processes.Daemons(
            self.directory / 'daemons', self.directory / 'log'
        )
        self.url = self._node.url('127.0.0.1')
        atexit.register(self.remove)
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        more = self.directory / 'conf.d'
        more.mkdir(exist_ok=True)
        if self._definitions is not None:
            path = self.directory / 'definitions.json'
            path.write_text(json.dumps(self._definitions))
            (more / 'more.conf').write_text(f'load_definitions = {path}\n')
        # The node inherits it.
        with fixtures.EnvironmentVariable(
            'RABBITMQ_CONFIG_FILES', str(more / '*.conf')
        ):
            self._node.start(self._daemons)
        self._node.wait(self._daemons)

    def stop(self) -> None:
        """End it at once, with the messages that it has."""
        self._daemons.stop_all()

    def remove(self) -> None:
        """End it and remove its files."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


KINDS = {'mariadb': MariaDB, 'postgresql': PostgreSQL}
_running: dict[str, Server] = {}


def running(kind: str) -> Server:
    """The server of a kind that this process has."""
    if kind not in _running:
        _running[kind] = KINDS[kind](quick_store.MEMORY)
    return _running[kind]


@functools.cache
def message_bus() -> RabbitMQ:
    """The message bus that this process has."""
    return RabbitMQ(
        bus_definitions(
            [OPERATORS], [], [bus_permissions(OPERATORS, 'lab', *['.*'] * 3)]
        )
    )


OPERATORS = 'operators'
"""A virtual host of that message bus, beside its usual one."""


def operators_bus() -> str:
    """The URL of the virtual host of operators."""
    return f'{message_bus().url}{OPERATORS}'


def bus_definitions(
    vhosts: Sequence[str],
    users: Sequence[dict[str, str]],
    permissions: Sequence[dict[str, str]],
) -> dict[str, Any]:
    """What a node has from its start on, beside what each one has."""
    return {
        'vhosts': [{'name': each} for each in ('/', *vhosts)],
        'users': [bus_user('lab', 'secret'), *users],
        'permissions': [
            bus_permissions('/', 'lab', '.*', '.*', '.*'),
            *permissions,
        ],
    }


def bus_user(name: str, password: str) -> dict[str, str]:
    """A user of RabbitMQ, as it exports one."""
    salt = b'salt'
    digest = hashlib.sha256(salt + password.encode()).digest()
    return {
        'name': name,
        'password_hash': base64.b64encode(salt + digest).decode(),
        'hashing_algorithm': 'rabbit_password_hashing_sha256',
        'tags': '',
    }


def bus_permissions(
    vhost: str, user: str, configure: str, write: str, read: str
) -> dict[str, str]:
    """What a user may do in a virtual host, as RabbitMQ exports it."""
    return {
        'vhost': vhost,
        'user': user,
        'configure': configure,
        'write': write,
        'read': read,
    }
