# SPDX-License-Identifier: Apache-2.0
"""A database server that is there, and silent."""

import os
import pathlib
import signal
import time

import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from tests.functional.allocator import servers
from tests.quick_store import make_conf


def _processes(parent):
    """A process and its children."""
    found = [parent]
    for stat in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            words = stat.read_text().rpartition(')')[2].split()
        except OSError:
            continue
        if words[1] == str(parent):
            found.append(int(stat.parent.name))
    return found


class FrozenTest:
    """A mixin: a server of a kind is stopped with SIGSTOP."""

    kind: str

    def test_a_call_to_a_frozen_server_ends_in_time_and_works_again(self):
        server = servers.running(self.kind)
        conf = make_conf(server.create_database(), call_timeout=3)
        stores.sync(conf, contract.SPACE)
        allocator = sql_allocator.SqlAllocator(conf)
        allocator.acquire(contract.new_uuid(), 'p', 'a')
        frozen = _processes(server._process.pid)
        for each in frozen:
            os.kill(each, signal.SIGSTOP)
        try:
            for _ in range(2):
                began = time.monotonic()
                self.assertRaises(
                    exception.StoreUnreachable,
                    allocator.acquire,
                    contract.new_uuid(),
                    'p',
                    'a',
                )
                self.assertLess(time.monotonic() - began, 15)
        finally:
            for each in frozen:
                os.kill(each, signal.SIGCONT)
        self.assertEqual(
            'p', allocator.acquire(contract.new_uuid(), 'p', 'a').project_id
        )


class FrozenMariaDBTest(FrozenTest, testtools.TestCase):
    kind = 'mariadb'


class FrozenPostgreSQLTest(FrozenTest, testtools.TestCase):
    kind = 'postgresql'
