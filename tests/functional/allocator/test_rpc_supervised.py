# SPDX-License-Identifier: Apache-2.0
"""The program svirt-nova-allocator, as what runs it sees it: systemd."""

import os
import signal
import socket
import threading
import time

from svirt_nova import exception
from svirt_nova.allocator.rpc import ending
from svirt_nova.allocator.rpc import endpoints
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.cmd import start_check
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers
from tests.functional.allocator import tcp_proxy
from tests.lab import processes


class SupervisedTestCase(rpc_service.ProcessTestCase):
    def setUp(self):
        super().setUp()
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notified.close)
        path = str(self.directory / 'notify')
        self.notified.bind(path)
        self.environment = {'NOTIFY_SOCKET': path}

    def message(self, seconds=60.0):
        """The next message to systemd, as a map."""
        self.notified.settimeout(seconds)
        lines = self.notified.recv(10_000).decode().split('\n')
        return dict(line.split('=', 1) for line in lines)

    def wait_until_ready(self):
        """Wait for the message; those that came before it."""
        before = []
        while 'READY' not in (message := self.message()):
            before.append(message)
        return before, message


class ReadyTest(SupervisedTestCase):
    def test_it_is_ready_when_all_workers_answer_and_not_before(self):
        service = self.start(workers=2, environment=self.environment)
        before, message = self.wait_until_ready()
        self.assertEqual(
            2, service.log.read_text().count('Calls are answered')
        )
        self.assertIn('2 of 2 processes', message['STATUS'])
        self.assertIn('the store can be used', message['STATUS'])
        self.assertIn('STATUS', before[0])
        service.terminate()
        self.assertEqual('1', self.message()['STOPPING'])
        self.assertEqual(0, service.wait(10))

    def test_watchdog_is_not_told_of_life_while_a_worker_is_stopped(self):
        service = self.start(
            environment=self.environment | {'WATCHDOG_USEC': '2000000'}
        )
        self.wait_until_ready()
        self.assertEqual({'WATCHDOG': '1'}, self.message(10))
        [worker] = self.workers(service)
        os.kill(worker, signal.SIGSTOP)
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        time.sleep(1.5)
        self.notified.setblocking(False)
        while True:
            try:
                self.notified.recv(10_000)
            except BlockingIOError:
                break
        self.assertRaises(TimeoutError, self.message, 1.5)
        os.kill(worker, signal.SIGCONT)
        self.assertEqual({'WATCHDOG': '1'}, self.message(10))

    def test_store_that_goes_away_later_is_outlived_and_told(self):
        service = self.start(environment=self.environment)
        self.wait_until_ready()
        path = self.directory / 'levels.sqlite'
        away = path.with_name('away')
        path.rename(away)
        self.assertIn('the store cannot be used', self.message()['STATUS'])
        away.rename(path)
        self.assertIn('the store can be used', self.message()['STATUS'])
        self.assertIsNone(service.poll())


class RefusedTest(rpc_service.ProcessTestCase):
    def refusal(self, **options):
        """The one line of a service that does not start."""
        service = self.start(**options)
        self.assertEqual(1, service.wait(60))
        lines = [
            line
            for line in service.log.read_text().splitlines()
            # Of whom it believes, it warns before.
            if ' WARNING ' not in line
        ]
        self.assertEqual(1, len(lines), lines)
        return lines[0]

    def test_bus_that_nobody_serves_is_refused(self):
        [port] = processes.free_ports(1)
        line = self.refusal(transport_url=f'rabbit://a:b@127.0.0.1:{port}/')
        self.assertIn(f'127.0.0.1:{port}', line)
        self.assertIn('refused', line)
        self.assertIn('transport_url', line)

    def test_bus_that_does_not_know_the_user_is_refused(self):
        place = servers.message_bus().url.partition('@')[2]
        line = self.refusal(
            transport_url=servers.message_bus().url,
            operator_transport_url=f'rabbit://lab:wrong@{place}',
        )
        self.assertIn('operator_transport_url', line)
        self.assertNotIn('wrong', line)

    def test_bus_that_hangs_is_refused_in_time(self):
        user, _, place = servers.message_bus().url.rpartition('@')
        proxy = self.useFixture(tcp_proxy.Proxy(place))
        proxy.freeze()
        conf = rpc_service.make_conf(
            self.url, self.topic, transport_url=f'{user}@{proxy.address}/'
        )
        error = self.assertRaises(
            exception.StoreUnusable, start_check.check, conf, 'sql', 1.5
        )
        self.assertIn('the message bus has not answered', str(error))

    def test_store_that_is_none_is_refused(self):
        (self.directory / 'levels.sqlite').write_text('no database' * 100)
        line = self.refusal()
        self.assertIn('levels.sqlite', line)
        self.assertIn('not an SQLite database', line)


class EndTest(rpc_service.ProcessTestCase):
    """SIGTERM, while the bus does not do its part."""

    def end(self, service):
        """End the service in order; the log."""
        began = time.monotonic()
        service.terminate()
        self.assertEqual(0, service.wait(30))
        self.assertLess(time.monotonic() - began, 6)
        return service.log.read_text()

    def test_it_ends_in_time_when_the_bus_hangs(self):
        user, _, place = servers.message_bus().url.rpartition('@')
        proxy = self.useFixture(tcp_proxy.Proxy(place))
        service = self.start(
            workers=2, transport_url=f'{user}@{proxy.address}/'
        )
        self.wait_until_workers_answer(service, 2)
        proxy.freeze()
        self.assertIn('does not close its connections', self.end(service))

    def test_it_ends_in_time_when_the_bus_is_gone(self):
        bus = rpc_service.other_bus()
        service = self.start(workers=2, transport_url=bus.url)
        self.wait_until_workers_answer(service, 2)
        bus.stop()
        self.addCleanup(bus.start)
        # oslo.messaging has tried for a while then.
        self.wait_for_log(service, 'Trying again in 4 seconds', 4)
        self.end(service)


class AnsweredTest(rpc_service.CallsTestCase):
    def test_a_call_in_work_is_answered_before_the_end(self):
        entered = threading.Event()

        class Slow(sql_allocator.SqlAllocator):
            def space(self):
                entered.set()
                # For longer than connections have to close.
                time.sleep(2.5)
                return super().space()

        endpoint = endpoints.ComputeEndpoint(Slow(self.conf))
        server = self.useFixture(rpc_service.Server(self.conf, endpoint))
        asking = self.client()
        answers = []
        caller = threading.Thread(
            target=lambda: answers.append(asking.space()), daemon=True
        )
        caller.start()
        self.assertTrue(entered.wait(30))
        self.assertTrue(ending.end([server._made]))
        caller.join(10)
        self.assertEqual([self.below.space()], answers)


class SignalsTest(rpc_service.ProcessTestCase):
    def change(self, service, old, new):
        """Change the configuration, and have it read again."""
        text = service.conf.read_text()
        self.assertIn(old, text)
        service.conf.write_text(text.replace(old, new))
        service.send_signal(signal.SIGHUP)

    def test_sighup_changes_what_can_change_and_tells_it(self):
        service = self.start(
            '[DEFAULT]\ndebug = false\ndefault_log_levels =\n',
            host_level_rate=3,
            callers='any',
        )
        self.wait_until_workers_answer(service)
        [worker] = self.workers(service)
        asking = self.client()
        self.acquire(asking)
        self.change(service, 'debug = false', 'debug = true')
        self.wait_for_log(service, 'Changed: [DEFAULT] debug')
        self.wait_for_log(service, f' {worker} DEBUG ')
        self.change(
            service, 'host_level_rate = 3', 'host_level_rate = 1\nworkers = 7'
        )
        self.wait_for_log(service, 'Ignoring change to immutable option')
        self.wait_for_log(
            service, 'Changed: [svirt_nova_allocator] host_level_rate'
        )
        self.assertRaises(exception.LimitReached, self.acquire, asking)
        self.change(service, 'host_level_rate = 1', 'host_level_rate = many')
        self.wait_for_log(service, 'Nothing was changed')
        self.assertEqual([worker], self.workers(service))
        asking.space()
        self.assertNotIn('Traceback', service.log.read_text())

    def test_sigusr2_writes_a_report_of_each_process_without_secrets(self):
        url = servers.message_bus().url
        service = self.start(f'[oslo_reports]\nlog_dir = {self.directory}\n')
        self.wait_until_workers_answer(service)
        [worker] = self.workers(service)
        deadline = time.monotonic() + 30
        for process in (service.pid, worker):
            os.kill(process, signal.SIGUSR2)
        while len(found := [*self.directory.glob('*gurumeditation*')]) < 2:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.assertEqual(
            {
                f'svirt-nova-allocator-{service.pid}',
                f'svirt-nova-allocator-calls-{worker}',
            },
            {path.name.partition('_')[0] for path in found},
        )
        while any(not path.read_text() for path in found):
            self.assertLess(time.monotonic(), deadline)
        for path in found:
            text = path.read_text()
            self.assertIn('Threads', text)
            self.assertIn('host_level_rate', text)
            self.assertNotIn(url.partition('@')[0], text)
        self.client().space()
