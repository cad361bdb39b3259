# SPDX-License-Identifier: Apache-2.0

import pathlib
import tempfile
from unittest import mock

import testtools

from tests.lab import preparation
from tests.lab import qemu
from tests.lab import saved
from tests.lab.image import Image
from tests.lab.progress import LabError


class StateTestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.patch(saved.cache, 'root', lambda: self.root)
        self.patch(qemu, 'platform', lambda: 'QEMU 1')
        self.image = self.build('image-1')

    def build(self, name, secret='one'):
        image = Image(self.root / name)
        image.directory.mkdir(exist_ok=True)
        image.ssh_key.write_text(secret)
        return image


class KeyTest(StateTestCase):
    def test_a_key_stays_where_nothing_changes(self):
        self.assertEqual(
            saved.key(self.image, 'tcg', 'QEMU 1'),
            saved.key(self.image, 'tcg', 'QEMU 1'),
        )

    def test_all_that_a_state_depends_on_makes_another_key(self):
        first = saved.key(self.image, 'tcg', 'QEMU 1')
        found = {
            first,
            saved.key(self.image, 'tcg,tb-size=1', 'QEMU 1'),
            saved.key(self.image, 'tcg', 'QEMU 2'),
            saved.key(self.build('image-2'), 'tcg', 'QEMU 1'),
        }
        with mock.patch.object(qemu, 'MEMORY', 1):
            found.add(saved.key(self.image, 'tcg', 'QEMU 1'))
        with mock.patch.object(preparation, 'files', lambda: {'/a': 'b'}):
            found.add(saved.key(self.image, 'tcg', 'QEMU 1'))
        self.assertEqual(6, len(found))

    def test_an_image_that_was_built_anew_makes_another_key(self):
        before = saved.key(self.image, 'tcg', 'QEMU 1')
        self.build('image-1', 'another')
        self.assertNotEqual(before, saved.key(self.image, 'tcg', 'QEMU 1'))


class SavedStateTest(StateTestCase):
    def setUp(self):
        super().setUp()
        self.machine = mock.Mock(given_up=False)
        self.machine.name = 'host'
        self.prepare = mock.Mock()
        self.patch(preparation, 'prepare', self.prepare)
        self.progress = mock.Mock()

    def state(self, accelerator='tcg'):
        return saved.SavedState(self.image, accelerator)

    def start(self, state):
        state.start(self.machine, 7, self.progress)

    def test_a_machine_goes_on_from_the_state(self):
        state = self.state()
        state.path.touch()
        self.start(state)
        self.machine.load.assert_called_once_with(state.path, 'tcg', 7)
        self.machine.see_enforcing.assert_called_once_with()
        self.machine.settle.assert_called_once_with()
        self.machine.rely_on.assert_called_once_with()
        self.machine.boot.assert_not_called()
        self.prepare.assert_not_called()

    def test_without_a_state_a_machine_boots(self):
        self.start(self.state())
        self.machine.load.assert_not_called()
        self.machine.boot.assert_called_once_with('tcg', 7)
        self.prepare.assert_called_once_with(self.machine)
        self.machine.settle.assert_called_once_with()
        self.machine.rely_on.assert_called_once_with()

    def test_a_state_that_fails_is_dropped_and_the_machine_boots(self):
        for step in ('load', 'wait_until_up', 'settle', 'see_enforcing'):
            state = self.state()
            state.path.touch()
            self.machine.reset_mock(side_effect=True)
            self.progress.reset_mock()
            getattr(self.machine, step).side_effect = [LabError('bad'), None]
            self.start(state)
            self.assertFalse(state.path.exists())
            self.machine.end.assert_called_once_with()
            self.machine.boot.assert_called_once_with('tcg', 7)
            [line] = self.progress.say.call_args.args
            self.assertIn('host boots', line)
            self.assertIn('bad', line)

    def test_a_lab_that_ends_meanwhile_leaves_the_state(self):
        state = self.state()
        state.path.touch()
        self.machine.given_up = True
        self.machine.wait_until_up.side_effect = LabError('given up')
        self.assertRaises(LabError, self.start, state)
        self.assertTrue(state.path.exists())
        self.machine.boot.assert_not_called()

    def test_a_state_is_there_only_when_it_is_complete(self):
        state = self.state()
        made = self.root / 'made'
        self.machine.save.side_effect = lambda path: path.touch()
        self.prepare.side_effect = lambda _: self.assertFalse(state.present)
        state.make(self.machine, made, 7, self.progress)
        self.machine.save.assert_called_once_with(made)
        self.assertTrue(state.present)
        self.assertFalse(made.exists())

    def test_a_state_that_cannot_be_saved_is_told_and_not_there(self):
        for error in (LabError('no space'), OSError('no space')):
            state = self.state()
            self.machine.reset_mock()
            self.machine.save.side_effect = error
            state.make(self.machine, self.root / 'made', 7, self.progress)
            self.assertFalse(state.present)
            self.machine.end.assert_called_once_with()
            [line] = self.progress.say.call_args.args
            self.assertIn('no space', line)

    def test_a_lab_that_ends_meanwhile_tells_no_fault_of_the_state(self):
        self.machine.given_up = True
        self.machine.save.side_effect = LabError('given up')
        self.assertRaises(
            LabError,
            self.state().make,
            self.machine,
            self.root / 'made',
            7,
            self.progress,
        )
        self.progress.say.assert_not_called()

    def test_states_of_other_keys_go_when_one_is_made(self):
        other = self.root / 'state-other.qcow2'
        other.touch()
        self.machine.save.side_effect = lambda path: path.touch()
        self.state().make(self.machine, self.root / 'made', 7, self.progress)
        self.assertFalse(other.exists())

    def test_with_kvm_no_state_is_used(self):
        state = self.state('kvm')
        state.path.touch()
        self.assertFalse(state.useful)
        self.start(state)
        self.machine.load.assert_not_called()
        self.machine.boot.assert_called_once_with('kvm', 7)
