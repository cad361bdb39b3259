# SPDX-License-Identifier: Apache-2.0
"""How metrics are shown, and that this never ends a program."""

import pathlib
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request

import fixtures
import prometheus_client
import testtools
from oslo_config import cfg

import svirt_nova.conf
from svirt_nova.metrics import exposition


class ExposedTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.registry = prometheus_client.CollectorRegistry()
        self.gauge = prometheus_client.Gauge(
            'svirt_nova_x', 'It is a test.', registry=self.registry
        )

    def expose(self, program='svirt-nova-test', **options):
        conf = cfg.ConfigOpts()
        svirt_nova.conf.register_opts(conf)
        conf([], default_config_files=[])
        for name, value in options.items():
            conf.set_override(name, value, 'svirt_metrics')
        shown = exposition.expose(conf, self.registry, program)
        self.addCleanup(shown.close)
        return shown

    def scrape(self, port):
        with urllib.request.urlopen(
            f'http://127.0.0.1:{port}/metrics', timeout=10
        ) as answer:
            return answer.read().decode()


class HttpTest(ExposedTestCase):
    def test_by_default_nothing_listens_and_nothing_is_written(self):
        shown = self.expose()
        self.assertIsNone(shown.port)
        self.assertEqual([], [*self.directory.iterdir()])

    def test_metrics_are_answered_as_they_are_at_the_moment(self):
        shown = self.expose(listen=['127.0.0.1:0'])
        for value in ('1.0', '2.0'):
            self.gauge.set(float(value))
            self.assertIn(f'svirt_nova_x {value}\n', self.scrape(shown.port))

    def test_port_that_is_taken_is_logged_and_ends_nothing(self):
        taken = self.expose(listen=['127.0.0.1:0']).port
        shown = self.expose(listen=[f'127.0.0.1:{taken}'])
        self.assertIsNone(shown.port)
        self.assertIn(f'at 127.0.0.1:{taken}: ', self.log.output)
        self.assertIn('[svirt_metrics] listen', self.log.output)
        self.assertNotIn('Traceback', self.log.output)

    def test_text_that_is_no_address_is_logged_and_ends_nothing(self):
        for text in (
            '9177',
            ':9177',
            '127.0.0.1',
            '127.0.0.1:port',
            '127.0.0.1:70000',
            '[::1',
            '192.0.2.1:9177',
            'x\n:y',
        ):
            self.assertIsNone(self.expose(listen=[text]).port)
        self.assertEqual(
            8, self.log.output.count('No metrics of svirt-nova-test')
        )

    def test_value_that_is_no_number_is_logged_and_ends_nothing(self):
        path = self.directory / 'x.conf'
        path.write_text('[svirt_metrics]\nlisten = 127.0.0.1:0\ninterval = x')
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[str(path)])
        self.assertIsNone(exposition.expose(conf, self.registry).port)
        self.assertIn('interval', self.log.output)

    def test_program_listens_where_its_name_stands_or_where_none_does(self):
        entries = ['127.0.0.1:1', 'svirt-nova-alarm=127.0.0.1:2', 'x=[::1]:3']
        for program, expected in (
            ('svirt-nova-alarm', '127.0.0.1:2'),
            ('x', '[::1]:3'),
            ('nova-compute', '127.0.0.1:1'),
        ):
            self.assertEqual(expected, exposition._listen_of(entries, program))
        self.assertIsNone(exposition._listen_of(entries[1:], 'nova-compute'))

    def test_client_that_sends_nothing_keeps_no_other_waiting(self):
        shown = self.expose(listen=['127.0.0.1:0'])
        with socket.create_connection(('127.0.0.1', shown.port)):
            self.assertIn('svirt_nova_x', self.scrape(shown.port))

    def test_clients_beyond_the_most_are_refused_and_later_answered(self):
        shown = self.expose(listen=['127.0.0.1:0'])
        idle = [
            socket.create_connection(('127.0.0.1', shown.port), timeout=10)
            for _ in range(exposition._MOST_REQUESTS)
        ]
        # They are accepted in the order in which they came.
        with socket.create_connection(
            ('127.0.0.1', shown.port), timeout=10
        ) as one_more:
            self.assertEqual(b'', one_more.recv(1))
        for each in idle:
            each.close()
        deadline = time.monotonic() + 10
        while True:
            try:
                self.assertIn('svirt_nova_x', self.scrape(shown.port))
            except OSError:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.05)
            else:
                break


class TextfileTest(ExposedTestCase):
    def wait_for(self, text, path):
        deadline = time.monotonic() + 10
        while not (path.exists() and text in path.read_text()):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def write(self, path):
        """Write the file every tenth of a second."""
        shown = exposition.Exposition()
        self.addCleanup(shown.close)
        shown.write(self.registry, path, 0.1)

    def test_file_has_the_name_of_the_program(self):
        self.expose(textfile_directory=str(self.directory))
        self.wait_for('svirt_nova_x', self.directory / 'svirt-nova-test.prom')

    def test_file_is_written_anew_and_nothing_else_is_left(self):
        path = self.directory / 'p.prom'
        self.write(path)
        for value in ('1.0', '2.0'):
            self.gauge.set(float(value))
            self.wait_for(f'svirt_nova_x {value}\n', path)
        self.assertEqual([path], [*self.directory.glob('*.prom')])

    def test_directory_that_is_not_there_is_logged_once_until_it_is(self):
        missing = self.directory / 'missing'
        self.write(missing / 'p.prom')
        time.sleep(0.35)
        missing.mkdir()
        self.wait_for('svirt_nova_x', missing / 'p.prom')
        self.assertEqual(1, self.log.output.count('are not written to'))
        self.assertIn('No such file or directory', self.log.output)
        self.assertNotIn('Traceback', self.log.output)

    def test_name_of_a_program_leaves_no_directory(self):
        self.assertEqual('.._x_y.prom', exposition._file_name('../x y'))


class EventletTest(testtools.TestCase):
    def test_green_threads_answer_and_write_while_others_wait(self):
        """As in a nova-compute of Nova 33."""
        directory = self.useFixture(fixtures.TempDir()).path
        program = textwrap.dedent("""
            import eventlet
            eventlet.monkey_patch()
            import pathlib, sys, time, urllib.request
            import prometheus_client
            from oslo_config import cfg
            import svirt_nova.conf
            from svirt_nova.metrics import definitions, exposition, tallies
            defined = definitions.Definition(
                'svirt_nova_y_total', definitions.Kind.COUNTER, 'It is y.')
            values = tallies.Tallies('p', [defined])
            registry = prometheus_client.CollectorRegistry()
            registry.register(values)
            conf = cfg.ConfigOpts()
            svirt_nova.conf.register_opts(conf)
            conf([], default_config_files=[])
            conf.set_override('listen', ['127.0.0.1:0'], 'svirt_metrics')
            conf.set_override(
                'textfile_directory', sys.argv[1], 'svirt_metrics')
            values.add(defined)
            shown = exposition.expose(conf, registry, 'p')
            url = f'http://127.0.0.1:{shown.port}/metrics'
            print(urllib.request.urlopen(url, timeout=10).read().decode())
            time.sleep(0.5)
            print(pathlib.Path(sys.argv[1], 'p.prom').read_text())
        """)
        found = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', program, directory],
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual('', found.stderr)
        self.assertEqual(
            2, found.stdout.count('\nsvirt_nova_y_total 1.0\n'), found.stdout
        )
