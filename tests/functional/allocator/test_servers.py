# SPDX-License-Identifier: Apache-2.0
"""The contract on database servers, and what servers alone can do."""

import time

import testtools
from oslo_config import cfg

from svirt_nova import conf as svirt_conf
from svirt_nova import space as spaces
from svirt_nova.allocator.sql import driver
from svirt_nova.allocator.sql import store
from tests.functional.allocator import contract
from tests.functional.allocator import servers


def make_conf(url, **options):
    conf = cfg.ConfigOpts()
    svirt_conf.register_opts(conf)
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
        store.sync(make_conf(self.url), spaces.LevelSpace.parse('c0.c9'))
        super().setUp()

    def make(self, cooling_time, **options):
        options.setdefault('call_timeout', 2)
        return driver.SqlAllocator(
            make_conf(self.url, cooling_time=cooling_time, **options)
        )

    def wait_a_tick(self):
        time.sleep(0.01)


class MariaDBTest(ServerTest, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLTest(ServerTest, testtools.TestCase):
    kind = 'postgresql'
