# SPDX-License-Identifier: Apache-2.0
"""Calls of two hosts, one of which comes in the middle of the other."""

import threading
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.sql.tables import allocation_rows
from tests.functional.allocator import fixture


class Interleaved(fixture.KindOfStore):
    """A mixin: a host gives back while another one comes to claim."""

    def setUp(self):
        super().setUp()
        self.uuid = fixture.new_uuid()
        self.below = self.make()
        self.claiming = None

    def claim_before(self, name):
        """Have another host claim before the last change is made.

        :param name: the function of ``allocation_rows`` that makes it
        """
        change = getattr(allocation_rows, name)

        def changed(connection, uuid, host, number):
            if self.claiming is None:
                self.claiming = threading.Thread(
                    target=self.make().acquire, args=(self.uuid, 'p', 'b')
                )
                self.claiming.start()
                # It has to wait, where the store lets it.
                self.claiming.join(2)
            return change(connection, uuid, host, number)

        self.useFixture(
            fixtures.MockPatchObject(allocation_rows, name, changed)
        )

    def test_host_that_claims_while_another_gives_back_is_not_retired(self):
        endpoint = endpoints.ComputeEndpoint(self.below)
        held = self.below.acquire(self.uuid, 'p', 'a')
        self.claim_before('give_back')
        answer = endpoint.give_back(
            {'host': 'a'}, instance_uuid=self.uuid, host='a'
        )
        self.assertEqual({'result': None}, answer)
        self.claiming.join(30)
        self.assertFalse(self.claiming.is_alive())
        found = self.make().get(self.uuid)
        self.assertEqual(held.level, found.level)
        self.assertEqual({'b'}, found.hosts)
        self.assertIs(types.State.HELD, found.state)
        # The instance lives on with the other host, and so does its level
        # when it leaves that, too.
        self.below.unclaim(self.uuid, 'b')
        self.assertIs(types.State.HELD, self.make().get(self.uuid).state)

    def test_level_that_comes_free_while_it_is_adopted_is_not_another(self):
        warm = self.make(cooling_time=0)
        level = self.below.acquire(self.uuid, 'p', 'a').level
        self.below.give_back(self.uuid, 'a')
        find = self.below._of

        def found(instance):
            held = find(instance)
            # Its cooling time ends, and somebody frees it.
            warm.tidy()
            return held

        with mock.patch.object(self.below, '_of', found):
            self.assertRaises(
                exception.LevelTaken,
                self.below.adopt,
                self.uuid,
                'p',
                'b',
                level,
            )
        self.assertEqual([], self.below.list())
        # The next try adopts it.
        held = self.below.adopt(self.uuid, 'p', 'b', level)
        self.assertEqual(level, held.level)


class SqliteInterleavedTest(Interleaved, testtools.TestCase):
    kind = 'sqlite'


class MariaDBInterleavedTest(Interleaved, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLInterleavedTest(Interleaved, testtools.TestCase):
    kind = 'postgresql'
