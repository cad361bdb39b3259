# SPDX-License-Identifier: Apache-2.0
"""What the samples of files say, and how they are taken."""

from __future__ import annotations

import os
import time
from unittest import mock

import fixtures
import testtools

from tests.lab import file_sampler
from tests.lab import file_samples

DISK = '/srv/instances/ann/disk'
WANTED = file_samples.Wanted(
    categories=frozenset([1, 2]), type='svirt_image_t', group=64055
)
HOLDERS = {'/srv/instances/ann': WANTED}


def _state(
    level='s0:c1,c2', *, kind='svirt_image_t', uid=0, gid=64055, mode=0o660
):
    context = f'system_u:object_r:{kind}:{level}'
    return [context, uid, gid, 0o100000 | mode]


def _samples(*states, path=DISK, rounds=1001, seconds=60.0, longest=0.2):
    return file_samples.FileSamples(
        {
            'rounds': rounds,
            'seconds': seconds,
            'processor_seconds': 2.0,
            'gaps': [rounds - 4, 3, 0, 0, 0, 0],
            'longest_gap': longest,
            'longest_gap_at': 70.0,
            'files': {
                path: [[float(n), state] for n, state in enumerate(states)]
            },
        }
    )


def _faults(*states, **kwargs):
    return _samples(*states, **kwargs).faults({DISK: WANTED}, HOLDERS)


class FileSamplesTest(testtools.TestCase):
    def test_a_file_that_always_carried_its_level_is_no_fault(self):
        self.assertEqual([], _faults(_state()))

    def test_more_rights_of_the_mode_are_no_fault(self):
        self.assertEqual([], _faults(_state(), _state(mode=0o666)))

    def test_one_sample_without_a_label_is_a_fault(self):
        unlabelled = ['', 0, 64055, 0o100660]
        self.assertEqual(
            [f'{DISK} at 1.00: it carried no label'],
            _faults(_state(), unlabelled, _state()),
        )

    def test_one_sample_with_another_label_is_a_fault(self):
        for other in (
            _state('s0'),
            _state('s0:c1,c3'),
            _state('s0:c1'),
            _state('s0:c1,c2', kind='virt_image_t'),
        ):
            self.assertEqual(
                [f'{DISK} at 1.00: it carried {other[0]}'],
                _faults(_state(), other, _state()),
            )

    def test_one_sample_with_another_group_is_a_fault(self):
        self.assertEqual(
            [f'{DISK} at 1.00: it was of the group 0, not 64055'],
            _faults(_state(), _state(gid=0)),
        )

    def test_one_sample_with_another_owner_is_a_fault(self):
        self.assertEqual(
            [f'{DISK} had the owners [0, 107]'],
            _faults(_state(), _state(uid=107), _state()),
        )

    def test_a_mode_that_keeps_qemu_out_is_a_fault(self):
        self.assertEqual(
            [f'{DISK} at 1.00: its mode was -rw-r-----'],
            _faults(_state(), _state(mode=0o640)),
        )

    def test_a_file_that_was_gone_for_a_sample_is_a_fault(self):
        self.assertEqual(
            [f'{DISK} at 1.00: there was no such file'],
            _faults(_state(), None, _state()),
        )

    def test_a_file_that_was_never_seen_is_a_fault(self):
        self.assertEqual(
            [f'{DISK} was never seen'],
            _faults(_state(), path='/srv/instances/ann/disk.info'),
        )

    def test_another_file_of_the_directory_may_have_no_level(self):
        found = _samples(
            ['', 0, 0, 0o100600],
            _state('s0', kind='virt_image_t', gid=0),
            _state(),
            None,
            path='/srv/instances/ann/console.log',
        )
        self.assertEqual([], found.faults({}, HOLDERS))

    def test_another_file_of_the_directory_has_no_foreign_level(self):
        found = _samples(
            _state('s0:c1,c3'), path='/srv/instances/ann/disk.swap'
        )
        [fault] = found.faults({}, HOLDERS)
        self.assertIn('of another instance', fault)

    def test_too_few_samples_a_second_are_a_fault(self):
        self.assertEqual([], _faults(_state(), rounds=601))
        self.assertEqual(
            ['there were 9.9 samples a second, and 10 are needed'],
            _faults(_state(), rounds=595),
        )

    def test_samples_of_no_time_are_a_fault(self):
        self.assertIn(
            'there were 0.0 samples a second',
            str(_faults(_state(), rounds=1, seconds=0.0)),
        )

    def test_a_time_that_nobody_saw_is_a_fault(self):
        self.assertEqual(
            [], _faults(_state(), longest=file_samples.LONGEST_GAP)
        )
        self.assertEqual(
            ['for 2.1 s, until 70.0, there was no sample'],
            _faults(_state(), longest=2.1),
        )

    def test_gaps_of_more_than_a_tenth_of_a_second_are_counted(self):
        seen = _samples(_state())
        self.assertEqual(3, seen.late)
        self.assertEqual(
            {
                'samples': 1001,
                'rate': 16.7,
                'late': 3,
                'gaps': {
                    '0.1': 997,
                    '0.2': 3,
                    '0.5': 0,
                    '1.0': 0,
                    '2.0': 0,
                    'more': 0,
                },
                'longest_gap': 0.2,
            },
            seen.figures(),
        )
        self.assertIn('3 of them more than 0.1 s', str(seen))


class FileSamplerTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.place = self.useFixture(fixtures.TempDir()).path
        self.labels = {}
        self.useFixture(
            fixtures.MockPatchObject(os, 'getxattr', self._label_of)
        )

    def _label_of(self, path, name, *, follow_symlinks):
        self.assertEqual('security.selinux', name)
        self.assertFalse(follow_symlinks)
        if path not in self.labels:
            raise OSError(61, 'No data available')
        return self.labels[path].encode() + b'\0'

    def _write(self, name, label=None):
        path = os.path.join(self.place, name)
        with open(path, 'w'):
            pass
        os.chmod(path, 0o640)
        if label is not None:
            self.labels[path] = label
        return path

    def _states(self, sampler, path):
        return [state for _, state in sampler.answer()['files'][path]]

    def _state(self, label, mode=0o640):
        return (label, os.getuid(), os.getgid(), 0o100000 | mode)

    def test_changes_alone_are_kept(self):
        path = self._write('disk', 'a:b:c:s0')
        sampler = file_sampler.Sampler([self.place])
        sampler.look()
        sampler.look()
        self.labels[path] = 'a:b:c:s0:c1'
        sampler.look()
        os.chmod(path, 0o600)
        sampler.look()
        del self.labels[path]
        sampler.look()
        self.assertEqual(
            [
                self._state('a:b:c:s0'),
                self._state('a:b:c:s0:c1'),
                self._state('a:b:c:s0:c1', 0o600),
                self._state('', 0o600),
            ],
            self._states(sampler, path),
        )
        self.assertEqual(5, sampler.answer()['rounds'])

    def test_files_that_come_and_go_are_seen(self):
        sampler = file_sampler.Sampler([self.place])
        sampler.look()
        path = self._write('disk', 'a:b:c:s0')
        sampler.look()
        os.unlink(path)
        sampler.look()
        self.assertEqual(
            [self._state('a:b:c:s0'), None], self._states(sampler, path)
        )

    def test_a_place_may_be_a_file_or_missing(self):
        path = self._write('volume')
        missing = os.path.join(self.place, 'none')
        sampler = file_sampler.Sampler([path, missing])
        sampler.look()
        self.assertEqual([self._state('')], self._states(sampler, path))
        self.assertEqual([None], self._states(sampler, missing))

    def test_gaps_are_counted_by_their_length(self):
        sampler = file_sampler.Sampler([self.place])
        times = [1.0, 1.05, 1.1, 1.25, 4.25]
        with mock.patch.object(time, 'monotonic', side_effect=times):
            for _ in times:
                sampler.look()
        answer = sampler.answer()
        self.assertEqual([2, 1, 0, 0, 0, 1], answer['gaps'])
        self.assertEqual(3.0, answer['longest_gap'])
        self.assertEqual(3.25, answer['seconds'])
