# SPDX-License-Identifier: Apache-2.0

import dataclasses

import testtools
from hypothesis import given
from hypothesis import strategies as st

from svirt_nova import exception
from svirt_nova.allocator import types
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import levels
from svirt_nova.tempest import answers
from tests.unit.tempest import samples

LEVEL = samples.LEVEL
OTHER = '1c9b3c5e-63c7-4f2b-8a8d-3f9b1a7d5e60'
Kind = audit.Kind


class RunningDomainTest(testtools.TestCase):
    """What is wrong with a domain is told here or by the audit."""

    def faults(self, **changes):
        domain = dataclasses.replace(samples.running_domain(), **changes)
        return '; '.join(domain.faults())

    def violations(self, domain=None, **changes):
        """What an audit finds if the instance holds LEVEL."""
        domain = domain or samples.running_domain()
        state = answers.HostState(
            'one', running=[dataclasses.replace(domain, **changes)]
        )
        allocation = types.Allocation(
            LEVEL, samples.UUID, None, frozenset(['one'])
        )
        return audit.audit([allocation], [state.view([samples.UUID])])

    def kinds(self, *args, **changes):
        return [each.kind for each in self.violations(*args, **changes)]

    def test_a_domain_behind_its_level_is_in_order(self):
        self.assertEqual('', self.faults())
        self.assertEqual([], self.violations())
        self.assertEqual(LEVEL, samples.running_domain().level)

    def test_the_process_the_domain_and_the_files_are_judged(self):
        self.assertEqual(
            [
                'the process with system_u:system_r:svirt_t:s0:c12,c900',
                'the domain in libvirt with '
                'system_u:system_r:svirt_t:s0:c12,c900',
                f'{samples.INSTANCES}/{samples.UUID}/disk (vda) with '
                f'system_u:object_r:svirt_image_t:s0:c12,c900',
                f'{samples.INSTANCES}/{samples.UUID}/disk.config (vda) with '
                f'system_u:object_r:svirt_image_t:s0:c12,c900',
            ],
            [sight.what for sight in samples.running_domain().sights()],
        )

    def test_levels_compare_as_sets(self):
        domain = samples.running_domain(level='s0:c7.c10')
        again = dataclasses.replace(
            domain, process=samples.process('s0:c10,c8,c9,c7')
        )
        self.assertEqual(
            {levels.Level.parse('s0:c7.c10')},
            {sight.level for sight in again.sights()},
        )

    def test_a_fault_names_the_instance_and_the_host(self):
        self.assertIn(
            f'instance {samples.UUID} on one: ',
            self.faults(is_enforcing=False),
        )

    def test_a_kernel_that_does_not_enforce_is_a_fault(self):
        self.assertIn('does not enforce', self.faults(is_enforcing=False))

    def test_a_process_with_a_range_is_a_fault(self):
        process = samples.process('s0-s0:c12,c900')
        self.assertIn(
            f'a range of levels, {process}', self.faults(process=process)
        )
        self.assertEqual([], self.violations(process=process))

    def test_a_process_without_a_category_is_at_another_level(self):
        domain = samples.running_domain(level='s0')
        found = self.violations(domain)
        self.assertIn(Kind.OTHER_LEVEL, [each.kind for each in found])
        self.assertIn(
            f'the process with {samples.process("s0")} of instance '
            f'{samples.UUID} on one is at s0',
            str(found[0]),
        )

    def test_a_process_at_another_level_is_found(self):
        [found] = self.violations(process=samples.process('s0:c1,c2'))
        self.assertIs(Kind.OTHER_LEVEL, found.kind)
        self.assertIn('is at s0:c1,c2, and the level of', found.text)
        self.assertIn(str(LEVEL), found.text)

    def test_a_process_that_is_not_confined_is_a_fault(self):
        for text in ('', 'unconfined', 'docker-default (enforce)', 'a:b:c:d'):
            self.assertIn(
                'the process has no level', self.faults(process=text)
            )
            self.assertEqual([], self.violations(process=text))
            domain = dataclasses.replace(
                samples.running_domain(), process=text
            )
            self.assertIsNone(domain.level)

    def test_a_domain_at_another_level_than_its_process_is_found(self):
        xml = samples.domain('', level='s0:c1,c2')
        [found] = self.violations(xml=xml)
        self.assertIs(Kind.OTHER_LEVEL, found.kind)
        self.assertIn('the domain in libvirt with', found.text)

    def test_a_domain_whose_level_libvirt_drew_is_found(self):
        self.assertEqual(
            [Kind.DRAWN_LEVEL],
            self.kinds(xml=samples.domain('', kind='dynamic')),
        )

    def test_a_domain_without_a_label_is_found(self):
        self.assertEqual([Kind.UNCONFINED], self.kinds(xml='<domain/>'))

    def test_a_domain_that_cannot_be_read_is_a_fault(self):
        for xml in (
            '<domain',
            '<domain><seclabel model="selinux"><label>x</label></seclabel>'
            '</domain>',
        ):
            self.assertIn(
                'the domain in libvirt cannot be read', self.faults(xml=xml)
            )
            self.assertEqual([], self.violations(xml=xml))

    def test_an_entity_is_not_resolved(self):
        xml = (
            '<!DOCTYPE domain [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
            + samples.domain(samples.disk('/i/x')).replace('/i/x', '/i/&x;')
        )
        self.assertEqual([], answers.files_of(xml))
        self.assertIn('cannot be read', self.faults(xml=xml))

    def test_a_file_that_was_not_seen_is_a_fault(self):
        self.assertIn('/disk (vda) has no level', self.faults(files={}))

    def test_a_file_at_another_level_is_found(self):
        [found] = self.violations(samples.running_domain(disk_level='s0:c1'))
        self.assertIs(Kind.OTHER_LEVEL, found.kind)
        self.assertIn(f'{samples.UUID}/disk (vda) with', found.text)

    def test_a_config_drive_that_every_guest_may_read_is_found(self):
        files = {
            path: 'system_u:object_r:virt_content_t:s0'
            if path.endswith('disk.config')
            else label
            for path, label in samples.running_domain().files.items()
        }
        found = self.violations(files=files)
        self.assertIn(Kind.OTHER_LEVEL, [each.kind for each in found])
        self.assertIn('disk.config (vda) with', str(found[0]))
        self.assertIn('virt_content_t', str(found[0]))

    def test_a_file_on_storage_without_labels_is_found(self):
        files = dict.fromkeys(
            samples.running_domain().files, 'system_u:object_r:nfs_t:s0'
        )
        found = self.violations(files=files)
        self.assertIn(Kind.OTHER_LEVEL, [each.kind for each in found])
        self.assertIn('nfs_t', str(found[0]))

    def test_a_volume_of_several_instances_is_not_judged(self):
        xml = samples.domain(
            samples.disk('/m/volume-x', more='<shareable/>'),
        )
        self.assertEqual('', self.faults(xml=xml, files={}))
        self.assertEqual([], self.violations(xml=xml, files={}))

    def test_block_devices_and_network_disks_are_left_out(self):
        self.assertEqual(
            ['disk', 'disk.config'],
            [
                disk.path.rpartition('/')[2]
                for disk in answers.files_of(samples.running_domain().xml)
            ],
        )

    def test_the_file_of_a_volume_is_found_by_its_uuid(self):
        domain = samples.running_domain(volumes=[OTHER])
        self.assertEqual(
            f'/var/lib/nova/mnt/0a/volume-{OTHER}',
            answers.volume_file(domain, OTHER),
        )
        self.assertIsNone(answers.volume_file(domain, samples.UUID))

    @given(st.text())
    def test_any_text_that_is_not_the_context_is_a_fault(self, text):
        domain = dataclasses.replace(samples.running_domain(), process=text)
        state = answers.HostState('one', running=[domain])
        self.assertNotEqual([], state.faults())

    def test_a_path_cannot_control_a_terminal(self):
        # XML has no escape character, but line separators.
        xml = samples.domain(samples.disk('/i/a\u2028b'))
        self.assertIn('/i/a b (vda) has no level', self.faults(xml=xml))


class HostStateTest(testtools.TestCase):
    def violations(self, state, *instances, **kwargs):
        allocation = types.Allocation(
            LEVEL, samples.UUID, None, frozenset(['one'])
        )
        view = state.view([samples.UUID])
        return audit.audit([allocation], [view], *instances, **kwargs)

    def test_a_guest_whose_level_meets_that_of_an_instance_is_found(self):
        domain = samples.running_domain()
        processes = {
            domain.name: domain.process,
            'apart': samples.process('s0:c12,c13'),
            'inside': samples.process('s0:c12'),
            'above': samples.process('s0:c0.c1023'),
            'open': samples.process('s0'),
            'same': samples.process(LEVEL),
        }
        state = answers.HostState('one', running=[domain], processes=processes)
        found = self.violations(state)
        self.assertEqual({Kind.LEVELS_MEET}, {each.kind for each in found})
        self.assertEqual(
            ['above', 'inside', 'open', 'same'],
            sorted(
                name
                for name, context in processes.items()
                if f'domain {name} with {context} on one' in str(found)
            ),
        )
        self.assertEqual(4, len(found))
        self.assertEqual([], state.faults())

    def test_a_guest_that_is_not_confined_is_a_fault(self):
        state = answers.HostState('one', processes={'other': 'unconfined'})
        [fault] = state.faults()
        self.assertIn('host one: domain other has no level', fault)

    def test_a_guest_of_the_same_name_on_another_host_is_another(self):
        domain = samples.running_domain()
        state = answers.HostState(
            'two', processes={domain.name: domain.process}
        )
        [found] = self.violations(state)
        self.assertIs(Kind.LEVELS_MEET, found.kind)

    def test_names_that_look_alike_are_all_judged(self):
        state = answers.HostState(
            'one',
            processes={
                'a\x1b': samples.process(LEVEL),
                'a\x1c': samples.process('s0:c1,c2'),
                'a\x1d': '?',
            },
        )
        self.assertEqual(2, len(state.view([]).sights))
        [fault] = state.faults()
        self.assertTrue(fault.isprintable())

    def test_what_is_left_of_a_deleted_instance_is_named(self):
        uuid = samples.UUID
        clean = answers.HostState(
            'two', domains={OTHER}, directories={OTHER, '_base'}
        )
        gone = {uuid: audit.InstanceView(is_gone=True)}
        self.assertEqual(
            [],
            audit.audit([], [clean.view([uuid])], gone, is_settled=True),
        )
        state = answers.HostState(
            'two',
            domains={OTHER, uuid},
            directories={uuid, f'{uuid}_del', f'{OTHER}_resize'},
        )
        [found] = audit.audit([], [state.view([uuid])], gone, is_settled=True)
        self.assertIs(Kind.LEFTOVER, found.kind)
        self.assertIn(
            f'the domain in libvirt and the directory {uuid} and the '
            f'directory {uuid}_del of instance {uuid}',
            found.text,
        )

    def test_an_instance_that_is_not_asked_for_is_left_out(self):
        state = answers.HostState('one', domains={OTHER})
        self.assertEqual(frozenset(), state.view([samples.UUID]).present)


class AnswersTest(testtools.TestCase):
    """Any answer of a host is read or refused."""

    def test_the_name_and_the_xml_of_a_domain_are_read(self):
        self.assertEqual(
            ('instance-00000001', "<domain type='kvm' id='1'>\n</domain>\n"),
            answers.split_domain(
                "instance-00000001\n<domain type='kvm' id='1'>\n</domain>\n"
            ),
        )

    def test_an_answer_without_a_name_or_a_domain_is_refused(self):
        for answer in (
            '',
            'error: failed',
            '<domain/>',
            '../../etc/x\n<domain/>',
            'a\nb\n<domain/>',
        ):
            error = self.assertRaises(
                exception.HostCommandFailed, answers.split_domain, answer
            )
            self.assertIn('no domain', str(error))

    @given(st.text())
    def test_an_excerpt_is_one_short_line(self, text):
        found = answers.excerpt(text)
        self.assertTrue(found == '' or found.isprintable())
        self.assertLessEqual(len(found), 204)

    def test_an_excerpt_cannot_control_a_terminal(self):
        self.assertEqual('a [31m b', answers.excerpt('a\x1b[31m\n\0 b'))

    def test_a_volume_that_lost_the_level_is_in_order(self):
        for level in ('s0', 's0:c12,c13'):
            self.assertEqual(
                [], answers.level_left('/v', samples.image(level), LEVEL)
            )

    def test_a_volume_that_kept_the_level_is_a_fault(self):
        for level in ('s0:c900,c12', 's0:c12', 's0:c0.c1023'):
            [fault] = answers.level_left('/v', samples.image(level), LEVEL)
            self.assertIn('/v still carries', fault)

    def test_a_volume_without_a_context_is_a_fault(self):
        [fault] = answers.level_left('/v', '?', LEVEL)
        self.assertIn('/v cannot be read', fault)
