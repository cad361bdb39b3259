# SPDX-License-Identifier: Apache-2.0

import datetime
import threading
from unittest import mock

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import clouds
from svirt_nova.lifecycle import known_hosts

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def _cloud(*hosts):
    return clouds.Cloud(
        'http://nova',
        tuple(
            clouds.ComputeService(host, f'uuid of {host}', True)
            for host in hosts
        ),
    )


class KnownHostsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.now = 1000.0
        self.cloud = _cloud('a', 'b')
        self.asked = 0
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.show_cloud.return_value = clouds.KnownCloud()
        self.hosts = known_hosts.KnownHosts(
            self, self.allocator, lambda: self.now
        )

    def check(self):
        """Answer as Nova."""
        self.asked += 1
        if isinstance(self.cloud, Exception):
            raise self.cloud
        return self.cloud

    def refuse(self, host):
        error = self.assertRaises(exception.NotAllowed, self.hosts.check, host)
        for said in (host, 'known_hosts_only'):
            self.assertIn(said, str(error))

    def test_host_that_nova_lists_is_admitted_and_nova_asked_once(self):
        for host in ('a', 'b', 'a'):
            self.hosts.check(host)
        self.assertEqual(1, self.asked)

    def test_host_that_nova_does_not_list_is_refused_and_named(self):
        self.refuse('evil')
        self.assertIn('Refused: host evil', self.log.output)

    def test_made_up_hosts_do_not_make_the_service_ask_each_time(self):
        for number in range(100):
            self.refuse(f'evil{number}')
        self.assertEqual(1, self.asked)

    def test_new_host_is_admitted_as_soon_as_nova_lists_it(self):
        self.hosts.check('a')
        self.cloud = _cloud('a', 'b', 'new')
        self.refuse('new')
        self.now += known_hosts.RETRY_PERIOD + 1
        self.hosts.check('new')

    def test_host_that_nova_lists_no_more_is_refused_later(self):
        self.hosts.check('b')
        self.cloud = _cloud('a')
        self.hosts.check('b')
        self.now += known_hosts.PERIOD + 1
        self.refuse('b')

    def test_known_hosts_are_admitted_while_nova_does_not_answer(self):
        self.hosts.check('a')
        self.cloud = exception.ComputeApiError('no answer')
        self.now += known_hosts.PERIOD + 1
        self.hosts.check('a')
        self.refuse('evil')
        self.assertIn('no answer', self.log.output)

    def test_store_remembers_hosts_for_a_process_that_starts(self):
        known = clouds.KnownCloud().meet(_cloud('a', 'old'), ['x'], NOW)
        known = known.meet(_cloud('a'), (), NOW)
        self.allocator.show_cloud.return_value = known
        self.cloud = exception.ComputeApiError('no answer')
        self.hosts.check('a')
        for host in ('old', 'x'):
            self.refuse(host)

    def test_known_host_does_not_wait_while_nova_is_slow(self):
        self.hosts.check('a')
        self.now += known_hosts.PERIOD + 1
        asked, answer = threading.Event(), threading.Event()

        def check():
            asked.set()
            answer.wait(60)
            return _cloud('a', 'new')

        self.check = check
        thread = threading.Thread(target=self.hosts.check, args=('a',))
        thread.start()
        self.assertTrue(asked.wait(60))
        self.hosts.check('b')
        self.refuse('new')
        answer.set()
        thread.join()
        self.hosts.check('new')

    def test_another_cloud_is_not_believed(self):
        self.allocator.show_cloud.return_value = clouds.KnownCloud().meet(
            _cloud('a'), (), NOW
        )
        self.cloud = clouds.Cloud(
            'http://other', (clouds.ComputeService('evil', 'other', True),)
        )
        self.hosts.check('a')
        self.refuse('evil')
