# SPDX-License-Identifier: Apache-2.0
"""Three MariaDB servers on loopback that are one Galera cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pymysql

from tests.functional.allocator import servers
from tests.lab import processes

_PROVIDER = '/usr/lib/galera/libgalera_smm.so'


class Node(servers.MariaDB):
    """One node; it starts when it is made.

    :param group: the ports of all nodes' group communication
    :param number: which of them it is; the first founds the cluster
    :param root: see :class:`servers.Server`
    """

    def __init__(
        self, group: Sequence[int], number: int, root: str | None
    ) -> None:
        self._group = group
        self._number = number
        self._founds = number == 0
        self._incremental, self._transfer = processes.free_ports(2)
        super().__init__(root)
        self._founds = False

    def command(self) -> list[str]:
        own = self._group[self._number]
        others = ','.join(f'127.0.0.1:{port}' for port in self._group)
        options = {
            'on': 'ON',
            'provider': _PROVIDER,
            'cluster_name': 'svirt-nova',
            'cluster_address': f'gcomm://{"" if self._founds else others}',
            'node_name': f'node-{self._number}',
            'node_address': f'127.0.0.1:{own}',
            'sst_method': 'rsync',
            'sst_receive_address': f'127.0.0.1:{self._transfer}',
            'slave_threads': '2',
            'provider_options': f'gmcast.listen_addr=tcp://127.0.0.1:{own};'
            f'ist.recv_addr=127.0.0.1:{self._incremental};'
            'gcache.size=64M',
        }
        # In a file: the script that copies a node's data gets the command
        # line through a shell, which would end it at a semicolon.
        file = self.directory / 'my.cnf'
        file.write_text(
            '[mysqld]\nbinlog_format = ROW\ninnodb_autoinc_lock_mode = 2\n'
            + ''.join(f'wsrep_{k} = "{v}"\n' for k, v in options.items())
        )
        program, _, *words = super().command()
        return [program, f'--defaults-file={file}', *words]

    def _answers(self) -> bool:
        return self._status('wsrep_local_state') == '4' and self.is_ready()

    def is_ready(self) -> bool:
        """Whether it takes statements, as a part of the majority."""
        return self._status('wsrep_ready') == 'ON'

    def _status(self, name: str) -> str | None:
        try:
            row = self._ask(f"SHOW STATUS LIKE '{name}'")
        except pymysql.MySQLError:
            return None
        return None if row is None else str(row[1])

    def _ask(self, statement: str) -> Sequence[object] | None:
        """Run a statement, also on a node that is cut off.

        SQLAlchemy asks what such a node does not answer.
        """
        with (
            pymysql.connect(
                host='127.0.0.1',
                port=self.port,
                user='root',
                connect_timeout=30,
                read_timeout=30,
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchone()

    def part(self) -> None:
        """Cut it off from the others, until it has seen that."""
        self._set_provider('gmcast.isolate=1')
        while self.is_ready():
            time.sleep(0.1)

    def rejoin(self) -> None:
        """Let it talk to the others again, until it works with them."""
        self._set_provider('gmcast.isolate=0')
        while not self._answers():
            time.sleep(0.1)

    def _set_provider(self, option: str) -> None:
        self._ask(f"SET GLOBAL wsrep_provider_options='{option}'")


class Galera:
    """Three nodes, synced.

    :param root: see :class:`servers.Server`
    """

    def __init__(self, root: str | None = None) -> None:
        group = processes.free_ports(3)
        self.nodes: list[Node] = []
        try:
            for number in range(3):
                self.nodes.append(Node(group, number, root))
        except BaseException:
            self.remove()
            raise

    def create_database(self) -> list[str]:
        """Make an empty database; its URL on each node."""
        name = self.nodes[0].create_database().rpartition('/')[2]
        name = name.partition('?')[0]
        return [node.url(name) for node in self.nodes]

    def remove(self) -> None:
        """End all nodes and remove their files."""
        for node in self.nodes:
            node.remove()
