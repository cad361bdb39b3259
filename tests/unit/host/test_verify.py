# SPDX-License-Identifier: Apache-2.0

import testtools

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.host import verify
from svirt_nova.mcs import contexts
from tests import samples

PROCESS, IMAGE = samples.PROCESS, samples.IMAGE


def _running(label=str(PROCESS), image=str(IMAGE)):
    xml = domain_xml.confine(
        samples.DOMAIN % '', PROCESS, IMAGE, samples.chains()
    )
    return xml.replace(
        f'<label>{PROCESS}</label>',
        f'<label>{label}</label><imagelabel>{image}</imagelabel>',
    )


def _read(path):
    return samples.CONTENT if path == samples.BASE else IMAGE


class CheckTest(testtools.TestCase):
    def _check(
        self,
        domain=None,
        process=(str(PROCESS), True),
        read=_read,
        chains=None,
    ):
        verify.check(
            domain or _running(),
            process,
            PROCESS,
            IMAGE,
            samples.CONTENT,
            chains or samples.chains(),
            read,
        )

    def _refused(self, **kwargs):
        error = self.assertRaises(
            exception.LabelNotApplied, self._check, **kwargs
        )
        return str(error)

    def test_a_guest_as_it_should_be_passes(self):
        self._check()

    def test_levels_compare_as_sets(self):
        self._check(
            domain=_running(label='system_u:system_r:svirt_t:s0:c900,c12'),
            process=('system_u:system_r:svirt_t:s0:c12,c900\0', True),
        )

    def test_a_domain_without_a_label_is_refused(self):
        self.assertIn(
            'without an SELinux label',
            self._refused(domain=samples.DOMAIN % ''),
        )

    def test_a_process_at_more_categories_is_refused(self):
        self.assertIn(
            'c12,c13,c900',
            self._refused(
                process=('system_u:system_r:svirt_t:s0:c12,c13,c900', True)
            ),
        )

    def test_a_process_with_a_range_up_to_more_is_refused(self):
        self._refused(
            process=('system_u:system_r:svirt_t:s0:c12,c900-s0:c0.c1023', True)
        )

    def test_a_process_of_another_type_is_refused(self):
        self.assertIn(
            'unconfined_t',
            self._refused(
                process=('system_u:system_r:unconfined_t:s0:c12,c900', True)
            ),
        )

    def test_a_process_without_a_label_is_refused(self):
        self.assertIn('no usable label', self._refused(process=('', True)))

    def test_a_kernel_that_does_not_enforce_is_refused(self):
        self.assertIn(
            'does not enforce', self._refused(process=(str(PROCESS), False))
        )

    def test_another_label_for_disks_is_refused(self):
        self.assertIn(
            'c1,c2',
            self._refused(
                domain=_running(
                    image='system_u:object_r:svirt_image_t:s0:c1,c2'
                )
            ),
        )

    def test_files_with_no_label_are_listed(self):
        self.assertEqual(
            ['/i/u/disk'],
            verify.unlabeled_files(
                samples.chains(),
                lambda path: None if path == '/i/u/disk' else IMAGE,
            ),
        )

    def test_a_file_with_another_label_is_named(self):
        other = contexts.Context.parse('system_u:object_r:svirt_image_t:s0')
        self.assertIn(
            '/i/u/disk.config',
            self._refused(
                read=lambda path: other if 'config' in path else _read(path)
            ),
        )

    def test_a_file_that_cannot_be_read_is_a_problem(self):
        def read(path):
            raise exception.LabelError(f'the label of {path} is away')

        self.assertIn('is away', self._refused(read=read))

    def test_shared_disks_and_devices_are_not_asked_for(self):
        asked = []

        def read(path):
            asked.append(path)
            return _read(path)

        self._check(read=read)
        self.assertEqual(
            [
                '/i/u/disk',
                samples.BASE,
                '/i/u/disk.config',
                '/m/h/read-only',
            ],
            asked,
        )

    def test_a_base_that_guests_may_write_is_refused(self):
        self.assertIn(samples.BASE, self._refused(read=lambda path: IMAGE))

    def test_a_disk_that_was_not_given_to_it_is_refused(self):
        chains = {**samples.chains()}
        del chains['/i/u/disk.config']
        self.assertIn(
            '/i/u/disk.config, which is none', self._refused(chains=chains)
        )

    def test_a_disk_that_is_let_go_is_not_looked_at(self):
        xml = _running().replace('relabel="no"', 'relabel="yes"', 1)
        self._refused(domain=xml)
        chains = {**samples.chains(), '/i/u/disk': None}
        self._check(domain=xml, chains=chains)

    def test_a_file_that_libvirt_labels_is_refused(self):
        self.assertIn(
            'does not leave the files of /i/u/disk alone',
            self._refused(
                domain=_running().replace('relabel="no"', 'relabel="yes"', 1)
            ),
        )

    def test_another_file_below_is_refused(self):
        self.assertIn(
            'reads /i/u/disk from /etc/shadow',
            self._refused(
                domain=_running().replace(samples.BASE, '/etc/shadow')
            ),
        )
