# SPDX-License-Identifier: Apache-2.0
"""Real files with real attributes, below the privileged functions."""

from __future__ import annotations

import os
from types import SimpleNamespace

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.host import file_labels
from svirt_nova.host import privsep
from svirt_nova.mcs import levels

QEMU = 4711
LEVEL = levels.Level.parse('s0:c7,c8')
OTHERS = 'system_u:object_r:shadow_t:s0'
CONTEXTS = (
    'system_u:object_r:svirt_image_t:s0\nsystem_u:object_r:virt_content_t:s0\n'
)


class Case(testtools.TestCase):
    def setUp(self):
        super().setUp()
        privsep.svirt_pctxt.set_client_mode(False)
        self.addCleanup(privsep.svirt_pctxt.set_client_mode, True)
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.privsep.grp.getgrnam', self._group
            )
        )
        self.root = self.useFixture(fixtures.TempDir()).path
        self.outside = self.useFixture(fixtures.TempDir()).path
        policy = os.path.join(self.outside, 'virtual_image_context')
        with open(policy, 'w', encoding='utf-8') as file:
            file.write(CONTEXTS)
        self.useFixture(
            fixtures.MonkeyPatch(
                'selinux.selinux_virtual_image_context_path', lambda: policy
            )
        )
        self.victim = self._file(self.outside, 'victim')
        os.setxattr(self.victim, 'security.selinux', OTHERS.encode())
        os.mkdir(os.path.join(self.root, 'uuid'))
        self.disk = self._file(self.root, 'uuid', 'disk')

    @staticmethod
    def _group(name):
        if name != 'qemu':
            raise KeyError(name)
        return SimpleNamespace(gr_gid=QEMU)

    def _file(self, *names):
        path = os.path.join(*names)
        with open(path, 'w', encoding='utf-8') as file:
            file.write('content')
        return path

    def _label(self, path):
        file_labels.label(self.root, path, LEVEL)

    def _assert_unsafe(self, path):
        self.assertRaises(exception.UnsafeFile, self._label, path)
        for function, given in (
            (file_labels.restore, [[LEVEL]]),
            (file_labels.share, [LEVEL]),
            (file_labels.read_header, []),
        ):
            self.assertRaises(
                exception.UnsafeFile, function, self.root, path, *given
            )
        self.assertEqual(OTHERS, str(file_labels.read(self.victim)))
