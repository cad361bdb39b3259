# SPDX-License-Identifier: Apache-2.0
"""How the kernel is asked, and what is said where it cannot be."""

from __future__ import annotations

import os
import pathlib
from types import SimpleNamespace

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.host import kernel
from svirt_nova.host import policy

GUEST = 'u:r:svirt_t:s0:c1,c2'
DISK = 'u:object_r:svirt_image_t:s0:c1,c3'


class KernelTestCase(testtools.TestCase):
    def _patch(self, **functions):
        for name, function in functions.items():
            self.useFixture(fixtures.MonkeyPatch(f'selinux.{name}', function))


class EnforcingTest(KernelTestCase):
    """A host that enforces, and each way in which another does not."""

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        selinuxfs = self.root / 'selinux'
        selinuxfs.mkdir()
        (selinuxfs / 'enforce').write_text('1')
        (self.root / 'config').write_text('SELINUX=enforcing\n')
        (self.root / 'filesystems').write_text(
            'nodev\tsysfs\n\text4\nnodev\tselinuxfs\n'
        )
        for name, value in (
            ('SELINUXFS', str(selinuxfs)),
            ('CONFIG', str(self.root / 'config')),
            ('FILE_SYSTEMS', str(self.root / 'filesystems')),
        ):
            self.useFixture(
                fixtures.MonkeyPatch(f'svirt_nova.host.kernel.{name}', value)
            )
        self._patch(
            is_selinux_enabled=lambda: 1,
            is_selinux_mls_enabled=lambda: 1,
            security_getenforce=lambda: 1,
        )

    def _refusal(self):
        return str(
            self.assertRaises(exception.UnconfinedHost, kernel.check_enforcing)
        )

    def test_a_host_that_enforces_is_accepted(self):
        kernel.check_enforcing()

    def test_a_permissive_kernel_is_told_how_to_enforce(self):
        self._patch(security_getenforce=lambda: 0)
        self.assertIn('Run "setenforce 1"', self._refusal())

    def test_a_policy_without_categories_is_refused(self):
        self._patch(is_selinux_mls_enabled=lambda: 0)
        self.assertIn('has no categories', self._refusal())

    def test_a_kernel_without_selinux_is_told_how_to_boot(self):
        self._patch(is_selinux_enabled=lambda: 0)
        (self.root / 'filesystems').write_text('nodev\tsysfs\n')
        text = self._refusal()
        self.assertIn('selinux=1', text)
        self.assertNotIn('container', text)

    def _check_container(self, text):
        found = self._refusal()
        self.assertIn('SELinux is on in the kernel of this host', found)
        self.assertIn(text, found)
        self.assertIn('mount these of the host into it', found)
        self.assertNotIn('setenforce', found)

    def test_a_container_without_selinuxfs_is_told_what_to_mount(self):
        self._patch(is_selinux_enabled=lambda: 0)
        os.remove(self.root / 'selinux' / 'enforce')
        self._check_container('selinux is not mounted here')

    def test_a_container_with_selinuxfs_read_only_is_told_to_mount_it(self):
        self._patch(is_selinux_enabled=lambda: 0)
        self.useFixture(
            fixtures.MonkeyPatch(
                'os.statvfs',
                lambda path: SimpleNamespace(f_flag=os.ST_RDONLY),
            )
        )
        self._check_container('selinux is mounted read-only here')

    def test_a_container_without_the_configuration_is_told_to_mount_it(self):
        self._patch(is_selinux_enabled=lambda: 0)
        os.remove(self.root / 'config')
        self._check_container('there is no file')

    def test_a_host_that_seems_right_is_not_told_to_enforce(self):
        self._patch(is_selinux_enabled=lambda: 0)
        self._check_container('takes it for disabled')


class AskTest(KernelTestCase):
    """One question."""

    def setUp(self):
        super().setUp()
        self.answer = {'allowed': 0b10, 'flags': 0}
        self.asked = []
        self._patch(
            string_to_security_class={'file': 7}.get,
            string_to_av_perm=lambda number, name: {
                'read': 0b1,
                'write': 0b10,
            }.get(name, 0),
            security_compute_av_flags_raw=self._compute,
            av_decision=lambda: SimpleNamespace(allowed=None, flags=None),
            SELINUX_AVD_FLAGS_PERMISSIVE=1,
        )

    def _compute(self, source, target, number, requested, decision):
        self.asked.append((source, target, number, requested))
        vars(decision).update(self.answer)

    def _ask(self, kind='file', names=('read', 'write')):
        return kernel.ask(GUEST, DISK, kind, names)

    def _refusal(self, *args):
        return str(
            self.assertRaises(exception.UnconfinedHost, self._ask, *args)
        )

    def test_permissions_are_named_by_their_bits(self):
        self.assertEqual(policy.Decision(frozenset(['write'])), self._ask())
        self.assertEqual([(GUEST, DISK, 7, 0b11)], self.asked)

    def test_a_permissive_domain_is_told_by_its_flag(self):
        self.answer['flags'] = 0b1
        self.assertTrue(self._ask().is_permissive)
        self.answer['flags'] = 0b10
        self.assertFalse(self._ask().is_permissive)

    def test_a_permission_that_the_policy_does_not_know_is_an_error(self):
        self.assertIn('{ fly }', self._refusal('file', ['read', 'fly']))

    def test_a_class_that_the_policy_does_not_know_is_an_error(self):
        self.assertIn('the class bird', self._refusal('bird'))

    def _fails(self, error):
        def compute(*args):
            raise error

        self._patch(security_compute_av_flags_raw=compute)

    def test_a_context_that_the_policy_does_not_know_is_an_error(self):
        self._fails(OSError(22, 'Invalid argument'))
        text = self._refusal()
        self.assertIn(GUEST, text)
        self.assertIn('Invalid argument', text)

    def test_a_process_that_may_not_ask_is_told_what_it_needs(self):
        self._fails(PermissionError(13, 'Permission denied'))
        self.assertIn('selinux_compute_access_vector', self._refusal())


class AtRestTest(KernelTestCase):
    """What carries which context while no guest has it open."""

    def setUp(self):
        super().setUp()
        self._patch(
            getfilecon_raw=lambda path: [1, f'of {path}'],
            getcon_raw=lambda: [0, 'nova'],
            string_to_security_class=str.upper,
            security_compute_create_raw=lambda *args: [0, ' '.join(args)],
            matchpathcon=lambda path, mode: [0, f'default of {path}'],
        )

    def test_new_files_get_what_the_kernel_would_give_them(self):
        found = kernel.at_rest('/instances')
        self.assertEqual(
            'nova of /instances FILE', found[policy.Party.NEW_FILE]
        )
        self.assertIn('nvram', found[policy.Party.NVRAM])
        self.assertIn('swtpm', found[policy.Party.TPM])

    def test_libvirts_directory_is_what_it_was_labelled(self):
        found = kernel.at_rest('/instances')
        self.assertEqual(
            'of /var/lib/libvirt/qemu', found[policy.Party.LIBVIRT]
        )

    def test_libvirts_directory_elsewhere_is_what_the_policy_says(self):
        """A container need not have it."""

        def fail(path):
            raise OSError(2, 'No such file')

        self._patch(getfilecon_raw=fail)
        self.assertEqual(
            'default of /var/lib/libvirt/qemu',
            kernel.at_rest('/instances')[policy.Party.LIBVIRT],
        )

    def test_what_has_no_label_is_not_asked_about(self):
        def fail(*args):
            raise OSError(2, 'No such file')

        self._patch(getfilecon_raw=fail, matchpathcon=fail)
        self.assertEqual({}, kernel.at_rest('/instances'))
        self.assertEqual({}, kernel.terminals('own', 'other'))

    def test_terminals_are_made_by_the_guests(self):
        self.assertEqual(
            {
                policy.Party.OWN_TERMINAL: 'own of /dev/pts CHR_FILE',
                policy.Party.OTHER_TERMINAL: 'other of /dev/pts CHR_FILE',
            },
            kernel.terminals('own', 'other'),
        )

    def test_booleans_that_are_on_are_named(self):
        values = {'virt_use_nfs': 1, 'virt_use_samba': 0}

        def read(name):
            if name not in values:
                raise FileNotFoundError(name)
            return values[name]

        self._patch(security_get_boolean_active=read)
        self.assertEqual(['virt_use_nfs'], kernel.open_storage())


class DifferingTypesTest(KernelTestCase):
    """The type of a directory, and the one that the policy has for it."""

    def _differing(self, found, wanted):
        self._patch(
            getfilecon_raw=lambda path: [0, found],
            matchpathcon=lambda path, mode: [0, wanted],
        )
        return kernel.differing_types('/')

    def test_the_same_type_at_another_level_does_not_differ(self):
        self.assertIsNone(self._differing('u:r:t:s0', 'x:r:t:s0:c1'))

    def test_another_type_differs(self):
        self.assertEqual(('a', 'b'), self._differing('u:r:a:s0', 'u:r:b:s0'))

    def test_a_directory_that_the_policy_does_not_know_does_not_differ(self):
        def fail(path, mode):
            raise FileNotFoundError

        self._patch(
            getfilecon_raw=lambda path: [0, 'u:r:t:s0'], matchpathcon=fail
        )
        self.assertIsNone(kernel.differing_types('/'))
