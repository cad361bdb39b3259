# SPDX-License-Identifier: Apache-2.0

import contextlib
import sqlite3

import psycopg2
import pymysql
import testtools
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from svirt_nova import exception
from svirt_nova.allocator.sql.engine import errors

STORE = 'the store of this test'


# The numbers are those of MariaDB's documentation.
LOST_BY_MARIADB = (1040, 1047, 1053, 1180, 1290, 1927)


def understand(error):
    return errors.understand(error, STORE)


def wrap(origin, kind=sa_exc.OperationalError):
    """What SQLAlchemy makes of an error of a database's driver."""
    return kind('SELECT secret', {'secret': 1}, origin)


class ServerErrorsTest(testtools.TestCase):
    def assert_understood(self, expected, error):
        found = understand(error)
        self.assertIs(expected, type(found), repr(error))
        self.assertNotIn('secret', str(found))
        self.assertNotIn('\n', str(found))

    def test_errors_of_mariadb_are_known_by_their_numbers(self):
        for number, expected in (
            (1205, errors.Busy),
            (1213, errors.Busy),
            (1062, errors.Conflict),
            (1452, errors.Conflict),
            *((number, errors.Lost) for number in LOST_BY_MARIADB),
        ):
            origin = pymysql.err.OperationalError(number, 'in\nsome words')
            self.assert_understood(expected, wrap(origin))

    def test_errors_of_postgresql_are_known_by_their_states(self):
        class Error(psycopg2.OperationalError):
            def __init__(self, state):
                super().__init__('in some words')
                self._state = state

            @property
            def pgcode(self):
                return self._state

        for state, expected in (
            ('40001', errors.Busy),
            ('57014', errors.Busy),
            ('57P01', errors.Lost),
            ('25006', errors.Lost),
        ):
            self.assert_understood(expected, wrap(Error(state)))

    def test_errors_without_a_number_are_known_by_their_kinds(self):
        for error, expected in (
            (db_exception.DBDuplicateEntry(), errors.Conflict),
            (
                db_exception.DBReferenceError('t', 'c', 'k', 'o'),
                errors.Conflict,
            ),
            (db_exception.DBDeadlock(), errors.Busy),
            (db_exception.DBConnectionError(), errors.Lost),
            (sa_exc.ResourceClosedError('closed'), errors.Lost),
            (sa_exc.TimeoutError('no connection is left'), errors.Busy),
            (sa_exc.InvalidRequestError('what?'), exception.StoreUnusable),
        ):
            self.assert_understood(expected, error)

    def test_what_is_lost_stays_lost(self):
        lost = errors.Lost('the connection')
        self.assertIs(lost, understand(lost))

    def test_the_error_inside_that_of_oslo_db_counts(self):
        inside = wrap(pymysql.err.OperationalError(1053, 'shutdown'))
        self.assert_understood(errors.Lost, db_exception.DBError(inside))

    def test_a_server_that_is_not_there_differs_from_one_that_refuses(self):
        for text, expected in (
            ('could not connect: Connection refused', errors.Lost),
            ('password authentication failed', exception.StoreUnreachable),
            ('no pg_hba.conf entry', exception.StoreUnreachable),
            ('database "x" does not exist', exception.StoreUnreachable),
        ):
            origin = psycopg2.OperationalError(text)
            self.assert_understood(expected, wrap(origin))

    def test_a_table_that_is_not_there_is_made_by_a_command(self):
        found = understand(db_exception.DBNonExistentTable('allocation'))
        self.assertIs(exception.StoreUnusable, type(found))
        self.assertIn('db sync', str(found))
        self.assertIn(STORE, str(found))


class KeysTest(testtools.TestCase):
    def test_conflicts_of_the_key_of_levels_are_known(self):
        for text in (
            "Duplicate entry '1' for key 'PRIMARY'",
            'violates unique constraint "allocation_pkey"',
            'UNIQUE constraint failed: allocation.level_rank',
        ):
            self.assertTrue(errors.Conflict(text).is_of_level, text)

    def test_conflicts_of_other_keys_are_not_of_a_level(self):
        for text in (
            "Duplicate entry 'u' for key 'uniq_allocation_instance'",
            'UNIQUE constraint failed: allocation.instance_uuid',
            '',
        ):
            self.assertFalse(errors.Conflict(text).is_of_level, text)


class SqliteErrorsTest(testtools.TestCase):
    def understood(self, name):
        origin = sqlite3.OperationalError('in some words')
        origin.sqlite_errorname = name
        return understand(wrap(origin))

    def test_constraints_conflict(self):
        for kind in ('PRIMARYKEY', 'UNIQUE', 'FOREIGNKEY'):
            found = self.understood(f'SQLITE_CONSTRAINT_{kind}')
            self.assertIs(errors.Conflict, type(found))

    def test_locks_are_busy(self):
        for name in ('SQLITE_BUSY', 'SQLITE_BUSY_SNAPSHOT', 'SQLITE_LOCKED'):
            self.assertIs(errors.Busy, type(self.understood(name)))

    def test_what_a_person_can_repair_comes_with_advice(self):
        for name, kind, advice in (
            ('SQLITE_NOTADB', 'Unusable', 'is not an SQLite database'),
            ('SQLITE_CORRUPT_INDEX', 'Unusable', 'from a backup'),
            ('SQLITE_READONLY_DBMOVED', 'Unreachable', 'as the user nova'),
            ('SQLITE_CANTOPEN', 'Unreachable', 'that the file exists'),
            ('SQLITE_FULL', 'Unreachable', 'make room'),
            ('SQLITE_IOERR_FSYNC', 'Unreachable', 'its disk'),
            ('SQLITE_MISUSE', 'Unusable', 'SQLITE_MISUSE'),
        ):
            found = self.understood(name)
            expected = getattr(exception, f'Store{kind}')
            self.assertIs(expected, type(found), name)
            self.assertIn(advice, str(found))
            self.assertIn(STORE, str(found))

    def test_sqlite_names_its_errors_so(self):
        with contextlib.closing(sqlite3.connect(':memory:')) as connection:
            connection.execute('CREATE TABLE t (n INTEGER UNIQUE)')
            connection.execute('INSERT INTO t VALUES (1)')
            error = self.assertRaises(
                sqlite3.IntegrityError,
                connection.execute,
                'INSERT INTO t VALUES (1)',
            )
        found = understand(wrap(error, sa_exc.IntegrityError))
        self.assertIs(errors.Conflict, type(found))
