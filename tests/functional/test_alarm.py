# SPDX-License-Identifier: Apache-2.0
"""The program svirt-nova-alarm, on a real log and a real message bus."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid

import oslo_messaging
from oslo_config import cfg

from svirt_nova.allocator.rpc import transport
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.mcs import spaces
from tests.functional import program_case
from tests.functional.allocator import fixture
from tests.functional.allocator import rpc_service
from tests.functional.allocator import servers
from tests.unit.alarm import audit

_PATIENCE = 60


_MOST_DELAY = 6
"""Seconds within which something comes that takes one or two: the machine of
the tests is busy with others."""


class AlarmCase(program_case.ProgramTestCase):
    """A log, and the program on it."""

    def setUp(self):
        super().setUp()
        self.log = self.directory / 'audit.log'
        self.log.write_text('type=DAEMON_START msg=audit(1.0:1): op=start\n')
        self.out = self.directory / 'alarm.log'
        self.started = 0

    def configure_alarm(self, more):
        self.config.write_text(
            f'[DEFAULT]\nhost = {audit.HOST}\n'
            f'[svirt_alarm]\naudit_log = {self.log}\n'
            f'state_path = {self.directory}/state.json\n{more}'
        )

    def start(self):
        """Start the program, and wait until it watches."""
        with self.out.open('ab') as out:
            process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.addCleanup(self.kill, process)
        self.started += 1
        self.wait_until(
            lambda: self.text().count('The alarm watches') >= self.started
        )
        return process

    def command(self):
        return [
            sys.executable,
            '-W',
            'ignore',
            '-m',
            'svirt_nova.cmd.alarm',
            '--config-file',
            self.config,
        ]

    @staticmethod
    def kill(process):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()

    def end(self, process):
        """End the program in order; it has two seconds."""
        begin = time.monotonic()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(0, process.wait(10), self.text())
        # The machine of the tests is busy with others.
        self.assertLess(time.monotonic() - begin, _MOST_DELAY)

    def text(self):
        return self.out.read_text()

    def alarms(self):
        return [
            each for each in self.text().splitlines() if ' verdict=' in each
        ]

    def write(self, *lines):
        with self.log.open('ab') as file:
            file.writelines(each + b'\n' for each in lines)

    def wait_until(self, condition, seconds=_PATIENCE):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, self.text())
            time.sleep(0.02)


class ClaimsCase(AlarmCase):
    """A store with three instances of this host."""

    def setUp(self):
        super().setUp()
        url = f'sqlite:///{self.store}'
        self.topic = f'notes-{uuid.uuid4().hex}'
        self.configure_alarm(
            # On a busy machine an alarm would come without names.
            f'name_timeout = {_PATIENCE}\n'
            f'[svirt_database]\nconnection = {url}\n'
            f'[oslo_messaging_notifications]\ndriver = messagingv2\n'
            f'topics = {self.topic}\n'
            f'transport_url = {servers.message_bus().url}\n'
        )
        self.conf = rpc_service.make_conf(url, self.topic)
        stores.sync(self.conf, spaces.LevelSpace.parse('c0.c99'))
        self.allocator = sql_allocator.SqlAllocator(self.conf)
        self.claims = [
            self.allocator.acquire(fixture.new_uuid(), project, audit.HOST)
            for project in ('ann', 'bob', 'eve')
        ]
        self.claimed_at = time.monotonic()

    def wait_for_certainty(self):
        """Wait until those who have the levels are named.

        Who has had one for less than a second is not.
        """
        self.wait_until(lambda: time.monotonic() - self.claimed_at > 2.1)

    def level(self, number):
        return str(self.claims[number].level).partition(':')[2]

    def denial(self, source, target):
        return audit.denial(self.level(source), self.level(target))


class RestartTest(ClaimsCase):
    def setUp(self):
        super().setUp()
        self.received = []
        self.listen()

    def listen(self):
        """Receive what is sent to the topic."""
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        transport.register_switches(conf)
        bus = oslo_messaging.get_notification_transport(
            conf, url=servers.message_bus().url
        )
        received = self.received

        class Endpoint:
            def error(self, _, publisher_id, event_type, payload, metadata):
                received.append((publisher_id, event_type, payload))

        listener = oslo_messaging.get_notification_listener(
            bus,
            [oslo_messaging.Target(topic=self.topic)],
            [Endpoint()],
            executor='threading',
        )
        listener.start()
        self.addCleanup(
            rpc_service.in_background, listener.stop, listener.wait
        )

    def test_a_crash_costs_no_alarm_and_tells_none_again(self):
        process = self.start()
        self.wait_for_certainty()
        self.write(self.denial(0, 1), *3 * [self.denial(0, 1)])
        self.wait_until(lambda: self.alarms())
        self.wait_until(lambda: self.received)
        self.kill(process)
        self.write(self.denial(1, 2))
        os.rename(self.log, f'{self.log}.1')
        self.write(self.denial(2, 0))
        process = self.start()
        self.wait_until(lambda: len(self.alarms()) >= 3)
        self.end(process)
        alarms = self.alarms()
        # What was counted is told at the end.
        self.assertEqual(4, len(alarms), self.text())
        self.assertEqual(
            [1, 1, 1, 3],
            [int(each.partition(' count=')[2].split()[0]) for each in alarms],
        )
        for (source, target), line in zip(
            [(0, 1), (1, 2), (2, 0), (0, 1)], alarms, strict=True
        ):
            self.assertIn('verdict=cross-project', line)
            for side, number in (('source', source), ('target', target)):
                uuid_ = self.claims[number].instance_uuid
                self.assertIn(f'{side}_instance={uuid_}', line)
        self.wait_until(lambda: len(self.ids()) >= 4)
        self.assertEqual(
            {('svirt_nova.compute1', 'svirt_nova.confinement.denied')},
            {each[:2] for each in self.received},
        )
        self.assertEqual(4, len(self.ids()))
        self.assertIn(self.received[0][2]['id'], alarms[0])
        self.assertEqual('ann', self.received[0][2]['subject']['project'])
        self.assertEqual('bob', self.received[0][2]['object']['project'])
        state = json.loads((self.directory / 'state.json').read_text())
        self.assertEqual([], state['pending'])

    def ids(self):
        return {each[2]['id'] for each in self.received}


class ServiceTest(ClaimsCase):
    def test_names_come_from_the_allocator_service(self):
        self.useFixture(rpc_service.Service(self.conf, self.allocator))
        other = self.allocator.acquire(fixture.new_uuid(), 'zoe', 'elsewhere')
        self.configure_alarm(
            f'[svirt]\nallocator = rpc\n'
            f'[svirt_nova_allocator]\ntopic = {self.topic}\n'
            f'transport_url = {servers.message_bus().url}\n'
        )
        process = self.start()
        self.wait_for_certainty()
        self.write(
            self.denial(0, 1),
            audit.denial(self.level(1), str(other.level).partition(':')[2]),
        )
        self.wait_until(lambda: len(self.alarms()) == 2)
        named, unnamed = sorted(
            self.alarms(), key=lambda each: 'verdict=doubtful' in each
        )
        self.assertIn('source_project=ann', named)
        self.assertIn('target_project=bob', named)
        # A host may not ask whose the levels of other hosts are.
        self.assertIn('source_project=bob', unnamed)
        self.assertNotIn('target_project', unnamed)
        self.end(process)


class DeadAllocatorTest(AlarmCase):
    def test_an_alarm_comes_in_time_without_names(self):
        # It takes connections, and never says a word.
        bus = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(bus.close)
        url = f'rabbit://a:b@127.0.0.1:{bus.getsockname()[1]}/'
        self.configure_alarm(
            f'[svirt]\nallocator = rpc\n'
            f'[svirt_nova_allocator]\ntransport_url = {url}\n'
            f'[oslo_messaging_notifications]\ndriver = messagingv2\n'
            f'transport_url = {url}\n'
        )
        process = self.start()
        begin = time.monotonic()
        self.write(audit.denial(), *5 * [audit.denial()])
        self.wait_until(lambda: self.alarms())
        self.assertLess(time.monotonic() - begin, _MOST_DELAY)
        [line] = self.alarms()
        self.assertIn('verdict=doubtful', line)
        self.assertNotIn('source_instance', line)
        self.end(process)
        [_, line] = self.alarms()
        self.assertIn(' count=5 ', line)
        # What the bus did not take waits for the next start.
        state = json.loads((self.directory / 'state.json').read_text())
        self.assertEqual(2, len(state['unsent']))


class StartTest(AlarmCase):
    def test_what_cannot_be_used_is_refused_in_one_line(self):
        self.configure_alarm('quiet_time = x\n')
        done = self.run_module()
        self.assertEqual((1, ''), (done.returncode, done.stdout))
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)

    def test_a_pipe_is_read_to_its_end(self):
        self.configure_alarm('source = stdin\n[svirt]\nallocator = none\n')
        done = self.run_module(audit.denial().decode() + '\n')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('verdict=doubtful', done.stdout + done.stderr)

    def run_module(self, text=''):
        return subprocess.run(
            self.command(),
            input=text,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
