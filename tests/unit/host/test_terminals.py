# SPDX-License-Identifier: Apache-2.0
"""Pseudo-terminals that a QEMU names: none but its own is read."""

from __future__ import annotations

import os

import fixtures
import testtools

from svirt_nova import exception
from svirt_nova.host import terminals
from svirt_nova.mcs import contexts

OWN = 's0:c1,c2'
SECLABEL = (
    "<seclabel type='static' model='selinux' relabel='yes'>"
    f'<label>system_u:system_r:svirt_t:{OWN}</label></seclabel>'
)


def domain(path, seclabel=SECLABEL):
    source = '' if path is None else f"<source path='{path}'/>"
    return (
        f"<domain><devices><serial type='pty'>{source}</serial>"
        f"<console type='pty' tty='x'>{source}</console>"
        f"<disk type='file'><source file='/disk'/></disk></devices>"
        f'{seclabel}</domain>'
    )


class TerminalTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        self.path = os.ttyname(slave)
        self.carry(f'system_u:object_r:svirt_devpts_t:{OWN}')

    def carry(self, text):
        """Label all files."""
        found = None if text is None else contexts.Context.parse(text)
        self.useFixture(
            fixtures.MonkeyPatch(
                'svirt_nova.host.file_labels.read', lambda path: found
            )
        )

    def refused(self, path, seclabel=SECLABEL):
        error = self.assertRaises(
            exception.UnsafeTerminal,
            terminals.check,
            domain(path, seclabel),
        )
        self.assertIn(path, str(error))

    def test_the_terminal_of_the_guest_is_read(self):
        terminals.check(domain(self.path))

    def test_a_domain_that_is_off_has_none(self):
        terminals.check(domain(None))

    def test_what_is_no_terminal_is_refused(self):
        for path in (
            '/etc/shadow',
            '/dev/null',
            '/dev/pts/ptmx',
            '/dev/pts/../null',
            '/dev/pts/987654',
            '/dev/pts/\u0663',
        ):
            self.refused(path)

    def test_a_link_to_a_terminal_is_refused(self):
        link = os.path.join(self.useFixture(fixtures.TempDir()).path, '0')
        os.symlink(self.path, link)
        self.refused(link)

    def test_the_terminal_of_another_guest_is_refused(self):
        self.carry('system_u:object_r:svirt_devpts_t:s0:c1,c3')
        self.refused(self.path)

    def test_a_terminal_of_the_host_is_refused(self):
        self.carry('system_u:object_r:devpts_t:s0')
        self.refused(self.path)

    def test_a_terminal_without_a_label_is_refused(self):
        self.carry(None)
        self.refused(self.path)

    def test_a_guest_without_a_label_has_none(self):
        self.refused(self.path, seclabel='')
