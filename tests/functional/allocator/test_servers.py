# SPDX-License-Identifier: Apache-2.0
"""The contract on database servers, and what servers alone can do."""

import math
import os
import pathlib
import signal
import time

import fixtures
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional.allocator import contract
from tests.functional.allocator import servers
from tests.functional.allocator import storm

PROCESSES = int(os.environ.get('SVIRT_NOVA_STORM_PROCESSES', '16'))
OPERATIONS = int(os.environ.get('SVIRT_NOVA_STORM_OPERATIONS', '4000'))


def make_conf(url, **options):
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override('connection', url, 'svirt_database')
    for name, value in options.items():
        group = 'svirt_database' if name == 'call_timeout' else 'svirt'
        conf.set_override(name, value, group)
    return conf


class ServerTest(contract.AllocatorContract):
    """A mixin: the contract on a server of a kind."""

    kind: str

    def setUp(self):
        self.server = servers.running(self.kind)
        self.url = self.server.create_database()
        stores.sync(make_conf(self.url), spaces.LevelSpace.parse('c0.c9'))
        super().setUp()

    def make(self, cooling_time, **options):
        # As long takes each change of the level space.
        options.setdefault('call_timeout', 3)
        return sql_allocator.SqlAllocator(
            make_conf(self.url, cooling_time=cooling_time, **options)
        )

    def wait_a_tick(self):
        time.sleep(0.01)


class MariaDBTest(ServerTest, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLTest(ServerTest, testtools.TestCase):
    kind = 'postgresql'


class StormMixin:
    """Many processes at once, killed; and the server too."""

    kind: str
    time_limit = 900

    def test_a_storm(self):
        server = servers.KINDS[self.kind]()
        self.addCleanup(server.remove)
        url = server.create_database()
        # So small that levels are used again, at once.
        last = math.isqrt(OPERATIONS // 2)
        space = spaces.LevelSpace.parse(f'c0.c{last}')
        stores.sync(make_conf(url), space)

        def break_down():
            server.stop(signal.SIGKILL)
            server.start()

        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        raging = storm.Storm(
            [lambda: make_conf(url, cooling_time=0)],
            directory,
            PROCESSES,
            OPERATIONS,
        )
        raging.run(
            kills=PROCESSES // 4, events=[break_down, server.restart], pause=2
        )
        found = raging.judge(sql_allocator.SqlAllocator(make_conf(url)))
        print(
            f'{self.kind}: {found} of {space.size} levels in '
            f'{raging.seconds:.1f} s'
        )


class MariaDBStormTest(StormMixin, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLStormTest(StormMixin, testtools.TestCase):
    kind = 'postgresql'
