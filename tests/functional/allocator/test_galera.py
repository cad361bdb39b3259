# SPDX-License-Identifier: Apache-2.0
"""The contract over the nodes of a Galera cluster, and a storm on it."""

import functools
import itertools
import math
import pathlib
import signal
import time

import fixtures
import testtools

from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional.allocator import contract
from tests.functional.allocator import galera
from tests.functional.allocator import test_servers
from tests.functional.allocator.test_servers import make_conf


class GaleraTest(contract.AllocatorContract, testtools.TestCase):
    """Each allocator of a test asks another node than the one before."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = galera.Galera()
        cls.addClassCleanup(cls.cluster.remove)

    def setUp(self):
        urls = self.cluster.create_database()
        stores.sync(make_conf(urls[0]), spaces.LevelSpace.parse('c0.c9'))
        self.urls = itertools.cycle(urls)
        super().setUp()

    def make(self, cooling_time, **options):
        # As long takes each change of the level space.
        options.setdefault('call_timeout', 3)
        return sql_allocator.SqlAllocator(
            make_conf(next(self.urls), cooling_time=cooling_time, **options)
        )

    def wait_a_tick(self):
        time.sleep(0.01)


class GaleraStormTest(testtools.TestCase):
    time_limit = 900

    def test_a_storm_with_a_node_killed_and_one_cut_off(self):
        cluster = galera.Galera()
        self.addCleanup(cluster.remove)
        urls = cluster.create_database()
        operations = test_servers.OPERATIONS
        last = math.isqrt(operations // 2)
        space = spaces.LevelSpace.parse(f'c0.c{last}')
        stores.sync(make_conf(urls[0]), space)
        _, parted, killed = cluster.nodes

        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        raging = test_servers.storm.Storm(
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
            pause=2,
        )
        for url in urls:
            allocator = sql_allocator.SqlAllocator(make_conf(url))
            self.assertEqual(space, allocator.space())
        found = raging.judge(allocator)
        print(
            f'Galera: {found} of {space.size} levels in {raging.seconds:.1f} s'
        )
