# SPDX-License-Identifier: Apache-2.0

import time
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator.sql.engine import database_server
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.migrations import upgrade
from svirt_nova.mcs import spaces
from tests import quick_store

POSTGRESQL = 'postgresql+psycopg2://root:secret@127.0.0.1:1/levels'
MARIADB = 'mysql+pymysql://root:secret@127.0.0.1:1/levels'


class TransactionsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        quick = self.useFixture(quick_store.QuickStore())
        self.store = stores.Store(quick.conf())
        self.addCleanup(self.store.close)
        self.sleep = self.useFixture(
            fixtures.MockPatchObject(stores.time, 'sleep')
        ).mock

    def test_work_that_others_undid_is_done_again(self):
        for kind in (errors.Lost, errors.Busy):
            tries = []

            def work(_connection, kind=kind, tries=tries):
                tries.append(1)
                if len(tries) < 4:
                    raise errors.Lost('gone')
                return 'done'

            with mock.patch.object(
                errors, 'understand', lambda e, _, kind=kind: kind(str(e))
            ):
                self.assertEqual('done', self.store.write(work))
            self.assertEqual(4, len(tries))

    def test_a_pause_between_two_tries_has_an_end(self):
        failures = [errors.Lost('gone')] * 30

        def work(_connection):
            if failures:
                raise failures.pop()

        self.store.write(work)
        pauses = [call.args[0] for call in self.sleep.call_args_list]
        self.assertEqual(30, len(pauses))
        self.assertLessEqual(max(pauses), errors.Lost.longest_pause)

    def test_work_that_is_undone_for_too_long_is_given_up(self):
        self.store._file.timeout = 0.01
        for kind, words in (
            (errors.Lost, 'cannot reach the store'),
            (errors.Busy, 'was locked by others'),
        ):

            def work(_connection):
                time.monotonic()
                raise errors.Lost('gone')

            with mock.patch.object(
                errors, 'understand', lambda e, _, kind=kind: kind(str(e))
            ):
                error = self.assertRaises(
                    exception.StoreUnreachable, self.store.write, work
                )
            self.assertIn(words, str(error))
            self.assertIn('gone', str(error))

    def test_a_conflict_is_told_at_once(self):
        def work(connection):
            connection.exec_driver_sql(
                "INSERT INTO claim (instance_uuid, host) VALUES ('no', 'a')"
            )

        self.assertRaises(errors.Conflict, self.store.write, work)
        self.sleep.assert_not_called()

    def test_a_schema_that_others_make_too_is_looked_at_again(self):
        conflicts = [errors.Conflict('the table exists')] * 4

        def make(connection, store, space):
            if conflicts:
                raise conflicts.pop()
            return upgrade_(connection, store, space)

        upgrade_ = upgrade.upgrade
        with mock.patch.object(upgrade, 'upgrade', make):
            self.assertIsInstance(self.store.sync(None), spaces.LevelSpace)
            conflicts += [errors.Conflict('the table exists')] * 5
            self.assertRaises(errors.Conflict, self.store.sync, None)


class ServerStoreTest(testtools.TestCase):
    """Stores on servers, of which none is there."""

    def make(self, url, **options):
        return stores.Store(quick_store.make_conf(url, **options))

    def test_its_name_does_not_tell_the_password(self):
        for url in (POSTGRESQL, MARIADB):
            self.assertNotIn('secret', str(self.make(url)))

    def test_a_call_takes_as_long_as_is_configured(self):
        self.assertEqual(7, self.make(MARIADB, call_timeout=7).timeout)

    def test_a_server_that_is_not_there_is_given_up_in_time(self):
        store = self.make(MARIADB, call_timeout=1)
        error = self.assertRaises(
            exception.StoreUnreachable, store.read, lambda _connection: None
        )
        self.assertIn('check that the database runs', str(error))
        self.assertNotIn('secret', str(error))

    def test_a_connection_that_ends_while_it_begins_is_lost(self):
        store = self.make(MARIADB)
        store._engine = mock.Mock()
        store._engine.connect.side_effect = NotImplementedError
        self.assertRaises(errors.Lost, store._connect, writes=False)

    def test_a_schema_that_is_not_there_is_made_by_a_command(self):
        store = self.make(MARIADB)
        self.useFixture(
            fixtures.MockPatchObject(store, '_run', return_value=False)
        )
        error = self.assertRaises(
            exception.StoreUnusable, store.read, lambda _connection: None
        )
        self.assertIn('db sync', str(error))

    def test_a_driver_that_is_not_installed_is_named(self):
        error = self.assertRaises(
            exception.InvalidOption, self.make, 'mysql+oursql://root:secret@x'
        )
        self.assertNotIn('secret', str(error))


class OutlastTest(testtools.TestCase):
    """How long a change of the space waits for others."""

    def setUp(self):
        super().setUp()
        self.sleep = self.useFixture(
            fixtures.MockPatchObject(stores.time, 'sleep')
        ).mock

    def make(self, url, *oldest):
        """Make a store of a server that is asked for its transactions."""
        store = stores.Store(quick_store.make_conf(url, call_timeout=7))
        self.useFixture(
            fixtures.MockPatchObject(store, 'write', return_value=50)
        )
        self.read = self.useFixture(
            fixtures.MockPatchObject(store, 'read', side_effect=oldest)
        ).mock
        return store

    def test_an_sqlite_file_waits_for_nobody(self):
        self.make('sqlite:////nowhere/x').outlast_transactions()
        self.sleep.assert_not_called()

    def test_mariadb_waits_as_long_as_a_call_may_take(self):
        self.make(MARIADB).outlast_transactions()
        self.sleep.assert_called_once_with(7)
        self.read.assert_not_called()

    def test_postgresql_waits_until_no_older_transaction_goes_on(self):
        self.make(POSTGRESQL, 48, 50, 51).outlast_transactions()
        self.assertEqual(
            [mock.call(database_server.oldest_transaction)] * 3,
            self.read.call_args_list,
        )
        self.assertEqual(mock.call(7), self.sleep.call_args_list[0])

    def test_a_transaction_that_does_not_end_is_told(self):
        store = self.make(POSTGRESQL, *[48] * 100)
        with mock.patch.object(stores, '_LONGEST_TRANSACTIONS', -1):
            error = self.assertRaises(
                exception.StoreUnreachable, store.outlast_transactions
            )
        self.assertIn('pg_stat_activity', str(error))
        self.assertNotIn('secret', str(error))
