# SPDX-License-Identifier: Apache-2.0
"""The privileged functions, on real files with real attributes.

They need root; the kernel need not have SELinux.
"""

import errno
import os
import pathlib
import re
import threading
from unittest import mock

import fixtures
import testtools
from oslo_config import cfg
from oslo_config import fixture as config_fixture
from oslo_privsep import comm

from svirt_nova import exception
from svirt_nova.host import file_labels
from svirt_nova.host import privsep
from svirt_nova.mcs import levels
from tests.unit.host import privileged_case

LEVEL = privileged_case.LEVEL
OTHERS = privileged_case.OTHERS
QEMU = privileged_case.QEMU


class LabelTest(privileged_case.Case):
    def test_a_file_gets_the_policys_context_at_the_level(self):
        self._label(self.disk)
        self.assertEqual(
            'system_u:object_r:svirt_image_t:s0:c7,c8',
            str(file_labels.read(self.disk)),
        )

    def test_the_directory_itself_may_be_a_link(self):
        link = os.path.join(self.outside, 'instances')
        os.symlink(self.root, link)
        file_labels.label(link, os.path.join(link, 'uuid', 'disk'), LEVEL)
        self.assertEqual(LEVEL, file_labels.read(self.disk).level)

    def test_a_level_without_categories_is_refused(self):
        self.assertRaises(
            exception.UnsafeFile,
            file_labels.label,
            self.root,
            self.disk,
            levels.Level.parse('s0'),
        )

    def test_what_is_no_level_is_refused_by_the_privileged_side(self):
        for level in ('s0:c5.c2', 's1:c1,c2', '', 's0:c1\n', 's0:c1,c2:x'):
            failure = privsep.set_level(self.root, 'uuid/disk', level, [])
            self.assertEqual('refused', failure.kind)

    def test_the_level_of_another_guest_is_not_replaced(self):
        other = levels.Level.parse('s0:c1,c2')
        file_labels.label(self.root, self.disk, other)
        error = self.assertRaises(
            exception.ForeignFile, self._label, self.disk
        )
        self.assertIn('s0:c1,c2', str(error))
        self.assertEqual(other, file_labels.read(self.disk).level)
        file_labels.label(self.root, self.disk, LEVEL, [other])
        self.assertEqual(LEVEL, file_labels.read(self.disk).level)

    def test_labels_that_are_no_guests_are_replaced(self):
        for label in (
            OTHERS,
            'system_u:object_r:svirt_image_t:s0',
            'system_u:object_r:virt_content_t:s0:c1,c2',
        ):
            os.setxattr(self.disk, 'security.selinux', label.encode())
            self._label(self.disk)
            self.assertEqual(LEVEL, file_labels.read(self.disk).level)

    def test_storage_without_labels_lets_qemu_in_all_the_same(self):
        def refuse(path, context):
            raise OSError(errno.EOPNOTSUPP, 'no')

        self.useFixture(fixtures.MonkeyPatch('selinux.setfilecon_raw', refuse))
        self.assertRaises(exception.UnlabeledStorage, self._label, self.disk)
        self.assertEqual(QEMU, os.stat(self.disk).st_gid)

    def test_a_file_that_takes_no_label_does_not_let_qemu_in(self):
        def refuse(path, context):
            raise OSError(errno.EACCES, 'no')

        self.useFixture(fixtures.MonkeyPatch('selinux.setfilecon_raw', refuse))
        self.assertRaises(exception.LabelNotApplied, self._label, self.disk)
        self.assertNotEqual(QEMU, os.stat(self.disk).st_gid)

    def test_a_missing_policy_is_told(self):
        self.useFixture(
            fixtures.MonkeyPatch(
                'selinux.selinux_virtual_image_context_path',
                lambda: '/nowhere/virtual_image_context',
            )
        )
        error = self.assertRaises(
            exception.LabelNotApplied, self._label, self.disk
        )
        self.assertIn('Install the policy', str(error))

    def test_only_storage_without_labels_is_unsupported(self):
        for number, kind in (
            (errno.EPERM, 'refused'),
            (errno.EACCES, 'refused'),
            (errno.EOPNOTSUPP, 'unsupported'),
            (errno.EDQUOT, 'refused'),
        ):
            error = OSError(number, os.strerror(number))
            with mock.patch('selinux.setfilecon_raw', side_effect=error):
                failure = privsep.set_level(
                    self.root, 'uuid/disk', str(LEVEL), []
                )
            self.assertEqual(kind, failure.kind)

    def test_a_file_that_the_kernel_does_not_open_is_refused(self):
        error = OSError(errno.ESTALE, 'Stale file handle')
        with mock.patch('os.open', side_effect=error):
            failures = (
                privsep.set_level(self.root, 'uuid/disk', str(LEVEL), []),
                privsep.restore(self.root, 'uuid/disk', [str(LEVEL)]),
            )
        for failure in failures:
            self.assertEqual(
                privsep.Failure('refused', 'Stale file handle'), failure
            )

    def test_a_missing_file_is_an_error(self):
        self.assertRaises(
            exception.LabelNotApplied, self._label, self.disk + '.gone'
        )


class HostileFilesTest(privileged_case.Case):
    def test_a_link_is_not_followed(self):
        path = os.path.join(self.root, 'uuid', 'link')
        os.symlink(self.victim, path)
        self._assert_unsafe(path)

    def test_a_link_among_the_directories_is_not_followed(self):
        path = os.path.join(self.root, 'other')
        os.symlink(self.outside, path)
        self._assert_unsafe(os.path.join(path, 'victim'))

    def test_a_second_name_of_a_file_is_refused(self):
        path = os.path.join(self.root, 'uuid', 'hard')
        os.link(self.victim, path)
        self._assert_unsafe(path)

    def test_a_path_out_of_the_directory_is_refused(self):
        self._assert_unsafe(
            os.path.join(self.root, 'uuid', '..', '..', 'victim')
        )
        self._assert_unsafe(self.victim)
        self._assert_unsafe(self.root)

    def test_the_privileged_side_is_not_asked_for_a_path_elsewhere(self):
        with mock.patch.object(privsep, 'set_level') as set_level:
            for path in (
                self.root,
                os.path.join(self.root, '..', 'other', 'disk'),
                os.path.join('uuid', 'disk'),
            ):
                self.assertRaises(exception.UnsafeFile, self._label, path)
        set_level.assert_not_called()

    def test_the_privileged_side_checks_the_path_itself(self):
        relative = os.path.relpath(self.victim, self.root)
        for root, path in (
            (self.root, relative),
            (self.root, self.victim),
            (self.root, ''),
            (self.root, 'uuid/./disk'),
            (self.root, 'uuid//disk'),
            (self.root, 'uuid/disk\0'),
            ('relative', 'disk'),
        ):
            for failure in (
                privsep.set_level(root, path, str(LEVEL), []),
                privsep.set_content(root, path, 's0'),
                privsep.restore(root, path, [str(LEVEL)]),
                privsep.read_header(root, path),
            ):
                self.assertEqual('unsafe', failure.kind, (root, path))

    def test_a_file_that_is_not_regular_is_not_labelled(self):
        fifo = os.path.join(self.root, 'uuid', 'fifo')
        os.mkfifo(fifo)
        self._assert_unsafe(fifo)
        device = os.path.join(self.root, 'uuid', 'device')
        os.mknod(device, 0o600 | 0o020000, os.makedev(1, 3))
        self._assert_unsafe(device)
        self._assert_unsafe(os.path.join(self.root, 'uuid'))

    def test_a_file_swapped_for_a_link_again_and_again_labels_nothing_else(
        self,
    ):
        stop = threading.Event()
        spare = os.path.join(self.root, 'uuid', 'spare')
        link = os.path.join(self.root, 'uuid', 'link')
        os.symlink(self.victim, link)

        def swap():
            while not stop.is_set():
                os.rename(self.disk, spare)
                os.rename(link, self.disk)
                os.rename(self.disk, link)
                os.rename(spare, self.disk)

        thread = threading.Thread(target=swap)
        thread.start()
        outcomes = {'labelled': 0, 'refused': 0}
        try:
            for _ in range(2000):
                failure = privsep.set_level(
                    self.root, 'uuid/disk', str(LEVEL), []
                )
                outcomes['refused' if failure else 'labelled'] += 1
        finally:
            stop.set()
            thread.join()
        self.assertEqual(OTHERS, str(file_labels.read(self.victim)))
        self.assertGreater(outcomes['labelled'], 0)
        self.assertGreater(outcomes['refused'], 0)


class RestoreTest(privileged_case.Case):
    def setUp(self):
        super().setUp()
        self.asked = []

        def default(path, mode):
            self.asked.append(path)
            return [0, 'system_u:object_r:var_lib_t:s0']

        self.useFixture(fixtures.MonkeyPatch('selinux.matchpathcon', default))

    def test_the_policys_default_for_the_path_comes_back(self):
        self._label(self.disk)
        file_labels.restore(self.root, self.disk, [LEVEL])
        self.assertEqual(
            'system_u:object_r:var_lib_t:s0', str(file_labels.read(self.disk))
        )
        self.assertEqual([os.path.realpath(self.disk)], self.asked)

    def test_without_a_default_it_gets_the_type_of_its_directory(self):
        def none(path, mode):
            raise FileNotFoundError(2, 'No such file or directory')

        self.useFixture(fixtures.MonkeyPatch('selinux.matchpathcon', none))
        self._label(self.disk)
        error = self.assertRaises(
            exception.LabelNotApplied,
            file_labels.restore,
            self.root,
            self.disk,
            [LEVEL],
        )
        self.assertIn('neither the policy nor its directory', str(error))

        os.setxattr(
            os.path.dirname(self.disk), 'security.selinux', OTHERS.encode()
        )
        file_labels.restore(self.root, self.disk, [LEVEL])
        self.assertEqual(OTHERS, str(file_labels.read(self.disk)))

    def test_a_label_that_is_not_an_images_is_left_alone(self):
        os.setxattr(self.disk, 'security.selinux', OTHERS.encode())
        file_labels.restore(self.root, self.disk, [LEVEL])
        self.assertEqual(OTHERS, str(file_labels.read(self.disk)))

    def test_a_level_that_it_was_not_given_is_left_alone(self):
        self._label(self.disk)
        before = str(file_labels.read(self.disk))
        file_labels.restore(
            self.root, self.disk, [levels.Level.parse('s0:c1,c3')]
        )
        file_labels.restore(self.root, self.disk, [])
        self.assertEqual(before, str(file_labels.read(self.disk)))

    def test_a_file_that_is_gone_is_no_error(self):
        file_labels.restore(self.root, self.disk + '.gone', [LEVEL])


class ReadTest(privileged_case.Case):
    def test_a_link_is_not_followed(self):
        path = os.path.join(self.root, 'link')
        os.symlink(self.victim, path)
        self.assertIsNone(file_labels.read(path))

    def test_a_file_without_a_label_has_none(self):
        self.assertIsNone(file_labels.read(self.disk))

    def test_a_missing_file_is_an_error(self):
        self.assertRaises(
            exception.LabelError, file_labels.read, self.disk + '.gone'
        )


class HelperTest(testtools.TestCase):
    def test_a_helper_that_does_not_start_is_told_with_the_option(self):
        config = self.useFixture(config_fixture.Config(cfg.CONF))
        config.config(group='svirt_nova_privileged', helper_command='false')
        error = self.assertRaises(
            exception.LabelNotApplied,
            file_labels.label,
            '/a',
            '/a/disk',
            LEVEL,
        )
        self.assertIn('helper_command', str(error))
        self.assertIn('/a/disk', str(error))

    def test_a_helper_that_does_not_answer_is_told(self):
        # The last two: it has died, what starts it is not installed.
        for error in (
            comm.PrivsepTimeout(),
            OSError('Premature eof waiting for privileged process'),
            FileNotFoundError('sudo'),
        ):
            with mock.patch.object(privsep, 'restore', side_effect=error):
                self.assertRaises(
                    exception.LabelNotApplied,
                    file_labels.restore,
                    '/a',
                    '/a/disk',
                    [LEVEL],
                )


class RootwrapTest(testtools.TestCase):
    def test_filter_lets_no_path_lead_elsewhere(self):
        path = (
            pathlib.Path(__file__)
            .parents[3]
            .joinpath('etc', 'nova', 'rootwrap.d', 'svirt_nova.filters')
        )
        [line] = [
            line
            for line in path.read_text().splitlines()
            if line.startswith('privsep-rootwrap-svirt_nova:')
        ]
        kind, _, user, *patterns = map(
            str.strip, line.partition(':')[2].split(',')
        )
        self.assertEqual(('RegExpFilter', 'root'), (kind, user))
        for config, socket, is_let in (
            ('/etc/nova/nova.conf', '/tmp/tmpx/privsep.sock', True),
            ('/etc/../tmp/nova.conf', '/tmp/tmpx/privsep.sock', False),
            ('/etc/ssl/../../tmp/nova.conf', '/tmp/tmpx/privsep.sock', False),
            ('/etc/nova/nova.conf', '/tmp/../etc/x', False),
            ('/etc/nova/nova.conf', '/tmp/x/../../etc/x', False),
        ):
            command = (
                'privsep-helper',
                *('--config-file', config),
                *('--privsep_context', 'svirt_nova.host.privsep.svirt_pctxt'),
                *('--privsep_sock_path', socket),
            )
            matches = all(
                re.fullmatch(pattern, word)
                for pattern, word in zip(patterns, command, strict=True)
            )
            self.assertEqual(is_let, matches, (config, socket))
