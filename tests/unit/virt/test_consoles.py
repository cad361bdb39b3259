# SPDX-License-Identifier: Apache-2.0
"""The log of a console is that of the guest."""

from __future__ import annotations

from nova import exception as nova_exception

from svirt_nova.virt import extension
from tests.unit.virt import cloud_case

UUID = cloud_case.UUID


class ConsoleTest(cloud_case.CloudTestCase):
    def setUp(self):
        super().setUp()
        self.api.boot(UUID, ('A',))
        self.named = '/etc/shadow'
        self.redefine(
            'A',
            live=self.record('A').live.replace(
                '</devices>',
                f"<console type='pty'><source path='{self.named}'/></console>"
                '</devices>',
            ),
        )

    def _read(self):
        return self.driver('A').get_console_output(None, self.instance())

    def test_a_file_that_qemu_calls_its_terminal_is_not_read(self):
        error = self.assertRaises(nova_exception.InternalError, self._read)
        self.assertIn(self.named, str(error))
        self.assertIn(UUID, str(error))

    def test_it_is_read_where_guests_are_not_confined(self):
        self.driver('A')._extension = extension.Extension()
        self.assertEqual('what is there', self._read())
