# SPDX-License-Identifier: Apache-2.0
"""How a schema is made, and how this release works on that of the next."""

import subprocess
import sys

import sqlalchemy as sa
import testtools
from alembic import migration
from alembic import operations

from svirt_nova import exception
from svirt_nova.allocator import clouds
from svirt_nova.allocator import contract
from svirt_nova.allocator import types
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.functional.allocator import fixture
from tests.functional.allocator import servers
from tests.quick_store import make_conf

PAIRS = spaces.LevelSpace.parse('c20.c29')
NEXT = '9999'
"""The revision of the next release."""

PROJECTS = spaces.LevelSpace.parse('c20.c29', 2, '', 'c30.c39')


class NewSchema:
    """A mixin: the schema of a new store on a server of a kind."""

    kind: str

    def test_several_who_make_the_schema_at_once_make_one(self):
        # For SQLite, test_several_processes_at_once_make_one_file has it.
        url = servers.running(self.kind).create_database()
        code = (
            'import sys\n'
            'from svirt_nova.allocator.sql.engine import stores\n'
            'from svirt_nova.mcs import spaces\n'
            'from tests.quick_store import make_conf\n'
            'space = spaces.LevelSpace.parse("c20.c29")\n'
            'print(stores.sync(make_conf(sys.argv[1]), space))\n'
        )
        makers = [
            subprocess.Popen(
                [sys.executable, '-W', 'ignore', '-c', code, url],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for each in makers:
            output, errors = each.communicate(timeout=120)
            self.assertEqual(
                (f'{PAIRS}\n', 0), (output, each.returncode), errors
            )


class MariaDBNewSchemaTest(NewSchema, testtools.TestCase):
    kind = 'mariadb'

    def test_a_schema_that_was_broken_off_is_completed(self):
        # The other databases undo what was broken off.
        url = servers.running(self.kind).create_database()
        engine = sa.create_engine(url)
        self.addCleanup(engine.dispose)
        with engine.begin() as connection:
            connection.exec_driver_sql(
                f'CREATE TABLE {schema.VERSION_TABLE} '
                '(version_num VARCHAR(32) PRIMARY KEY)'
            )
            schema.level_space.create(connection)
            schema.project.create(connection)
        conf = make_conf(url)
        self.assertEqual(PAIRS, stores.sync(conf, PAIRS))
        got = sql_allocator.SqlAllocator(conf).acquire(
            fixture.new_uuid(), 'p', 'a'
        )
        self.assertIn(got.level, PAIRS)


class PostgreSQLNewSchemaTest(NewSchema, testtools.TestCase):
    kind = 'postgresql'


def next_release(connection):
    """Add what a later release may: a column, a table, an index."""
    op = operations.Operations(
        migration.MigrationContext.configure(connection)
    )
    op.add_column(
        'allocation', sa.Column('later', sa.Integer, server_default='7')
    )
    op.add_column('claim', sa.Column('later', sa.String(32)))
    op.create_table(
        'later',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('text', sa.String(32)),
    )
    op.create_index('ix_later', 'allocation', ['created_at'])
    connection.exec_driver_sql(
        f"UPDATE {schema.VERSION_TABLE} SET version_num = '{NEXT}'"
    )


class Upgraded(fixture.KindOfStore):
    """A mixin: this release on the schema of the next one.

    ``before`` has used the store before it was upgraded.
    """

    def setUp(self):
        super().setUp()
        self.useFixture(fixture.ChangesWithoutWait())
        self.before = self.make()
        one = fixture.new_uuid()
        self.before.acquire(one, 'p', 'a')
        stores.Store(make_conf(self.url)).write(next_release)
        self.before.give_back(one, 'a')
        self.before._store.write(
            lambda c: allocation_rows.unclaim(c, one, 'a', None)
        )
        self.make(cooling_time=0).tidy()
        self.before._store.write(
            lambda c: c.execute(sa.delete(schema.history))
        )

    def test_it_knows_that_the_schema_is_not_its_own(self):
        conf = make_conf(self.url)
        self.assertEqual(NEXT, stores.revision(conf))
        self.assertNotIn(NEXT, upgrade._known_revisions())
        # And leaves it as it is.
        stores.sync(conf)
        self.assertEqual(NEXT, stores.revision(conf))

    def test_the_next_release_can_exclude_it(self):
        below = stores.Store(make_conf(self.url))
        below.write(
            lambda c: c.execute(
                sa.update(schema.level_space).values(oldest_release=NEXT)
            )
        )
        self.assertRaises(exception.StoreTooNew, self.make().stats)

    def test_every_call_works_before_and_after_the_upgrade(self):
        reserved = levels.Level.parse('s0:c1,c2')
        adopted = levels.Level.parse('s0:c3,c4')
        for allocator in (self.before, self.make()):
            one, other, third = (fixture.new_uuid() for _ in range(3))
            allocator.set_space(contract.SPACE)
            allocator.reserve(reserved, 'kept')
            allocator.adopt(one, 'p', 'a', adopted)
            held = allocator.acquire(one, 'p', 'b')
            self.assertEqual(held, allocator.get(one))
            self.assertEqual(held, allocator.find(adopted))
            self.assertEqual({'a': 1, 'b': 1}, allocator.usage().by_host)
            allocator.acquire(other, 'q', 'a')
            allocator.unclaim(other, 'a')
            allocator.retire(other)
            self.assertEqual(
                types.Stats(45, held=1, retired=0, cooling=1, reserved=1),
                allocator.stats(),
            )
            allocator.unclaim(one, 'a')
            allocator.give_back(one, 'b')
            allocator.release(reserved)
            self.assertEqual(
                [], allocator.list(states=frozenset({types.State.HELD}))
            )
            self.make(cooling_time=0).tidy()
            self.assertEqual(one, allocator.history(adopted)[-1].instance_uuid)
            allocator.set_space(PROJECTS)
            in_project = allocator.acquire(third, 'r', 'a')
            self.assertIn(in_project.level, allocator.space())
            self.assertIsNotNone(in_project.project_level)
            allocator.give_back(third, 'a')
            self.make(cooling_time=0).tidy()
            self.assertEqual([], allocator.list())


class SqliteUpgradedTest(
    Upgraded, contract.AllocatorContract, testtools.TestCase
):
    """It keeps the whole contract: SQL is the same with each database."""

    kind = 'sqlite'


class MariaDBUpgradedTest(Upgraded, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLUpgradedTest(Upgraded, testtools.TestCase):
    kind = 'postgresql'


def former_release(connection):
    """Take away what the revisions after 0002 have brought."""
    op = operations.Operations(
        migration.MigrationContext.configure(connection)
    )
    for name in (
        'host_flow',
        'signed_call',
        'caller_key',
        'cloud',
        'cloud_host',
    ):
        op.drop_table(name)
    for table, column in (
        ('allocation', 'claim_number'),
        ('allocation', 'last_claim'),
        ('claim', 'claim_number'),
    ):
        op.drop_column(table, column)
    connection.exec_driver_sql(
        f"UPDATE {schema.VERSION_TABLE} SET version_num = '0002'"
    )


class Former(fixture.KindOfStore):
    """A mixin: a store of revision 0002, with levels."""

    def test_a_store_that_knew_no_cloud_keeps_its_levels(self):
        before = self.make()
        kept = before.acquire(fixture.new_uuid(), 'p', 'a')
        shelved = before.acquire(fixture.new_uuid(), 'p', 'a').instance_uuid
        before.unclaim(shelved, 'a')
        allocations = before.list()
        conf = make_conf(self.url)
        stores.Store(conf).write(former_release)
        stores.sync(conf)
        self.assertEqual(schema.REVISION, stores.revision(conf))
        after = self.make()
        self.assertEqual(allocations, after.list())
        self.assertEqual(clouds.KnownCloud(), after.show_cloud())
        service = clouds.ComputeService('a', fixture.new_uuid(), True)
        known = after.meet_cloud(clouds.Cloud('http://nova', (service,)))
        self.assertEqual(known, self.make().show_cloud())
        # A service of the former release goes on beside it.
        self.assertEqual(kept.level, before.get(kept.instance_uuid).level)

    def test_upgrade_keeps_levels_and_brings_keys(self):
        one = fixture.new_uuid()
        before = self.make().acquire(one, 'p', 'a')
        conf = make_conf(self.url)
        stores.Store(conf).write(former_release)
        self.assertEqual('0002', stores.revision(conf))
        stores.sync(conf)
        self.assertEqual(schema.REVISION, stores.revision(conf))
        after = self.make()
        self.assertEqual(before, after.get(one))
        keys = after.enrolled_keys()
        key = keys.enroll(Role.HOST, 'a', 'A' * 43)
        self.assertEqual([key], keys.list(Role.HOST))
        for outcome in (None, exception.RepeatedCall):
            call = self.unclaim(after, keys, key, one)
            if outcome is None:
                call()
            else:
                self.assertRaises(outcome, call)
        self.assertEqual(frozenset(), after.get(one).hosts)

    @staticmethod
    def unclaim(allocator, keys, key, instance):
        def call():
            with keys.once(key, 'i' * 43, 2**31):
                allocator.unclaim(instance, 'a')

        return call


class SqliteFormerTest(Former, testtools.TestCase):
    kind = 'sqlite'


class MariaDBFormerTest(Former, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLFormerTest(Former, testtools.TestCase):
    kind = 'postgresql'
