# SPDX-License-Identifier: Apache-2.0

import os
import socket

import fixtures
import testtools

from svirt_nova.cmd import supervision


class SupervisionTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.useFixture(
            fixtures.MonkeyPatch(f'{supervision.__name__}._taken', {})
        )
        self.log = self.useFixture(fixtures.FakeLogger())

    def listen(self, address=None):
        """A socket as systemd has it, which the environment names."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(opened.close)
        opened.settimeout(5)
        if address is None:
            address = self.useFixture(fixtures.TempDir()).join('notify')
        opened.bind(address)
        self.environment('NOTIFY_SOCKET', address.replace('\0', '@'))
        return opened

    def environment(self, name, value):
        self.useFixture(fixtures.EnvironmentVariable(name, value))

    def test_each_message_has_the_fields_of_sd_notify(self):
        heard = self.listen()
        supervision.ready('2 of 2')
        self.assertEqual(b'READY=1\nSTATUS=2 of 2', heard.recv(1000))
        supervision.status('a\nREADY=1')
        self.assertEqual(b'STATUS=a\\nREADY=1', heard.recv(1000))
        supervision.stopping('it ends')
        self.assertEqual(b'STOPPING=1\nSTATUS=it ends', heard.recv(1000))
        supervision.alive()
        self.assertEqual(b'WATCHDOG=1', heard.recv(1000))

    def test_what_was_taken_is_used_and_hidden_from_libraries(self):
        heard = self.listen(f'\0svirt-nova-test-{os.getpid()}')
        supervision.take()
        self.assertNotIn('NOTIFY_SOCKET', os.environ)
        supervision.ready('x')
        self.assertEqual(b'READY=1\nSTATUS=x', heard.recv(1000))

    def test_without_systemd_nothing_is_told(self):
        self.environment('NOTIFY_SOCKET', None)
        supervision.take()
        supervision.ready('x')
        self.assertEqual('', self.log.output)

    def test_socket_that_is_gone_is_logged_and_no_error(self):
        self.environment('NOTIFY_SOCKET', '/nonexistent/notify')
        supervision.ready('x')
        self.assertIn('READY=1', self.log.output)

    def test_watchdog_is_for_the_process_that_systemd_names(self):
        self.environment('WATCHDOG_PID', None)
        self.environment('WATCHDOG_USEC', '2500000')
        self.assertEqual(2.5, supervision.watchdog())
        self.environment('WATCHDOG_PID', str(os.getpid()))
        self.assertEqual(2.5, supervision.watchdog())
        self.environment('WATCHDOG_PID', '1')
        self.assertIsNone(supervision.watchdog())
        self.environment('WATCHDOG_PID', None)
        for value in (None, '0', 'x'):
            self.environment('WATCHDOG_USEC', value)
            self.assertIsNone(supervision.watchdog())
