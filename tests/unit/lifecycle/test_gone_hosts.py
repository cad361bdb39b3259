# SPDX-License-Identifier: Apache-2.0
"""Claims of hosts that are gone, in a store and with Nova's API."""

import dataclasses
import datetime
from unittest import mock

import fixtures
import sqlalchemy as sa
import testtools

from svirt_nova import exception
from svirt_nova.allocator import contract
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.tables import cloud_rows
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.lifecycle import gone_hosts
from svirt_nova.lifecycle import reaper
from tests import quick_store
from tests.fakes import nova_api

WEEK = datetime.timedelta(days=7)


class GoneHostsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        store = self.useFixture(quick_store.QuickStore())
        self.allocator = store.make()
        self.nova = self.useFixture(nova_api.NovaApi('h', 'old'))
        self.nova.services[1]['state'] = 'down'
        self.control = self.claim('h')
        self.nova.servers[self.control] = 'p'
        self.later = datetime.timedelta()
        # By the clock of the store.
        show = cloud_rows.show

        def show_later(connection):
            known = show(connection)
            return dataclasses.replace(
                known, asked_at=known.asked_at + self.later
            )

        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.allocator.sql.tables.cloud_rows.show', show_later
            )
        )
        self.gone = gone_hosts.GoneHosts(WEEK)

    def claim(self, *hosts):
        uuid = contract.new_uuid()
        for host in hosts:
            self.allocator.acquire(uuid, 'p', host)
        return uuid

    def reap(self):
        """Do what the service does at each look."""
        reaper.retire(
            self.allocator,
            reaper.find(
                self.allocator,
                self.nova.client(),
                sleep=lambda _: None,
                gone=self.gone,
            ),
            self.gone,
        )

    def state(self, uuid):
        return self.allocator.get(uuid).state

    def test_level_of_a_host_that_left_comes_free_with_its_instance(self):
        deleted, kept = self.claim('old'), self.claim('old')
        retired = self.claim('old')
        self.allocator.retire(retired)
        moved = self.claim('old', 'h')
        for uuid in (kept, moved):
            self.nova.servers[uuid] = 'p'
        self.reap()
        del self.nova.services[1]
        self.reap()
        self.later = WEEK / 2
        self.reap()
        self.assertIs(types.State.HELD, self.state(deleted))
        self.later = 2 * WEEK
        self.reap()
        for uuid in (deleted, retired):
            self.assertIs(types.State.COOLING, self.state(uuid))
            self.assertIn(
                f'the claim of host old on instance {uuid}', self.log.output
            )
        for uuid, hosts in (
            (kept, {'old'}),
            (moved, {'old', 'h'}),
            (self.control, {'h'}),
        ):
            self.assertIs(types.State.HELD, self.state(uuid))
            self.assertEqual(hosts, self.allocator.get(uuid).hosts)

    def test_claims_of_made_up_hosts_heal(self):
        made_up = self.claim('evil1', 'evil2')
        retired = self.claim('evil3')
        self.allocator.retire(retired)
        stopped = self.claim('h')
        self.allocator.unclaim(stopped, 'h')
        self.assertRaises(exception.ComputeApiError, self.reap)
        self.later = 2 * WEEK
        self.reap()
        for uuid in (made_up, retired, stopped):
            self.assertIs(types.State.COOLING, self.state(uuid))

    def test_host_that_calls_keeps_its_claims(self):
        """Its service was deleted from Nova, and it runs on."""
        deleted = self.claim('old')
        self.reap()
        del self.nova.services[1]
        self.reap()
        self.miss_for(2 * WEEK)
        self.allocator.meet('old', 0)
        self.reap()
        self.assertIs(types.State.HELD, self.state(deleted))
        self.miss_for(2 * WEEK)
        self.reap()
        self.assertIs(types.State.COOLING, self.state(deleted))

    def miss_for(self, time):
        """Let all missing hosts be missing for so long."""
        since = datetime.datetime.now(datetime.UTC) - time
        self.allocator._store.write(
            lambda c: c.execute(
                sa.update(schema.cloud_host)
                .where(schema.cloud_host.c.missing_since.is_not(None))
                .values(missing_since=since.replace(tzinfo=None))
            )
        )

    def test_host_that_nova_lists_keeps_its_claims_for_ever(self):
        deleted = self.claim('old')
        self.reap()
        self.later = 100 * WEEK
        self.reap()
        self.assertIs(types.State.HELD, self.state(deleted))
        self.assertEqual({'old'}, self.allocator.get(deleted).hosts)

    def test_the_clock_of_the_machine_that_reaps_does_not_matter(self):
        deleted = self.claim('old')
        self.reap()
        del self.nova.services[1]
        self.reap()

        class Ahead(datetime.datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.datetime.now(tz) + 100 * WEEK

        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.lifecycle.gone_hosts.datetime',
                mock.Mock(wraps=datetime, datetime=Ahead),
            )
        )
        self.reap()
        self.assertIs(types.State.HELD, self.state(deleted))

    def test_nothing_is_dropped_where_the_option_says_so(self):
        deleted = self.claim('old')
        self.reap()
        del self.nova.services[1]
        self.gone = gone_hosts.GoneHosts(None)
        self.reap()
        self.later = 100 * WEEK
        self.reap()
        self.assertEqual({'old'}, self.allocator.get(deleted).hosts)
