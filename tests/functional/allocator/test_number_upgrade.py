# SPDX-License-Identifier: Apache-2.0
"""A store from before claims had numbers, with releases of both kinds."""

import fixtures
import sqlalchemy as sa
import testtools
from alembic import command

from svirt_nova.allocator import contract
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.allocator.sql.tables import trust_rows
from svirt_nova.mcs import levels
from tests.functional.allocator import servers
from tests.quick_store import make_conf

HELD, RETIRED, NEW = (contract.new_uuid() for _ in range(3))
LEVELS = dict(
    zip(
        (HELD, RETIRED, NEW),
        map(levels.Level.parse, ('s0:c1,c2', 's0:c3,c4', 's0:c5,c6')),
        strict=True,
    )
)

# The columns that the release before writes.
ALLOCATION = (
    'level_rank',
    'instance_uuid',
    'project_id',
    'host',
    'is_outside',
    'created_at',
    'retired_at',
    'note',
)


def insert(connection, uuid, host, retired_at=None):
    """Give a level to an instance, as the release before does."""
    connection.execute(
        sa.insert(schema.allocation).from_select(
            ALLOCATION,
            sa.select(
                sa.bindparam('level', type_=schema.allocation.c[0].type),
                sa.bindparam('uuid'),
                sa.literal('p'),
                sa.bindparam('claimant'),
                sa.false(),
                schema.utcnow(),
                schema.utcnow() if retired_at else sa.null(),
                sa.literal(''),
            ),
        ),
        {'level': LEVELS[uuid], 'uuid': uuid, 'claimant': host},
    )


def claim(connection, uuid, host):
    """Claim an instance, as the release before does."""
    connection.execute(
        sa.insert(schema.claim).values(instance_uuid=uuid, host=host)
    )


class NumberUpgrade:
    """A mixin: a store of the release before, on a server of a kind."""

    kind: str

    def make_url(self):
        return servers.running(self.kind).create_database()

    def setUp(self):
        super().setUp()
        self.url = self.make_url()
        engine = sa.create_engine(self.url)
        self.addCleanup(engine.dispose)
        alembic = upgrade._alembic_config()
        with engine.begin() as connection:
            alembic.attributes['connection'] = connection
            command.upgrade(alembic, '0002')
        with engine.begin() as connection:
            trust_rows.create(connection)
            space_rows.create(connection, contract.SPACE)
            insert(connection, HELD, 'a')
            claim(connection, HELD, 'b')
            insert(connection, RETIRED, 'a', retired_at=True)
        stores.sync(make_conf(self.url))
        self.allocator = sql_allocator.SqlAllocator(
            make_conf(self.url, cooling_time=3600)
        )
        self.addCleanup(self.allocator._store.close)

    def claims(self, uuid=HELD):
        return self.allocator.get(uuid).claims

    def test_what_is_there_is_kept(self):
        self.assertEqual({'a': 0, 'b': 0}, self.claims())
        self.assertEqual({'a': 0}, self.claims(RETIRED))
        for uuid, state in (
            (HELD, types.State.HELD),
            (RETIRED, types.State.RETIRED),
        ):
            found = self.allocator.get(uuid)
            self.assertEqual(
                (LEVELS[uuid], state, 0),
                (found.level, found.state, found.last_claim),
            )

    def test_claims_from_before_are_dropped_by_the_number_0(self):
        for host in ('b', 'a'):
            self.allocator.unclaim(HELD, host, 0)
            self.assertNotIn(host, self.claims())
        self.allocator.give_back(RETIRED, 'a', 0)
        self.assertIs(types.State.COOLING, self.allocator.get(RETIRED).state)

    def test_a_drop_from_before_keeps_a_claim_that_has_a_number(self):
        for host in ('a', 'b'):
            number = self.allocator.acquire(HELD, 'p', host).claims[host]
            self.allocator.give_back(HELD, host, 0)
            self.assertEqual(number, self.claims()[host])
        self.assertIs(types.State.HELD, self.allocator.get(HELD).state)

    def test_the_release_before_goes_on_beside_this_one(self):
        def work(connection):
            insert(connection, NEW, 'a')
            claim(connection, NEW, 'b')

        self.allocator._store.write(work)
        self.assertEqual({'a': 0, 'b': 0}, self.claims(NEW))
        number = self.allocator.acquire(NEW, 'p', 'b').claims['b']
        self.assertEqual({'a': 0, 'b': number}, self.claims(NEW))


class SqliteNumberUpgradeTest(NumberUpgrade, testtools.TestCase):
    def make_url(self):
        directory = self.useFixture(fixtures.TempDir()).path
        return f'sqlite:///{directory}/levels.sqlite'


class MariaDBNumberUpgradeTest(NumberUpgrade, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLNumberUpgradeTest(NumberUpgrade, testtools.TestCase):
    kind = 'postgresql'
