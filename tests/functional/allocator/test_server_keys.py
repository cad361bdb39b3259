# SPDX-License-Identifier: Apache-2.0
"""Keys and signed calls in the stores of servers."""

import time

import fixtures
import sqlalchemy as sa
import testtools

from svirt_nova import exception
from svirt_nova.allocator.enrolled_keys import Role
from svirt_nova.allocator.sql import host_keys
from svirt_nova.allocator.sql.tables import key_rows
from tests.functional.allocator import fixture


class ServerKeys(fixture.KindOfStore):
    """A mixin: what the SQL about keys must do on each server."""

    def setUp(self):
        super().setUp()
        self.allocator = self.make()
        self.addCleanup(self.allocator._store.close)
        self.keys = self.allocator.enrolled_keys()
        self.keys.enroll(Role.HOST, 'a', 'A' * 43)
        self.uuid = fixture.new_uuid()
        self.now = time.time()

    def acquire(self, identity, late=-20):
        with self.keys.once(
            self.keys.find('A' * 43), identity * 43, self.now - late
        ):
            self.allocator.acquire(self.uuid, 'p', 'a')

    def test_call_is_done_once_and_its_record_goes_in_time(self):
        self.acquire('i')
        self.assertRaises(exception.RepeatedCall, self.acquire, 'i')
        margin = host_keys.MARGIN
        self.acquire('j', margin - 30)
        error = self.assertRaises(
            exception.NotAllowed, self.acquire, 'k', margin + 30
        )
        self.assertIn('clock', str(error))
        with fixtures.MonkeyPatch(f'{host_keys.__name__}.MARGIN', 10**6):
            self.acquire('k', margin + 30)
        self.keys._tidy_due = 0.0
        self.keys._tidy()
        left = self.allocator._store.read(
            lambda c: (
                c.execute(sa.select(key_rows.signed_call.c.identity))
                .scalars()
                .all()
            )
        )
        left = {each for each in left if each != key_rows.ENROLMENT}
        self.assertEqual({'i', 'j'}, {each[-1] for each in left})

    def test_key_that_is_revoked_or_gone_does_nothing(self):
        key = self.keys.find('A' * 43)
        self.keys.revoke(Role.HOST, 'a')
        for act in (
            lambda: self.keys.check(key),
            lambda: self.acquire('i'),
        ):
            error = self.assertRaises(exception.NotAllowed, act)
            self.assertIn('revoked', str(error))
        self.assertRaises(
            exception.UnknownInstance, self.allocator.get, self.uuid
        )

    def test_name_with_a_space_is_another_one_or_none(self):
        self.keys.enroll(Role.HOST, 'b', 'B' * 43, is_binding=True)
        self.assertTrue(self.keys.is_bound('b'))
        for name in ('b ', 'B', ' b'):
            self.assertFalse(self.keys.is_bound(name))
        self.assertRaises(
            ValueError, self.keys.enroll, Role.HOST, 'b ', 'C' * 43
        )

    def test_key_that_was_enrolled_binds_later(self):
        self.assertFalse(self.keys.is_bound('a'))
        self.keys.enroll(Role.HOST, 'a', 'A' * 43, is_binding=True)
        self.assertTrue(self.keys.is_bound('a'))


class MariaDBKeysTest(ServerKeys, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLKeysTest(ServerKeys, testtools.TestCase):
    kind = 'postgresql'
