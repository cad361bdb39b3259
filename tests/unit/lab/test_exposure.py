# SPDX-License-Identifier: Apache-2.0
"""What opened to a guest's QEMU: its own, its project's, allowed, foreign."""

from __future__ import annotations

import errno
import pathlib

import testtools

from tests.lab import exposure

_ANN = '11111111-1111-4111-8111-111111111111'
_BOB = '22222222-2222-4222-8222-222222222222'
_VOLUME = '33333333-3333-4333-8333-333333333333'
_PUBLIC = 'a' * 40
_PRIVATE = 'b' * 40
_QEMU = 64055
_LIST = pathlib.Path(exposure.__file__).with_name('census-allowed.list')


def _file(path, inode=7, **other):
    return {
        'path': path,
        'kind': 'file',
        'mode': 0o644,
        'uid': _QEMU,
        'gid': 0,
        'inode': inode,
        'context': 'system_u:object_r:svirt_image_t:s0:c3,c4',
        'parent': None,
        **other,
    }


def _guest(uuid, outcomes, files=(), level='s0:c1,c2'):
    return {
        'uuid': uuid,
        'name': 'instance-00000001',
        'process': f'system_u:system_r:svirt_t:{level}',
        'uid': _QEMU,
        'groups': [103],
        'files': list(files),
        'outcomes': outcomes,
        'seconds': 1.0,
    }


def _exposure(objects, tries, guests, allowed='', root_asked=0):
    return exposure.Exposure(
        {
            'objects': objects,
            # JSON has no tuples.
            'tries': [list(each) for each in tries],
            'guests': guests,
            'root_asked': root_asked,
        },
        {_ANN: 'ann', _BOB: 'bob'},
        {
            _ANN: frozenset([_ANN]),
            _BOB: frozenset([_BOB]),
            'instance-00000002': frozenset([_BOB]),
            _VOLUME: frozenset([_ANN, _BOB]),
            _PRIVATE: frozenset(),
        },
        exposure.patterns(allowed),
        frozenset([_PUBLIC]),
    )


def _tried(path, outcome=0, way='read', allowed='', **other):
    return _exposure(
        [_file(path, **other)],
        [(0, way)],
        [_guest(_ANN, [outcome])],
        allowed,
    )


def _disk_of(uuid):
    return f'/var/lib/nova/instances/{uuid}/disk'


class VerdictTest(testtools.TestCase):
    def assert_verdict(self, verdict, found):
        self.assertEqual(
            [verdict], [each.verdict for each in found.openings()]
        )
        self.assertEqual(verdict == exposure.FOREIGN, bool(found.faults()))

    def test_what_has_the_name_of_the_instance_is_its_own(self):
        self.assert_verdict(exposure.OWN, _tried(_disk_of(_ANN)))

    def test_a_disk_of_another_instance_is_foreign(self):
        self.assert_verdict(exposure.FOREIGN, _tried(_disk_of(_BOB)))

    def test_a_monitor_of_another_domain_is_foreign(self):
        path = '/var/lib/libvirt/qemu/domain-2-instance-00000002/monitor.sock'
        self.assert_verdict(
            exposure.FOREIGN, _tried(path, way='connect', kind='socket')
        )

    def test_a_volume_that_two_have_is_their_project_s(self):
        self.assert_verdict(
            exposure.PROJECT, _tried(f'/srv/volumes/volume-{_VOLUME}')
        )

    def test_a_process_of_another_guest_is_foreign(self):
        self.assert_verdict(
            exposure.FOREIGN, _tried('/proc/7/mem', of=_BOB, way='write')
        )

    def test_a_process_of_the_guest_is_its_own(self):
        self.assert_verdict(exposure.OWN, _tried('/proc/7/mem', of=_ANN))

    def test_a_public_image_may_be_read(self):
        self.assert_verdict(
            exposure.ALLOWED, _tried(f'/var/lib/nova/_base/{_PUBLIC}')
        )

    def test_a_public_image_must_not_be_written(self):
        self.assert_verdict(
            exposure.FOREIGN,
            _tried(f'/var/lib/nova/_base/{_PUBLIC}', way='write'),
        )

    def test_an_image_that_nobody_may_read_is_foreign(self):
        self.assert_verdict(
            exposure.FOREIGN, _tried(f'/var/lib/nova/_base/{_PRIVATE}')
        )

    def test_a_thing_that_no_pattern_matches_is_foreign(self):
        self.assert_verdict(
            exposure.FOREIGN, _tried('/etc/shadow', allowed='read /etc/a #x')
        )

    def test_a_pattern_allows_what_it_matches_wholly(self):
        allowed = 'read,list /etc/host # the same everywhere'
        self.assert_verdict(
            exposure.ALLOWED, _tried('/etc/host', allowed=allowed)
        )
        self.assert_verdict(
            exposure.FOREIGN, _tried('/etc/hosts', allowed=allowed)
        )
        self.assert_verdict(
            exposure.FOREIGN,
            _tried('/etc/host', way='write', allowed=allowed),
        )

    def test_a_program_that_runs_counts_as_opened(self):
        self.assert_verdict(
            exposure.FOREIGN,
            _tried('/etc/program', errno.ETXTBSY, 'write'),
        )

    def test_refusals_are_no_openings(self):
        found = _tried(_disk_of(_BOB), errno.EACCES)
        self.assertEqual([], found.openings())
        self.assertEqual([], found.faults())


class FaultsTest(testtools.TestCase):
    def test_a_foreign_thing_is_named_with_its_label(self):
        [fault] = _tried(_disk_of(_BOB)).faults()
        for part in ('ann', 'read', _disk_of(_BOB), 'svirt_image_t'):
            self.assertIn(part, fault)

    def test_an_error_that_is_no_refusal_is_a_fault(self):
        self.assertEqual(
            [f'ann: read {_disk_of(_BOB)}: EIO'],
            _tried(_disk_of(_BOB), errno.EIO).faults(),
        )

    def test_what_was_not_tried_is_a_fault(self):
        [fault] = _tried(_disk_of(_BOB), 255).faults()
        self.assertIn('error 255', fault)

    def test_an_own_file_that_does_not_open_is_a_fault(self):
        path = _disk_of(_ANN)
        files = [{'path': path, 'writable': True}]
        tries = [(0, 'read'), (0, 'write')]
        for outcomes, faults in (
            ([0, 0], []),
            (
                [0, errno.EACCES],
                [f'ann could not write its own {path}: EACCES'],
            ),
            (
                [errno.EACCES, 0],
                [f'ann could not read its own {path}: EACCES'],
            ),
        ):
            found = _exposure(
                [_file(path)], tries, [_guest(_ANN, outcomes, files)]
            )
            self.assertEqual(faults, found.faults())

    def test_an_own_file_that_nobody_tried_is_a_fault(self):
        files = [{'path': _disk_of(_ANN), 'writable': False}]
        [fault] = _exposure([], [], [_guest(_ANN, [], files)]).faults()
        self.assertIn('nobody tried to read', fault)

    def test_a_census_without_guests_is_a_fault(self):
        self.assertEqual(
            ['the census found no guest'], _exposure([], [], []).faults()
        )

    def test_a_question_that_root_gets_no_answer_to_is_a_fault(self):
        guests = [_guest(_ANN, [])]
        [fault] = _exposure([], [], guests, root_asked=errno.ENOMSG).faults()
        self.assertIn('ENOMSG', fault)

    def test_a_pattern_that_nothing_matches_is_stale(self):
        found = _tried('/etc/a', allowed='read /etc/a # a\nwrite /etc/b # b\n')
        self.assertEqual(['write /etc/b'], found.stale())


class CountsTest(testtools.TestCase):
    def test_tries_and_openings_are_counted(self):
        found = _exposure(
            [_file(_disk_of(_ANN)), _file(_disk_of(_BOB))],
            [(0, 'read'), (1, 'read')],
            [
                _guest(_ANN, [0, errno.EACCES]),
                _guest(_BOB, [0, 0], level='s0:c3,c4'),
            ],
        )
        self.assertEqual(
            {
                'tried': 4,
                exposure.OWN: 2,
                exposure.PROJECT: 0,
                exposure.ALLOWED: 0,
                exposure.FOREIGN: 1,
            },
            found.counts(),
        )


class RefusalsTest(testtools.TestCase):
    def refused(self, thing, *above):
        return _exposure(
            [thing, *above],
            [(0, 'read')],
            [_guest(_ANN, [errno.EACCES])],
        )

    def denial(self, inode, source='s0:c1,c2', permissive='0'):
        return {
            'source': f'system_u:system_r:svirt_t:{source}',
            'inode': inode,
            'permissive': permissive,
        }

    def test_a_refusal_must_stand_in_the_audit_log(self):
        found = self.refused(_file(_disk_of(_BOB)))
        self.assertEqual(1, len(found.refusals()))
        fault = [f'ann on {_disk_of(_BOB)}']
        self.assertEqual([], found.unproven([self.denial(7)]))
        for other in (
            [],
            [self.denial(8)],
            [self.denial(7, source='s0:c3,c4')],
            [self.denial(7, permissive='1')],
        ):
            self.assertEqual(fault, found.unproven(other))

    def test_a_refusal_at_the_directory_above_proves_it(self):
        found = self.refused(
            _file(_disk_of(_BOB), parent=1),
            _file('/var/lib/nova', 8, mode=0o755),
        )
        self.assertEqual([], found.unproven([self.denial(8)]))

    def test_a_file_that_its_mode_protects_needs_no_denial(self):
        for thing, *above in (
            [_file(_disk_of(_BOB), uid=0, mode=0o600)],
            [
                _file(_disk_of(_BOB), parent=1),
                _file('/var/lib/nova', 8, uid=0, mode=0o700),
            ],
        ):
            found = self.refused(thing, *above)
            self.assertEqual([], found.refusals())

    def test_own_files_are_not_among_the_refusals(self):
        self.assertEqual([], self.refused(_file(_disk_of(_ANN))).refusals())


class PatternsTest(testtools.TestCase):
    def test_an_entry_without_a_reason_is_refused(self):
        self.assertRaises(ValueError, exposure.patterns, 'read /etc/a\n')

    def test_the_list_allows_no_file_of_an_instance(self):
        allowed = exposure.patterns(_LIST.read_text())
        name = 'instance-00000002'
        paths = [
            _disk_of(_BOB),
            f'/var/lib/nova/instances/{_BOB}',
            f'/var/lib/nova/instances/_base/{_PRIVATE}',
            f'/var/lib/nova/mnt/0/volume-{_VOLUME}',
            f'/srv/volumes/volume-{_VOLUME}',
            f'/var/lib/libvirt/qemu/domain-2-{name}',
            f'/var/lib/libvirt/qemu/domain-2-{name}/monitor.sock',
            f'/var/lib/libvirt/qemu/nvram/{name}_VARS.fd',
            f'/var/lib/libvirt/qemu/save/{name}.save',
            f'/var/lib/libvirt/swtpm/{_BOB}/tpm2/tpm2-00.permall',
            f'/var/log/libvirt/qemu/{name}.log',
            f'/run/libvirt/qemu/{name}.xml',
            f'/etc/libvirt/qemu/{name}.xml',
            '/run/libvirt/libvirt-sock-ro',
            '/etc/shadow-',
            '/etc/nova/nova.conf',
            '/etc/svirt-nova/allocator.conf',
            '/etc/ssh/ssh_host_rsa_key',
            '/proc/7/mem',
            '/proc/7/cmdline',
            '/root/.ssh',
        ]
        ways = {way for each in allowed for way in each.ways} - {'exists'}
        for path in paths:
            for way in ways - ({'list'} if '/etc/' in path else set()):
                self.assertFalse(
                    any(each.matches(path, way) for each in allowed),
                    (path, way),
                )
