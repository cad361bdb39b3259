# SPDX-License-Identifier: Apache-2.0
"""The privileged functions through a real helper process of oslo.privsep."""

import os
import pathlib
import sys

import fixtures
import testtools
from oslo_config import cfg

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.host import file_labels
from svirt_nova.host import privsep
from svirt_nova.mcs import levels


class HelperProcessTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.assertEqual(0, os.geteuid(), 'the helper process needs root')
        section = privsep.svirt_pctxt.cfg_section
        cfg.CONF.set_override(
            'helper_command',
            f'unshare --mount {self._helper()}',
            group=section,
        )
        self.addCleanup(
            cfg.CONF.clear_override, 'helper_command', group=section
        )
        privsep.svirt_pctxt.set_client_mode(True)
        # The daemon of another test would have other options.
        privsep.svirt_pctxt.stop()
        self.addCleanup(privsep.svirt_pctxt.stop)
        self.root = self.useFixture(fixtures.TempDir()).path
        os.setxattr(
            self.root, 'security.selinux', b'system_u:object_r:var_lib_t:s0'
        )
        self.disk = os.path.join(self.root, 'disk')
        with open(self.disk, 'w', encoding='utf-8') as file:
            file.write('content')
        # Not ours: root may label it all the same.
        os.chown(self.disk, 65534, 65534)
        os.chmod(self.disk, 0o600)

    def _helper(self):
        """A helper that finds a policy, on a machine that may have none."""
        directory = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        contexts = directory / 'etc' / 'test' / 'contexts'
        (contexts / 'files').mkdir(parents=True)
        (directory / 'etc' / 'config').write_text('SELINUXTYPE=test\n')
        (contexts / 'virtual_image_context').write_text(
            'system_u:object_r:svirt_image_t:s0\n'
            'system_u:object_r:virt_content_t:s0\n'
        )
        (contexts / 'files' / 'file_contexts').write_text('/.* <<none>>\n')
        # A group that every machine has, QEMU or not.
        (directory / 'qemu.conf').write_text(
            '[svirt_nova_privileged]\nqemu_group = root\n'
        )
        program = pathlib.Path(sys.executable).with_name('privsep-helper')
        helper = directory / 'helper'
        helper.write_text(
            f'#!/bin/sh -e\n'
            f'mount --bind {directory}/etc /etc/selinux\n'
            f'exec {program} --config-file {directory}/qemu.conf "$@"\n'
        )
        helper.chmod(0o755)
        return helper

    def test_a_file_is_labelled_and_put_back(self):
        level = levels.Level.parse('s0:c3,c9')

        file_labels.label(self.root, self.disk, level)
        self.assertEqual(level, file_labels.read(self.disk).level)
        self.assertEqual('svirt_image_t', file_labels.read(self.disk).type)

        file_labels.restore(self.root, self.disk, [level])
        self.assertEqual(
            'system_u:object_r:var_lib_t:s0', str(file_labels.read(self.disk))
        )

    def test_a_header_comes_back_as_it_is(self):
        header = bytes(range(256)) * 512
        with open(self.disk, 'wb') as file:
            file.write(header)
        self.assertEqual(
            header[: disk_chains.HEADER_SIZE],
            file_labels.read_header(self.root, self.disk),
        )

    def test_a_file_for_everybody_lets_qemu_read(self):
        file_labels.share(self.root, self.disk, disk_chains.EVERYBODY)
        self.assertEqual('virt_content_t', file_labels.read(self.disk).type)
        file_labels.share(self.root, self.disk, disk_chains.NOBODY)
        self.assertEqual(disk_chains.NOBODY, file_labels.read(self.disk).level)
        status = os.stat(self.disk)
        self.assertEqual((65534, 0), (status.st_uid, status.st_gid))
        self.assertEqual(0o640, status.st_mode & 0o777)

    def test_a_refusal_comes_back_as_an_error_for_people(self):
        link = os.path.join(self.root, 'link')
        os.symlink('/etc/passwd', link)

        error = self.assertRaises(
            exception.UnsafeFile,
            file_labels.label,
            self.root,
            link,
            levels.Level.parse('s0:c3,c9'),
        )

        self.assertIn('symbolic link', str(error))
        self.assertIn(link, str(error))
