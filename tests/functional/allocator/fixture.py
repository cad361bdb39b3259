# SPDX-License-Identifier: Apache-2.0
"""A store in an SQLite file of its own."""

import pathlib
import uuid

import fixtures
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces


def make_conf(path, cooling_time=3600, timeout=30, **options):
    conf = cfg.ConfigOpts()
    svirt_nova.conf.register_opts(conf)
    conf([], default_config_files=[])
    conf.set_override(
        'connection', f'sqlite:///{path}?timeout={timeout}', 'svirt_database'
    )
    options['cooling_time'] = cooling_time
    for name, value in options.items():
        conf.set_override(name, value, 'svirt')
    return conf


def new_uuid():
    return str(uuid.uuid4())


class SqliteStore(fixtures.Fixture):
    """A directory for a store, and allocators on it."""

    def __init__(self, categories='c0.c1023', per_level=2, root=None):
        self.root = root
        self.level_space = spaces.LevelSpace.parse(categories, per_level)

    def _setUp(self):
        made = self.useFixture(fixtures.TempDir(rootdir=self.root))
        self.directory = pathlib.Path(made.path)
        self.path = self.directory / 'levels.sqlite'

    def allocator(self, cooling_time=3600, timeout=30, **options):
        conf = make_conf(self.path, cooling_time, timeout, **options)
        stores.sync(conf, self.level_space)
        return sql_allocator.SqlAllocator(conf)
