# SPDX-License-Identifier: Apache-2.0
"""A header that QEMU has forged, through Nova's API.

The disks of Nova's fixture are raw: one that begins like a qcow2 file is
followed by whoever looks at the file to tell its format.
"""

from __future__ import annotations

import contextlib
import os
from unittest import mock

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.virt.libvirt import imagebackend
from nova.virt.libvirt import utils as libvirt_utils

from svirt_nova.host import domain_xml
from svirt_nova.virt import faults
from tests import samples
from tests.functional.nova import confined_host
from tests.functional.nova import two_hosts


class ForgedDiskTest(two_hosts.TwoHosts):
    def setUp(self):
        super().setUp()
        self.victim = self._boot()
        self.server = self._boot()
        self.files = self.host_fixture.files
        self.disk = self._disk_of(self.server)
        self.before = dict(self.files.labels)

    @staticmethod
    def _disk_of(server):
        class Instance:
            uuid = server['id']

        return os.path.join(libvirt_utils.get_instance_path(Instance), 'disk')

    def _forge(self):
        self.files.headers[self.disk] = samples.qcow2_header(
            self._disk_of(self.victim), 'qcow2'
        )

    def _assert_refused(self, action):
        """Check that an action is refused, and that operators are told."""
        launched = []
        with (
            mock.patch.object(
                confined_host.Domain, 'createWithFlags', launched.append
            ),
            mock.patch.object(faults.LOG, 'error') as told,
            # The calls of a compute come back to the API in these tests.
            contextlib.suppress(client.OpenStackApiException),
        ):
            self.api.post_server_action(self.server['id'], action)
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None}
        )
        self.assertEqual([], launched)
        self.assertIn('begins like a file', str(told.call_args_list))
        self.assertEqual(self.before, self.files.labels)

    def test_a_hard_reboot_is_refused_before_the_guest_goes(self):
        self._forge()
        self._assert_refused({'reboot': {'type': 'HARD'}})
        self._assert_runs_at_its_level(self.server, 'here')

    def test_no_tool_reads_the_disk_of_a_guest_that_only_seems_to_be_off(
        self,
    ):
        """QEMU has told libvirt that the guest has shut down."""
        domain = self._domains('here')[self.server['id']]
        domain._state = fakelibvirt.VIR_DOMAIN_SHUTDOWN
        disk = mock.Mock()
        with (
            mock.patch.object(
                imagebackend.Backend,
                'by_libvirt_path',
                lambda *args, **kwargs: disk,
            ),
            mock.patch.object(
                confined_host.Domain, 'isActive', lambda domain: 1
            ),
        ):
            self._snapshot_server(self.server, 'snapshot')
            self._wait_for_server_parameter(
                self.server, {'OS-EXT-STS:task_state': None}
            )
        self.assertEqual([], disk.mock_calls)

    def test_a_server_starts_when_its_header_is_right(self):
        self._stop_server(self.server)
        self._forge()
        self._assert_refused({'os-start': None})

        del self.files.headers[self.disk]
        self._reboot_server(self.server, hard=True)
        domain = self._domains('here')[self.server['id']]
        self.assertEqual(
            [], domain_xml.chains_of(domain.XMLDesc(0))[self.disk]
        )
        self._assert_runs_at_its_level(self.server, 'here')
