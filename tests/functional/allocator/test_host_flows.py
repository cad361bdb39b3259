# SPDX-License-Identifier: Apache-2.0
"""What hosts have and take, as each kind of store counts it."""

import concurrent.futures
import datetime

import sqlalchemy as sa
import testtools

from svirt_nova.allocator.host_flows import Flow
from svirt_nova.allocator.sql.tables import flow_rows
from tests.functional.allocator import fixture

PROCESSES = 4
TIMES = 10


class HostFlows(fixture.KindOfStore):
    """A mixin: a store of some kind."""

    def setUp(self):
        super().setUp()
        self.allocator = self.make()
        self.flows = self.allocator.host_flows()

    def taken(self, host='a'):
        found = self.make().host_flows().count(host).taken
        return [found[flow] for flow in (Flow.ACQUIRED, Flow.ADOPTED)]

    def pass_time(self, seconds):
        """Let all windows have begun so much earlier."""
        for flow in Flow:
            self.allocator._store.write(
                lambda c, flow=flow: c.execute(
                    sa.update(flow_rows.host_flow)
                    .where(flow_rows.host_flow.c.flow == flow.value)
                    .values(
                        begun_at=flow_rows.allocation_queries.now(c)
                        - datetime.timedelta(seconds=seconds)
                    )
                )
            )

    def rows(self):
        return self.allocator._store.read(
            lambda c: c.execute(
                sa.select(sa.func.count()).select_from(flow_rows.host_flow)
            ).scalar_one()
        )

    def test_claims_are_counted_whoever_claimed_first(self):
        first, second = fixture.new_uuid(), fixture.new_uuid()
        for uuid, hosts in ((first, 'ab'), (second, 'bc')):
            for host in hosts:
                self.allocator.acquire(uuid, 'p', host)
        for host, number in (('a', 1), ('b', 2), ('c', 1), ('d', 0)):
            self.assertEqual(number, self.flows.count(host).claims, host)
        self.allocator.unclaim(first, 'b')
        self.assertEqual(1, self.flows.count('b').claims)

    def test_levels_are_added_up_for_each_host_and_flow(self):
        self.assertEqual([0, 0], self.taken())
        self.flows.add('a', {Flow.ACQUIRED: 3})
        self.make().host_flows().add('a', {Flow.ACQUIRED: 4, Flow.ADOPTED: 1})
        self.flows.add('A', {Flow.ADOPTED: 9})
        self.assertEqual([7, 1], self.taken())
        self.assertEqual([0, 9], self.taken('A'))

    def test_window_that_is_over_does_not_count(self):
        self.flows.add('a', {Flow.ACQUIRED: 3, Flow.ADOPTED: 5})
        self.pass_time(61)
        self.assertEqual([0, 5], self.taken())
        self.flows.add('a', {Flow.ACQUIRED: 3, Flow.ADOPTED: 5})
        self.assertEqual([3, 10], self.taken())
        self.pass_time(3601)
        self.assertEqual([0, 0], self.taken())
        self.flows.add('a', {Flow.ACQUIRED: 1})
        # The window goes on that has begun.
        self.pass_time(50)
        self.flows.add('a', {Flow.ACQUIRED: 1})
        self.assertEqual(2, self.taken()[0])

    def test_windows_that_are_over_are_forgotten(self):
        for number in range(3):
            self.flows.add(f'evil{number}', {Flow.ACQUIRED: 1})
        self.pass_time(3601)
        self.flows.add('a', {Flow.ACQUIRED: 1})
        self.allocator.tidy()
        self.assertEqual(1, self.rows())
        self.assertEqual([1, 0], self.taken())

    def test_processes_that_add_at_once_lose_nothing(self):
        all_flows = [self.make().host_flows() for _ in range(PROCESSES)]

        def add(flows):
            for _ in range(TIMES):
                flows.add('a', {Flow.ACQUIRED: 2, Flow.ADOPTED: 1})

        with concurrent.futures.ThreadPoolExecutor(PROCESSES) as pool:
            for done in [pool.submit(add, each) for each in all_flows]:
                done.result()
        number = PROCESSES * TIMES
        self.assertEqual([2 * number, number], self.taken())


class SqliteTest(HostFlows, testtools.TestCase):
    kind = 'sqlite'


class MariaDBTest(HostFlows, testtools.TestCase):
    kind = 'mariadb'


class PostgreSQLTest(HostFlows, testtools.TestCase):
    kind = 'postgresql'
