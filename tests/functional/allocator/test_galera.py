# SPDX-License-Identifier: Apache-2.0
"""The contract over the nodes of a Galera cluster, and a storm on it."""

import functools
import math
import pathlib
import signal

import fixtures
import testtools

from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.functional.allocator import galera
from tests.functional.allocator import storm
from tests.functional.allocator import test_servers
from tests.quick_store import make_conf
from tests.quick_store import MEMORY


class GaleraTest(fixture.ServerContract, testtools.TestCase):
    """Each allocator of a test asks another node than the one before."""

    @classmethod
    def make_urls(cls):
        cluster = galera.Galera(MEMORY)
        cls.addClassCleanup(cluster.remove)
        return cluster.create_database()


class GaleraStormTest(testtools.TestCase):
    time_limit = 900

    def test_a_storm_with_a_node_killed_and_one_cut_off(self):
        cluster = galera.Galera(MEMORY)
        self.addCleanup(cluster.remove)
        urls = cluster.create_database()
        operations = test_servers.OPERATIONS
        last = math.isqrt(operations // 2)
        space = spaces.LevelSpace.parse(f'c0.c{last}')
        stores.sync(make_conf(urls[0]), space)
        _, parted, killed = cluster.nodes

        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        raging = storm.Storm(
            # Longer than a killed node takes to copy all from another.
            [
                functools.partial(
                    make_conf, url, call_timeout=90, cooling_time=0
                )
                for url in urls
            ],
            directory,
            test_servers.PROCESSES,
            operations,
        )
        raging.run(
            kills=test_servers.PROCESSES // 4,
            events=[
                functools.partial(killed.stop, signal.SIGKILL),
                killed.start,
                parted.part,
                parted.rejoin,
            ],
            pause=1,
        )
        for url in urls:
            allocator = sql_allocator.SqlAllocator(make_conf(url))
            self.assertEqual(space, allocator.space())
        found = raging.judge(allocator)
        print(
            f'Galera: {found} of {space.size} levels in {raging.seconds:.1f} s'
        )
