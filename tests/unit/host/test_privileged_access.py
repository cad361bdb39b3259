# SPDX-License-Identifier: Apache-2.0
"""Who gets at files: QEMU by its group, and the caller in its directories."""

from __future__ import annotations

import errno
import os

import fixtures
from oslo_config import cfg
from oslo_config import fixture as config_fixture

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.host import file_labels
from svirt_nova.host import privsep
from tests.unit.host import privileged_case

LEVEL = privileged_case.LEVEL
OTHERS = privileged_case.OTHERS
QEMU = privileged_case.QEMU


class GroupTest(privileged_case.Case):
    """QEMU gets at files by its group; the owner is who it was."""

    def setUp(self):
        super().setUp()
        os.chown(self.disk, 1234, 1235)
        os.chmod(self.disk, 0o600)

    def _access(self):
        status = os.stat(self.disk)
        return status.st_uid, status.st_gid, status.st_mode & 0o777

    def test_the_file_of_a_guest_is_its_to_write(self):
        self._label(self.disk)
        self.assertEqual((1234, QEMU, 0o660), self._access())

    def test_a_file_for_all_is_theirs_to_read(self):
        file_labels.share(self.root, self.disk, disk_chains.EVERYBODY)
        self.assertEqual((1234, QEMU, 0o640), self._access())
        self.assertEqual(
            'system_u:object_r:virt_content_t:s0',
            str(file_labels.read(self.disk)),
        )

    def test_a_file_that_is_let_go_has_the_group_of_its_directory(self):
        os.chown(os.path.dirname(self.disk), -1, 1236)
        os.setxattr(
            os.path.dirname(self.disk), 'security.selinux', OTHERS.encode()
        )
        self.useFixture(
            fixtures.MonkeyPatch(
                'selinux.matchpathcon',
                lambda path, mode: [0, 'system_u:object_r:var_lib_t:s0'],
            )
        )
        self._label(self.disk)
        file_labels.restore(self.root, self.disk, [LEVEL])
        self.assertEqual((1234, 1236), self._access()[:2])

    def test_storage_that_keeps_its_groups_is_left_as_it_is(self):
        def refuse(path, *args):
            raise PermissionError(errno.EPERM, 'no')

        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.privsep.os.chown', refuse)
        )
        self._label(self.disk)
        self.assertEqual(LEVEL, file_labels.read(self.disk).level)

    def test_the_configured_group_comes_first(self):
        config = self.useFixture(config_fixture.Config(cfg.CONF))
        config.config(group='svirt_nova_privileged', qemu_group='kvm')
        error = self.assertRaises(
            exception.LabelNotApplied, self._label, self.disk
        )
        self.assertIn('no group kvm', str(error))
        self.assertIn('qemu_group', str(error))


class CallerTest(privileged_case.Case):
    """Who asks for the helper may only use directories of its own."""

    def _asks(self, user):
        self.useFixture(fixtures.EnvironmentVariable('SUDO_UID', str(user)))
        failures = (
            privsep.set_level(self.root, 'uuid/disk', str(LEVEL), []),
            privsep.set_content(self.root, 'uuid/disk', 's0'),
            privsep.restore(self.root, 'uuid/disk', [str(LEVEL)]),
            privsep.read_header(self.root, 'uuid/disk'),
        )
        return [
            each.kind if isinstance(each, privsep.Failure) else None
            for each in failures
        ]

    def test_the_directory_of_somebody_else_is_refused(self):
        self.assertEqual(['unsafe'] * 4, self._asks(1234))
        self.assertIsNone(file_labels.read(self.disk))

    def test_the_directory_of_the_caller_is_its_own(self):
        os.chown(self.root, 1234, -1)
        self.useFixture(
            fixtures.MonkeyPatch(
                'selinux.matchpathcon', lambda path, mode: [0, OTHERS]
            )
        )
        self.assertEqual([None] * 4, self._asks(1234))

    def test_a_share_in_the_directory_of_the_caller_is_its_own(self):
        os.chown(self.root, 1234, -1)
        self.root = os.path.join(self.root, 'share')
        os.makedirs(os.path.join(self.root, 'uuid'))
        self._file(self.root, 'uuid', 'disk')
        self.useFixture(
            fixtures.MonkeyPatch(
                'selinux.matchpathcon', lambda path, mode: [0, OTHERS]
            )
        )
        self.assertEqual([None] * 4, self._asks(1234))


class HeaderTest(privileged_case.Case):
    def test_no_more_than_the_header_is_read(self):
        with open(self.disk, 'wb') as file:
            file.write(bytes(range(256)) * 1024)
        found = file_labels.read_header(self.root, self.disk)
        self.assertEqual(disk_chains.HEADER_SIZE, len(found))
        self.assertEqual(bytes(range(256)), found[:256])

    def test_a_file_that_only_its_owner_may_read_is_read(self):
        os.chown(self.disk, 1234, 1234)
        os.chmod(self.disk, 0o600)
        self.assertEqual(
            b'content', file_labels.read_header(self.root, self.disk)
        )

    def test_a_missing_file_is_an_error(self):
        self.assertRaises(
            exception.LabelNotApplied,
            file_labels.read_header,
            self.root,
            self.disk + '.gone',
        )
