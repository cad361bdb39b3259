# SPDX-License-Identifier: Apache-2.0

import selectors
import socket
from types import SimpleNamespace
from unittest import mock

import psycopg2
import sqlalchemy as sa
import testtools
from psycopg2 import extensions

from svirt_nova import exception
from svirt_nova.allocator.sql.engine import database_server
from tests import quick_store


class EngineTest(testtools.TestCase):
    def created_with(self, url, timeout=15, **options):
        """The URL and the options that an engine is created with."""
        conf = quick_store.make_conf(url, **options)
        with (
            mock.patch('oslo_db.sqlalchemy.engines.create_engine') as create,
            mock.patch.object(
                extensions, 'get_wait_callback', return_value=None
            ),
            mock.patch.object(extensions, 'set_wait_callback') as self.wait,
        ):
            create.return_value = mock.create_autospec(
                sa.Engine, instance=True
            )
            database_server.create_engine(
                sa.make_url(url), conf.svirt_database, timeout
            )
        [call] = create.call_args_list
        return call.args[0], call.kwargs

    def test_mariadb_ends_what_takes_longer_than_a_call(self):
        url, _ = self.created_with('mysql+pymysql://u@h/n', 7)
        for limit in (
            'innodb_lock_wait_timeout = 7',
            'max_statement_time = 7',
            'idle_transaction_timeout = 7',
        ):
            self.assertIn(limit, url.query['init_command'])
        self.assertEqual('7', url.query['read_timeout'])

    def test_postgresql_ends_what_takes_longer_than_a_call(self):
        url, _ = self.created_with('postgresql+psycopg2://u@h/n', 7)
        for limit in (
            'statement_timeout=7000',
            'lock_timeout=7000',
            'idle_in_transaction_session_timeout=7000',
        ):
            self.assertIn(limit, url.query['options'])

    def test_a_limit_of_less_than_a_second_is_one_second_to_mariadb(self):
        url, _ = self.created_with('mysql+pymysql://u@h/n', 0.2)
        self.assertEqual('1', url.query['read_timeout'])

    def test_a_connection_is_waited_for_as_long_as_a_call_may_take(self):
        url = 'mysql+pymysql://u@h/n'
        _, options = self.created_with(url, 7)
        self.assertEqual(7, options['pool_timeout'])
        _, options = self.created_with(url, 7, pool_timeout=3)
        self.assertEqual(3, options['pool_timeout'])

    def test_only_psycopg2_is_told_how_to_wait(self):
        self.created_with('postgresql+psycopg2://u@h/n')
        self.wait.assert_called_once_with(database_server._wait)
        for other in ('mysql+pymysql://u@h/n', 'postgresql+psycopg://u@h/n'):
            self.created_with(other)
            self.wait.assert_not_called()

    def test_what_the_operator_has_in_the_url_counts(self):
        url, _ = self.created_with(
            'mysql+pymysql://u@h/n?connect_timeout=3&charset=utf8mb4'
        )
        self.assertEqual('3', url.query['connect_timeout'])
        self.assertEqual('utf8mb4', url.query['charset'])

    def test_a_node_of_galera_waits_for_what_was_committed_before(self):
        url = 'mysql+pymysql://u@h/n'
        _, options = self.created_with(url)
        self.assertEqual(3, options['mysql_wsrep_sync_wait'])
        _, options = self.created_with(url, mysql_wsrep_sync_wait=0)
        self.assertEqual(0, options['mysql_wsrep_sync_wait'])

    def test_another_kind_of_database_is_refused(self):
        error = self.assertRaises(
            exception.InvalidOption, self.created_with, 'oracle://u@h/n'
        )
        self.assertIn('oracle', str(error))


class WaitTest(testtools.TestCase):
    """How psycopg2 waits for a server."""

    def connection(self, *states, limit=None, status=extensions.STATUS_READY):
        """A connection to a server that says nothing."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.theirs = theirs
        options = f' tcp_user_timeout={limit}' if limit else ''
        return SimpleNamespace(
            dsn=f'host=h{options}',
            status=status,
            fileno=ours.fileno,
            poll=iter(states).__next__,
        )

    def test_an_answer_ends_the_wait(self):
        connection = self.connection(
            extensions.POLL_WRITE,
            extensions.POLL_READ,
            extensions.POLL_OK,
            limit=15000,
        )
        self.theirs.send(b'answer')
        self.assertIsNone(database_server._wait(connection))

    def test_a_server_that_is_silent_is_given_up_after_the_limit(self):
        connection = self.connection(extensions.POLL_READ, limit=15000)
        with mock.patch.object(
            selectors.DefaultSelector, 'select', return_value=[]
        ) as select:
            error = self.assertRaises(
                psycopg2.OperationalError, database_server._wait, connection
            )
        self.assertAlmostEqual(16, select.call_args.args[0], delta=1)
        self.assertIn('16 s', str(error))

    def test_a_server_that_does_not_let_in_is_given_up_sooner(self):
        connection = self.connection(
            extensions.POLL_READ, limit=15000, status=extensions.STATUS_SETUP
        )
        with mock.patch.object(
            selectors.DefaultSelector, 'select', return_value=[]
        ):
            error = self.assertRaises(
                psycopg2.OperationalError, database_server._wait, connection
            )
        self.assertIn(f'{database_server.CONNECT_TIMEOUT:g} s', str(error))

    def test_the_connections_of_others_have_no_limit(self):
        connection = self.connection(extensions.POLL_READ, extensions.POLL_OK)
        with mock.patch.object(
            selectors.DefaultSelector, 'select', return_value=['ready']
        ) as select:
            database_server._wait(connection)
        select.assert_called_once_with(None)

    def test_a_wait_that_somebody_else_has_set_stays(self):
        with (
            mock.patch.object(
                extensions, 'get_wait_callback', return_value=print
            ),
            mock.patch.object(extensions, 'set_wait_callback') as set_wait,
        ):
            database_server._bound_waits()
            set_wait.assert_not_called()
            extensions.get_wait_callback.return_value = None
            database_server._bound_waits()
        set_wait.assert_called_once_with(database_server._wait)
