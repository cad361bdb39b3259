# SPDX-License-Identifier: Apache-2.0

import json
import pathlib
import socket
import tempfile
import threading

import testtools

from tests.lab import qemu
from tests.lab.image import Image
from tests.lab.progress import LabError

IMAGE = Image(pathlib.Path('/image'))


def backends(**changes):
    return qemu.Backends(
        **{
            'name': 'one',
            'overlay': pathlib.Path('/run/one.qcow2'),
            'console': pathlib.Path('/run/one.log'),
            'monitor': pathlib.Path('/run/one.qmp'),
            'ssh_port': 11001,
            'network': 11002,
            **changes,
        }
    )


class CommandTest(testtools.TestCase):
    def words(self, state='', **changes):
        return [
            str(word)
            for word in qemu.command('tcg', IMAGE, backends(**changes), state)
        ]

    def test_hardware_is_all_of_it_but_backends_and_snapshot(self):
        words = self.words()
        hardware = qemu.hardware('tcg')
        begin = words.index(hardware[0])
        self.assertEqual(hardware, words[begin : begin + len(hardware)])
        left = words[:begin] + words[begin + len(hardware) :]
        backends = ['-chardev', '-qmp', '-drive', '-netdev', '-netdev']
        self.assertEqual(
            ['-name', *backends, '-kernel', '-initrd'], left[1::2]
        )

    def test_hardware_has_no_name_port_or_path_of_a_run(self):
        changes = {
            'name': 'two',
            'overlay': pathlib.Path('/run/two.qcow2'),
            'console': pathlib.Path('/run/two.log'),
            'monitor': pathlib.Path('/run/two.qmp'),
            'ssh_port': 12001,
            'network': 12002,
        }
        for field, value in changes.items():
            words = self.words(**{field: value})
            self.assertNotEqual(self.words(), words, field)
            self.assertTrue(any(str(value) in word for word in words), field)
            self.assertFalse(
                any(str(value) in word for word in qemu.hardware('tcg'))
            )

    def test_a_snapshot_is_loaded_where_one_is_named(self):
        self.assertNotIn('-loadvm', self.words())
        self.assertEqual(['-loadvm', 'ready'], self.words('ready')[-2:])

    def test_every_device_has_its_backend(self):
        words = self.words()
        made = {
            part.partition('=')[2]
            for word in words
            for part in word.split(',')
            if part.startswith('id=')
        }
        used = {
            part.partition('=')[2]
            for word in words
            for part in word.split(',')
            if part.startswith(('netdev=', 'drive='))
        } | {
            word.partition(':')[2]
            for word in words
            if word.startswith('chardev:')
        }
        self.assertEqual(made, used)

    def test_the_processor_is_the_machine_s_with_kvm_alone(self):
        for accelerator, model in (('kvm', 'host'), ('tcg', 'max')):
            words = qemu.hardware(accelerator)
            found = words[words.index('-cpu') + 1]
            self.assertEqual(model, found.partition(',')[0])


class MonitorTest(testtools.TestCase):
    def serve(self, *answers):
        """Answer one connection as QEMU would; keep what it was told."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = pathlib.Path(directory.name) / 'monitor'
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)
        self.told = []

        def serve():
            connection, _ = listener.accept()
            with connection, connection.makefile('rw') as lines:
                print('{"QMP": {}}', file=lines, flush=True)
                for answer in ({'return': {}}, *answers):
                    self.told.append(json.loads(lines.readline()))
                    if answer is None:
                        return
                    print('{"event": "STOP"}', file=lines)
                    print(json.dumps(answer), file=lines, flush=True)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return qemu.Monitor(path)

    def test_commands_are_executed_one_after_the_other(self):
        monitor = self.serve({'return': 1}, {'return': 2})
        self.assertEqual(
            [1, 2], monitor.execute(('stop', {}), ('cont', {'a': 'b'}))
        )
        self.assertEqual(
            [('qmp_capabilities', {}), ('stop', {}), ('cont', {'a': 'b'})],
            [(each['execute'], each['arguments']) for each in self.told],
        )

    def test_an_error_of_qemu_is_raised(self):
        monitor = self.serve({'error': {'desc': 'no such link'}})
        error = self.assertRaises(LabError, monitor.execute, ('set_link', {}))
        self.assertIn('no such link', str(error))

    def test_a_qemu_that_ends_is_an_error(self):
        monitor = self.serve(None)
        error = self.assertRaises(LabError, monitor.execute, ('stop', {}))
        self.assertIn('QEMU ended', str(error))

    def test_what_the_human_monitor_says_is_an_error(self):
        monitor = self.serve({'return': 'Error: no device\r\n'})
        error = self.assertRaises(LabError, monitor.human, 'savevm x')
        self.assertIn('no device', str(error))

    def test_a_command_of_the_human_monitor_that_prints_nothing_succeeds(self):
        self.serve({'return': ''}).human('savevm x')
        self.assertEqual(
            {'command-line': 'savevm x'}, self.told[-1]['arguments']
        )
