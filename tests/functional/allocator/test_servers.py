# SPDX-License-Identifier: Apache-2.0
"""The contract on database servers, and what servers alone can do."""

import math
import os
import pathlib
import signal

import fixtures
import testtools

from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.functional.allocator import servers
from tests.functional.allocator import storm
from tests.quick_store import make_conf
from tests.quick_store import MEMORY

PROCESSES = int(os.environ.get('SVIRT_NOVA_STORM_PROCESSES', '16'))
OPERATIONS = int(os.environ.get('SVIRT_NOVA_STORM_OPERATIONS', '4000'))


class OneServerContract(fixture.ServerContract):
    """A mixin: the server of a kind that this process has."""

    kind: str

    @classmethod
    def make_urls(cls):
        return [servers.running(cls.kind).create_database()]


class MariaDBTest(OneServerContract, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLTest(OneServerContract, testtools.TestCase):
    kind = 'postgresql'


class StormMixin:
    """Many processes at once, killed; and the server too."""

    kind: str
    time_limit = 900

    def test_a_storm_leaves_no_level_twice_lost_or_leaked(self):
        server = servers.KINDS[self.kind](MEMORY)
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
            # Longer than a server takes to recover on a busy machine.
            [lambda: make_conf(url, cooling_time=0, call_timeout=90)],
            directory,
            PROCESSES,
            OPERATIONS,
        )
        raging.run(
            kills=PROCESSES // 4,
            events=[break_down, server.restart],
            pause=0.5,
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
