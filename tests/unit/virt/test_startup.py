# SPDX-License-Identifier: Apache-2.0
"""What is checked and told when nova-compute starts."""

from __future__ import annotations

from types import SimpleNamespace
from unittest import mock

import fixtures
import futurist
import nova.conf
import oslo_messaging
import testtools
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host

from svirt_nova import conf as svirt_conf
from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.allocator import types
from svirt_nova.host import mounts
from svirt_nova.mcs import spaces
from svirt_nova.virt import confining
from svirt_nova.virt import extension
from svirt_nova.virt import startup
from tests import samples
from tests.fakes import kernel as fake_kernel

CONF = nova.conf.CONF
SPACE = spaces.LevelSpace.parse('c0.c9')


class StartTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        svirt_conf.register_opts(CONF)
        self.log = self.useFixture(fixtures.FakeLogger())
        self.allocator = mock.create_autospec(base.Allocator, instance=True)
        self.allocator.space.return_value = SPACE
        self.allocator.meet.return_value = types.Trust(1)
        self._patch('svirt_nova.virt.seen_generation.SeenGeneration._write')
        self.load = self._patch(
            'svirt_nova.allocator.base.load', return_value=self.allocator
        )
        self.kernel = self.useFixture(fake_kernel.Kernel())
        self.services = self._patch(
            'nova.objects.ServiceList.get_by_binary',
            return_value=[SimpleNamespace(host='here')],
        )
        for name, found in (
            ('writable', samples.IMAGE),
            ('readable', samples.CONTENT),
        ):
            self._patch(
                f'svirt_nova.host.image_contexts.{name}', return_value=found
            )
        self._patch(
            'svirt_nova.host.mounts.file_system',
            return_value=mounts.FileSystem('xfs', '/'),
        )
        self.host = mock.Mock()
        connection = self.host.get_connection.return_value
        connection.getCapabilities.return_value = samples.CAPABILITIES
        self.host.list_guests.return_value = []

    def _patch(self, name, **options):
        return self.useFixture(fixtures.MockPatch(name, **options)).mock

    def _flag(self, name, value):
        CONF.set_override(name, value, 'svirt')
        self.addCleanup(CONF.clear_override, name, 'svirt')

    def _start(self):
        return startup.start('here', self.host)

    def _check_refused(self, text):
        error = self.assertRaises(nova_exception.InternalError, self._start)
        self.assertIn(text, str(error))
        self.assertIn('nova-compute cannot start', self.log.output)

    # How far a host goes

    def test_a_host_that_confines_does_so(self):
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertNotIn('WARN', self.log.output)
        self.host.get_connection.return_value.getCapabilities.assert_called()

    def test_a_disabled_extension_asks_nobody(self):
        self._flag('mode', 'disabled')
        self.assertIs(extension.Extension, type(self._start()))
        self.load.assert_not_called()
        self.assertIn('mode is disabled', self.log.output)

    def test_a_host_that_does_not_confine_is_refused(self):
        self.kernel.enforces = 0
        self._check_refused('setenforce 1')

    def test_a_permissive_host_that_does_not_confine_claims(self):
        self._flag('mode', 'permissive')
        self.kernel.enforces = 0
        self.assertIs(extension.Claiming, type(self._start()))
        self.assertIn('NOT isolated', self.log.output)

    def test_an_unknown_allocator_is_refused_in_every_mode(self):
        self.load.side_effect = exception.StoreUnusable('no such allocator')
        for mode in ('enforcing', 'permissive'):
            self._flag('mode', mode)
            self._check_refused('no such allocator')

    # The end of a process that is refused

    def test_a_refusal_ends_the_thread_that_would_keep_the_process(self):
        host = libvirt_host.Host('test:///default')
        self._patch('nova.utils.concurrency_mode_threading', return_value=True)
        executor = futurist.ThreadPoolExecutor(max_workers=1)
        loop = executor.submit(host._conn_event_thread)
        self.kernel.enforces = 0
        host.get_connection = self.host.get_connection
        self.assertRaises(
            nova_exception.InternalError, startup.start, 'here', host
        )
        self.assertIsInstance(loop.exception(timeout=30), SystemExit)
        executor.shutdown()

    def test_a_refusal_leaves_green_threads_alone(self):
        self._patch(
            'nova.utils.concurrency_mode_threading', return_value=False
        )
        self.kernel.enforces = 0
        self._check_refused('setenforce 1')
        self.host._conn_event_handler_queue.put.assert_not_called()

    # What the kernel says

    def test_a_permissive_domain_is_refused(self):
        self.kernel.permissive = {'svirt_t'}
        self._check_refused('semanage permissive -d svirt_t')

    def test_a_domain_that_mcs_does_not_constrain_is_refused(self):
        self.kernel.exempt = {'svirt_t'}
        self._check_refused('Categories do not confine svirt_t')

    def test_the_domain_of_emulated_guests_is_asked_about_too(self):
        self.kernel.exempt = {'svirt_tcg_t'}
        self._check_refused('Categories do not confine svirt_tcg_t')

    def test_a_policy_that_does_not_keep_guests_apart_is_told_where_it_may(
        self,
    ):
        self._flag('mode', 'permissive')
        self.kernel.permissive = {'svirt_t'}
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertIn('NOT isolated', self.log.output)
        self.assertIn('semanage permissive -d svirt_t', self.log.output)

    # The store

    def _check_many_hosts(self):
        self.services.return_value = [
            SimpleNamespace(host=name) for name in ('there', 'here')
        ]

    def test_an_sqlite_store_is_refused_where_nova_has_more_hosts(self):
        self._check_many_hosts()
        self._check_refused('Nova has more hosts with nova-compute: there')

    def test_a_host_that_comes_later_is_told_by_a_reconciliation(self):
        started = self._start()
        for name in ('reconciler', 'running_guests'):
            setattr(started, name, mock.Mock())
        started.reconcile_if_due()
        self.assertNotIn('will not start', self.log.output)
        self._check_many_hosts()
        started._reconcile()
        self.assertIn('will not start here again', self.log.output)

    def test_an_sqlite_store_is_told_where_nova_has_more_hosts(self):
        self._flag('mode', 'permissive')
        self._check_many_hosts()
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertIn('more hosts with nova-compute', self.log.output)

    def test_a_database_server_may_have_many_hosts(self):
        self._check_many_hosts()
        CONF.set_override(
            'connection', 'mysql+pymysql://db/x', 'svirt_database'
        )
        self.addCleanup(CONF.clear_override, 'connection', 'svirt_database')
        self._start()

    def test_a_service_may_have_many_hosts(self):
        self._check_many_hosts()
        self._flag('allocator', 'rpc')
        self._start()

    def test_a_conductor_that_does_not_say_is_told(self):
        self.services.side_effect = oslo_messaging.MessagingTimeout
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertIn('does not say which hosts', self.log.output)

    def test_an_sqlite_store_on_shared_storage_is_refused(self):
        self._patch(
            'svirt_nova.host.mounts.file_system',
            return_value=mounts.FileSystem('nfs4', '/srv'),
        )
        self._check_refused('an SQLite file on nfs4 at /srv')

    def test_a_store_that_is_away_does_not_keep_a_host_from_starting(self):
        self.allocator.space.side_effect = exception.StoreUnreachable('away')
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertIn('cannot be reached', self.log.output)

    def test_a_store_that_cannot_be_used_is_refused(self):
        self.allocator.space.side_effect = exception.StoreUnusable('schema')
        self._check_refused('schema')

    def test_a_store_that_cannot_be_used_is_told_in_permissive_mode(self):
        self._flag('mode', 'permissive')
        self.allocator.space.side_effect = exception.StoreUnusable('schema')
        self.assertIsInstance(self._start(), confining.Confining)
        self.assertIn('NOT isolated', self.log.output)

    def test_the_scheme_is_remembered_for_when_the_store_is_away(self):
        self.allocator.space.return_value = spaces.LevelSpace.parse(
            'c10.c19', 2, '', 'c0.c9'
        )
        started = self._start()
        self.allocator.space.side_effect = exception.StoreUnreachable('away')
        held = SimpleNamespace(project=None)
        self.assertTrue(started.claims.shares_nothing(held))

    # Guests at levels that libvirt drew

    def _runs(self, kind, level):
        guest = mock.Mock()
        guest.name = 'instance-7'
        guest.get_xml_desc.return_value = samples.labelled_domain(
            kind, level=level
        )
        self.host.list_guests.return_value = [guest]

    def test_a_guest_at_a_level_of_the_space_that_libvirt_drew_is_told(self):
        self._runs('dynamic', ':c4,c9')
        self._start()
        self.assertIn('instance-7 (s0:c4,c9)', self.log.output)
        self.host.list_guests.assert_called_with(only_running=True)

    def test_a_guest_at_a_level_that_clashes_with_the_space_is_told(self):
        self._runs('dynamic', ':c4,c5,c9')
        self._start()
        self.assertIn('instance-7', self.log.output)

    def test_a_guest_at_a_level_outside_of_the_space_is_not_told(self):
        self._runs('dynamic', ':c400,c900')
        self._start()
        self.assertNotIn('instance-7', self.log.output)

    def test_a_guest_at_a_level_that_was_given_is_not_told(self):
        self._runs('static', ':c4,c9')
        self._start()
        self.assertNotIn('instance-7', self.log.output)

    def test_without_such_guests_nothing_is_told(self):
        self._start()
        self.assertNotIn('libvirt drew', self.log.output)
