# SPDX-License-Identifier: Apache-2.0
"""What changes under an allocator: the level space, the schema, others."""

import concurrent.futures
import logging
import subprocess
import sys
import threading
import time
from unittest import mock

import fixtures
import sqlalchemy as sa
import testtools
from alembic import migration
from alembic import operations

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.sql import allocation
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import project_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.mcs import levels
from svirt_nova.mcs import spaces
from tests.functional.allocator import contract
from tests.functional.allocator import fixture
from tests.functional.allocator import servers
from tests.functional.allocator import test_servers

PAIRS = spaces.LevelSpace.parse('c20.c29')
TRIPLES = spaces.LevelSpace.parse('c20.c29', 3)


class _Base:
    """A mixin: an empty store of a kind."""

    kind: str
    initial = spaces.LevelSpace.parse('c0.c9')

    def setUp(self):
        if self.kind == 'sqlite':
            directory = fixtures.TempDir()
            directory.setUp()
            self.addCleanup(directory.cleanUp)
            self.url = f'sqlite:///{directory.join("levels")}'
        else:
            self.url = servers.running(self.kind).create_database()
        stores.sync(test_servers.make_conf(self.url), self.initial)
        super().setUp()

    def make(self, cooling_time=3600, **options):
        # As long takes each change of the level space.
        options.setdefault('call_timeout', 3)
        return sql_allocator.SqlAllocator(
            test_servers.make_conf(
                self.url, cooling_time=cooling_time, **options
            )
        )

    def wait_a_tick(self):
        time.sleep(0.01)

    def assert_antichain(self, allocator):
        held = [each.level for each in allocator.list()]
        for number, one in enumerate(held):
            for other in held[number + 1 :]:
                self.assertFalse(one.is_comparable(other), (one, other))


class _Changes(_Base):
    def test_two_who_change_the_space_at_once(self):
        """Only one of them does, and no levels meet."""
        first, second = self.make(), self.make()
        workers = [self.make() for _ in range(2)]
        ended = threading.Event()

        def work(allocator):
            while not ended.is_set():
                try:
                    allocator.acquire(fixture.new_uuid(), 'p', 'a')
                except exception.SpaceFull:
                    return

        def change(allocator, space, pause):
            time.sleep(pause)
            try:
                allocator.set_space(space)
            except exception.InvalidSpace as error:
                return str(error)
            return ''

        with concurrent.futures.ThreadPoolExecutor() as pool:
            changing = [
                pool.submit(change, first, PAIRS, 0),
                pool.submit(change, second, TRIPLES, 0.5),
            ]
            for each in workers:
                pool.submit(work, each)
            outcomes = [each.result() for each in changing]
            time.sleep(0.5)
            ended.set()
        self.assertIn('', outcomes)
        self.assert_antichain(first)

    def test_who_closed_the_space_before_the_last_does_not_open_it(self):
        below = stores.Store(test_servers.make_conf(self.url))
        mine = below.write(space_rows.close)
        other = below.write(space_rows.close)
        self.assertRaises(
            errors.SpaceChanged,
            below.write,
            lambda c: space_rows.change(c, PAIRS, mine),
        )
        self.assertEqual(
            [], below.write(lambda c: space_rows.change(c, TRIPLES, other))
        )
        # As after a commit whose answer was lost.
        self.assertEqual(
            [], below.write(lambda c: space_rows.change(c, TRIPLES, other))
        )
        self.assertEqual(TRIPLES, self.make().space())

    def test_a_change_waits_for_a_level_that_is_being_given(self):
        slow, changer = self.make(), self.make()
        slow.stats()
        inside, go_on = threading.Event(), threading.Event()
        insert = allocation_rows.insert

        def held_up(*arguments, **options):
            insert(*arguments, **options)
            inside.set()
            go_on.wait(30)

        with (
            concurrent.futures.ThreadPoolExecutor() as pool,
            mock.patch.object(allocation_rows, 'insert', held_up),
        ):
            giving_one = pool.submit(
                slow.acquire, fixture.new_uuid(), 'p', 'a'
            )
            self.assertTrue(inside.wait(30))
            changing = pool.submit(
                changer.set_space, spaces.LevelSpace.parse('c0.c9', 3)
            )
            time.sleep(0.5)
            go_on.set()
            given = giving_one.exception() or giving_one.result()
            changed = changing.exception()
        if isinstance(given, types.Allocation):
            # It came first: its level stands against the change.
            if len(given.level.categories) == 2:
                self.assertIsInstance(changed, exception.InvalidSpace)
        else:
            self.assertIsInstance(given, exception.AllocatorError)
        self.assert_antichain(changer)

    def test_what_has_cooled_stands_against_no_space(self):
        warm = self.make(cooling_time=0)
        one = fixture.new_uuid()
        warm.acquire(one, 'p', 'a')
        warm.give_back(one, 'a')
        self.wait_a_tick()
        triples = spaces.LevelSpace.parse('c0.c9', 3)
        warm.set_space(triples)
        self.assertEqual(triples, warm.space())

    def test_all_projects_parts_in_use(self):
        """The last part is found, and then the space is full, at once."""
        space = spaces.LevelSpace.parse('c0.c9', 2, '', 'c1019.c1023', 3)
        self.make().set_space(space)
        allocator = self.make(call_timeout=20)
        got = {
            allocator.acquire(fixture.new_uuid(), f'p{n}', 'a').project_level
            for n in range(10)
        }
        self.assertEqual(10, len(got))
        began = time.monotonic()
        self.assertRaises(
            exception.SpaceFull,
            allocator.acquire,
            fixture.new_uuid(),
            'one more',
            'a',
        )
        # Long before the call's timeout.
        self.assertLess(time.monotonic() - began, 10)

    def test_an_instance_keeps_its_level_when_all_parts_are_in_use(self):
        allocator = self.make()
        one = fixture.new_uuid()
        before = allocator.acquire(one, 'late', 'a')
        allocator.set_space(
            spaces.LevelSpace.parse('c10.c19', 2, '', 'c20.c22', 2)
        )
        for n in range(3):
            allocator.acquire(fixture.new_uuid(), f'p{n}', 'a')
        after = self.make().acquire(one, 'late', 'b')
        self.assertEqual(before.level, after.level)
        self.assertEqual({'a', 'b'}, after.hosts)

    def test_parts_go_round_among_more_projects_than_there_are(self):
        space = spaces.LevelSpace.parse('c10.c19', 2, '', 'c20.c23', 2)
        self.make().set_space(space)
        failed = []

        def work(number):
            allocator = self.make(cooling_time=0, call_timeout=20)
            for turn in range(12):
                one = fixture.new_uuid()
                try:
                    allocator.acquire(one, f'p{(number + turn) % 9}', 'a')
                except exception.SpaceFull:
                    continue
                except Exception as error:  # noqa: BLE001
                    failed.append(repr(error))
                    return
                allocator.give_back(one, 'a')
                allocator.tidy()

        with concurrent.futures.ThreadPoolExecutor() as pool:
            for number in range(6):
                pool.submit(work, number)
        self.assertEqual([], failed)

    def test_candidates_stay_good_while_others_fill_the_space(self):
        """After a collision, candidates are checked before they are tried."""
        last = 99
        triples = spaces.LevelSpace.parse(f'c0.c{last}')
        self.make().set_space(triples)
        stale, other = self.make(), self.make()
        one = fixture.new_uuid()
        stale.acquire(one, 'p', 'a')
        # It has learnt what is taken: nothing.
        stale._space.cache().load(None, [])
        for _ in range(round(0.85 * triples.size)):
            other.acquire(fixture.new_uuid(), 'p', 'a')
        tries = []
        take = allocation.OptimisticAllocation._insert

        def counted(*arguments):
            tries.append(1)
            return take(*arguments)

        with mock.patch.object(
            allocation.OptimisticAllocation, '_insert', counted
        ):
            for _ in range(100):
                stale.acquire(fixture.new_uuid(), 'p', 'a')
        self.assertLess(len(tries) / 100, 2.1)

    def test_marks_are_told_by_those_who_tidy(self):
        log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))
        other, tidying = self.make(), self.make(fill_marks=[80, 90])
        for _ in range(37):
            other.acquire(fixture.new_uuid(), 'p', 'a')
        before = log.output.count('80 % full')
        tidying.tidy()
        tidying.tidy()
        self.assertEqual(before + 1, log.output.count('80 % full'))

    def test_usage_leaves_out_what_is_free(self):
        warm = self.make(cooling_time=0)
        one = fixture.new_uuid()
        warm.acquire(one, 'p', 'a')
        warm.give_back(one, 'a')
        self.wait_a_tick()
        self.assertEqual({}, warm.usage().by_project)

    def test_an_instance_whose_level_came_free_can_be_adopted(self):
        warm = self.make(cooling_time=0)
        one = fixture.new_uuid()
        warm.acquire(one, 'p', 'a')
        warm.give_back(one, 'a')
        self.wait_a_tick()
        wanted = levels.Level.parse('s0:c3,c7')
        self.assertEqual(wanted, warm.adopt(one, 'p', 'a', wanted).level)

    def test_a_schema_that_was_broken_off_is_completed(self):
        if self.kind != 'mariadb':
            return  # Others undo what was broken off.
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
        conf = test_servers.make_conf(url)
        self.assertEqual(PAIRS, stores.sync(conf, PAIRS))
        sql_allocator.SqlAllocator(conf).acquire(fixture.new_uuid(), 'p', 'a')

    def test_several_who_make_the_schema_at_once(self):
        if self.kind == 'sqlite':
            return  # test_made_once_by_several_processes has it.
        url = servers.running(self.kind).create_database()
        code = (
            'import sys\n'
            'from svirt_nova.allocator.sql.engine import stores\n'
            'from svirt_nova.mcs import spaces\n'
            'from tests.functional.allocator import test_servers\n'
            'conf = test_servers.make_conf(sys.argv[1])\n'
            'space = spaces.LevelSpace.parse("c20.c29")\n'
            'print(stores.sync(conf, space))\n'
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
            output, errors_ = each.communicate(timeout=120)
            self.assertEqual(
                (f'{PAIRS}\n', 0), (output, each.returncode), errors_
            )

    def test_parts_are_freed_one_by_one(self):
        """A part in use does not keep the others from being freed."""
        self.make().set_space(
            spaces.LevelSpace.parse('c10.c19', 2, '', 'c20.c22', 2)
        )
        warm = self.make(cooling_time=0)
        gone = [fixture.new_uuid() for _ in range(3)]
        for n, one in enumerate(gone):
            warm.acquire(one, f'p{n}', 'a')
            warm.give_back(one, 'a')
        self.wait_a_tick()
        warm.tidy()
        free = project_rows.free

        def refuse_first(connection, part):
            if not refused:
                refused.append(part)
                raise errors.Conflict
            free(connection, part)

        refused: list[levels.Level] = []
        with mock.patch.object(project_rows, 'free', refuse_first):
            warm.acquire(fixture.new_uuid(), 'new', 'a')


class SqliteChangesTest(_Changes, testtools.TestCase):
    kind = 'sqlite'


class MariaDBChangesTest(_Changes, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLChangesTest(_Changes, testtools.TestCase):
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
        f"UPDATE {schema.VERSION_TABLE} SET version_num = '0002'"
    )


class _Upgraded(_Base, contract.AllocatorContract):
    """A mixin: this release on the schema of the next one.

    Some of its processes have used the store before it was upgraded.
    """

    def setUp(self):
        super().setUp()
        self.allocator.stats()
        before = self.make()
        one = fixture.new_uuid()
        before.acquire(one, 'p', 'a')
        stores.Store(test_servers.make_conf(self.url)).write(next_release)
        before.give_back(one, 'a')
        before._store.write(lambda c: allocation_rows.unclaim(c, one, 'a'))
        self.make(cooling_time=0).tidy()
        before._store.write(lambda c: c.execute(sa.delete(schema.history)))

    def test_it_knows_that_the_schema_is_not_its_own(self):
        conf = test_servers.make_conf(self.url)
        self.assertEqual('0002', stores.revision(conf))
        self.assertNotIn('0002', upgrade._known_revisions())
        # And leaves it as it is.
        stores.sync(conf)
        self.assertEqual('0002', stores.revision(conf))

    def test_the_next_release_can_exclude_it(self):
        below = stores.Store(test_servers.make_conf(self.url))
        below.write(
            lambda c: c.execute(
                sa.update(schema.level_space).values(oldest_release='0002')
            )
        )
        self.assertRaises(exception.StoreTooNew, self.make().stats)


class SqliteUpgradedTest(_Upgraded, testtools.TestCase):
    kind = 'sqlite'


class MariaDBUpgradedTest(_Upgraded, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLUpgradedTest(_Upgraded, testtools.TestCase):
    kind = 'postgresql'
