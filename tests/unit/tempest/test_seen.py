# SPDX-License-Identifier: Apache-2.0

import dataclasses
import json

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.mcs import levels
from svirt_nova.tempest import seen
from tests.unit.tempest import showing

LEVEL = levels.Level.parse('s0:c12,c900')
OTHER = '1c9b3c5e-63c7-4f2b-8a8d-3f9b1a7d5e60'

made_levels = st.frozensets(st.integers(0, 1023), max_size=8).map(levels.Level)


class GuestTest(testtools.TestCase):
    def faults(self, **changes):
        guest = dataclasses.replace(showing.guest(), **changes)
        return '; '.join(guest.faults())

    def test_a_guest_behind_its_level_is_in_order(self):
        self.assertEqual('', self.faults())
        self.assertEqual(LEVEL, showing.guest().level)

    def test_levels_compare_as_sets(self):
        guest = showing.guest(level='s0:c7.c10')
        again = dataclasses.replace(
            guest, process=showing.process('s0:c10,c8,c9,c7')
        )
        self.assertEqual([], again.faults())
        self.assertEqual(guest.level, again.level)

    def test_what_is_wrong_names_instance_and_host(self):
        self.assertIn(
            f'instance {showing.UUID} on one: ', self.faults(enforced=False)
        )

    def test_a_kernel_that_does_not_enforce(self):
        self.assertIn('does not enforce', self.faults(enforced=False))

    def test_a_process_without_a_category(self):
        guest = showing.guest(level='s0')
        self.assertIn('no category', '; '.join(guest.faults()))

    def test_a_process_with_a_range(self):
        self.assertIn(
            'range',
            self.faults(process=showing.process('s0-s0:c12,c900')),
        )

    def test_a_process_at_another_level_than_its_domain_and_files(self):
        found = self.faults(process=showing.process('s0:c1,c2'))
        self.assertIn('libvirt runs its domain at', found)
        self.assertIn('/disk (vda) carries', found)
        self.assertIn('/disk.config (vda) carries', found)

    def test_what_is_no_context(self):
        for text in ('', 'unconfined', 'docker-default (enforce)', 'a:b:c:d'):
            self.assertIn('has no level', self.faults(process=text))

    def test_a_domain_whose_level_libvirt_drew(self):
        xml = showing.domain('', kind='dynamic')
        self.assertIn('libvirt drew', self.faults(domain=xml, files={}))

    def test_a_domain_without_a_label(self):
        self.assertIn(
            'without an SELinux label',
            self.faults(domain='<domain/>', files={}),
        )

    def test_a_domain_that_cannot_be_read(self):
        for xml in (
            '<domain',
            '<domain><seclabel model="selinux"><label>x</label></seclabel>'
            '</domain>',
        ):
            self.assertIn('cannot be read', self.faults(domain=xml))

    def test_no_entity_is_resolved(self):
        xml = (
            '<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
            + showing.domain(showing.disk('/i/x')).replace('/i/x', '/i/&x;')
        )
        self.assertEqual([], seen.files_of(xml))
        self.assertIn('cannot be read', self.faults(domain=xml))

    def test_a_file_that_was_not_seen(self):
        self.assertIn('has no level', self.faults(files={}))

    def test_a_config_drive_that_every_guest_may_read(self):
        guest = showing.guest()
        files = {
            path: 'system_u:object_r:virt_content_t:s0'
            if path.endswith('disk.config')
            else label
            for path, label in guest.files.items()
        }
        self.assertIn('disk.config', self.faults(files=files))

    def test_storage_without_labels(self):
        guest = showing.guest()
        files = dict.fromkeys(guest.files, 'system_u:object_r:nfs_t:s0')
        self.assertIn('nfs_t', self.faults(files=files))

    def test_what_several_instances_share_is_not_its_own(self):
        xml = showing.domain(
            showing.disk('/m/volume-x', more='<shareable/>'),
        )
        self.assertEqual('', self.faults(domain=xml, files={}))

    def test_only_local_files_are_looked_at(self):
        self.assertEqual(
            ['disk', 'disk.config'],
            [
                disk.path.rpartition('/')[2]
                for disk in seen.files_of(showing.guest().domain)
            ],
        )

    def test_the_file_of_a_volume(self):
        guest = showing.guest(volumes=[OTHER])
        self.assertEqual(
            f'/var/lib/nova/mnt/0a/volume-{OTHER}',
            seen.volume_file(guest, OTHER),
        )
        self.assertIsNone(seen.volume_file(guest, showing.UUID))


class AnswersTest(testtools.TestCase):
    """What hosts answer, whatever it is, is read or refused."""

    def test_a_domain_and_its_name(self):
        self.assertEqual(
            ('instance-00000001', "<domain type='kvm' id='1'>\n</domain>\n"),
            seen.split_domain(
                "instance-00000001\n<domain type='kvm' id='1'>\n</domain>\n"
            ),
        )

    def test_what_is_no_domain(self):
        for answer in (
            '',
            'error: failed',
            '<domain/>',
            '../../etc/x\n<domain/>',
            'a\nb\n<domain/>',
        ):
            error = self.assertRaises(
                exception.HostCommandFailed, seen.split_domain, answer
            )
            self.assertIn('no domain', str(error))

    @given(st.text())
    def test_an_excerpt_is_one_short_line(self, text):
        found = seen.excerpt(text)
        self.assertTrue(found == '' or found.isprintable())
        self.assertLessEqual(len(found), 204)

    def test_an_excerpt_keeps_terminals_safe(self):
        self.assertEqual('a [31m b', seen.excerpt('a\x1b[31m\n\0 b'))

    @given(st.text())
    def test_any_text_of_a_process_is_judged(self, text):
        guest = dataclasses.replace(showing.guest(), process=text)
        self.assertNotEqual([], guest.faults())

    @given(st.recursive(st.none() | st.booleans() | st.text(), st.lists))
    def test_an_allocation_is_read_or_refused(self, value):
        row = {
            'Level': 's0:c1,c2',
            'State': 'held',
            'Instance': OTHER,
            'Hosts': ['one'],
        }
        for name in ('Level', 'Instance', 'Hosts'):
            try:
                found = seen.Allocation.parse(json.dumps({**row, name: value}))
            except exception.HostCommandFailed:
                continue
            self.assertIsInstance(found.level, levels.Level)

    def test_what_is_no_allocation(self):
        for answer in ('', '[]', '{}', 'null', '{"Level": 1}', '[' * 100_000):
            self.assertRaises(
                exception.HostCommandFailed, seen.Allocation.parse, answer
            )


class ApartTest(testtools.TestCase):
    @given(made_levels, made_levels)
    def test_levels_overlap_where_one_contains_the_other(self, one, other):
        found = seen.overlaps({'a': one, 'b': other})
        contained = (
            one.categories <= other.categories
            or other.categories <= one.categories
        )
        self.assertEqual(contained, bool(found))

    def test_each_pair_is_named_once(self):
        [found] = seen.overlaps(
            {'a': LEVEL, 'b': levels.Level.parse('s0:c1,c2'), 'c': LEVEL}
        )
        self.assertIn('a at s0:c12,c900 and c at s0:c12,c900', found)

    def test_other_guests_of_a_host(self):
        guest = showing.guest()
        processes = {
            guest.name: guest.process,
            'apart': showing.process('s0:c12,c13'),
            'inside': showing.process('s0:c12'),
            'above': showing.process('s0:c0.c1023'),
            'open': showing.process('s0'),
            'none': 'unconfined',
        }
        found = seen.meetings(guest, 'one', processes)
        self.assertEqual(
            ['above', 'inside', 'none', 'open'],
            sorted(
                name
                for name in processes
                if any(f'domain {name} on one' in fault for fault in found)
            ),
        )

    def test_a_guest_of_the_same_name_on_another_host_is_another(self):
        guest = showing.guest()
        self.assertEqual(
            1, len(seen.meetings(guest, 'two', {guest.name: guest.process}))
        )


class LeftTest(testtools.TestCase):
    def test_a_volume_that_went_back(self):
        for level in ('s0', 's0:c12,c13'):
            self.assertEqual(
                [], seen.still_carried('/v', showing.image(level), LEVEL)
            )

    def test_a_volume_that_kept_the_level(self):
        for level in ('s0:c900,c12', 's0:c12', 's0:c0.c1023'):
            [fault] = seen.still_carried('/v', showing.image(level), LEVEL)
            self.assertIn('/v still carries', fault)
        self.assertEqual(1, len(seen.still_carried('/v', '?', LEVEL)))

    def test_what_remains_of_an_instance(self):
        uuid = showing.UUID
        self.assertEqual([], seen.remains(uuid, {OTHER}, {OTHER, '_base'}))
        found = seen.remains(
            uuid, {OTHER, uuid}, {uuid, f'{uuid}_del', f'{OTHER}_resize'}
        )
        self.assertEqual(3, len(found))
        self.assertIn(f'{uuid}_del', found[2])


class AllocationTest(testtools.TestCase):
    def allocation(self, **changes):
        row = {
            'Level': 's0:c900,c12',
            'State': 'held',
            'Instance': showing.UUID,
            'Project': 'p',
            'Hosts': ['one'],
            'Since': '2026-11-22T10:30:05+00:00',
            'Retired': None,
            'Note': None,
        }
        return seen.Allocation.parse(json.dumps({**row, **changes}))

    def test_one_that_says_what_the_hosts_show(self):
        self.assertEqual(
            [], self.allocation().faults(showing.UUID, LEVEL, {'one'})
        )

    def test_each_disagreement_is_told(self):
        for changes, text in (
            ({'Level': 's0:c1,c2'}, 's0:c1,c2'),
            ({'Instance': OTHER}, OTHER),
            ({'State': 'retired'}, 'is retired'),
            ({'Hosts': []}, 'claimed by []'),
            ({'Hosts': ['one', 'two']}, 'two'),
        ):
            [fault] = self.allocation(**changes).faults(
                showing.UUID, LEVEL, {'one'}
            )
            self.assertIn(text, fault)

    def test_a_level_that_was_given_back(self):
        for changes in (
            {'State': 'retired'},
            {'State': 'cooling', 'Hosts': []},
            {'State': 'free', 'Instance': None, 'Hosts': []},
            {'Instance': OTHER},
        ):
            self.assertEqual(
                [], self.allocation(**changes).still_held(showing.UUID)
            )

    def test_a_level_that_was_not(self):
        [fault] = self.allocation().still_held(showing.UUID)
        self.assertIn('still held', fault)
