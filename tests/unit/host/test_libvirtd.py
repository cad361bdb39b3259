# SPDX-License-Identifier: Apache-2.0
"""How libvirt is asked by a program of an operator."""

from __future__ import annotations

import pathlib
from unittest import mock

import fixtures
import libvirt
import testtools

from svirt_nova import exception
from svirt_nova.host import libvirtd


def _gone(code):
    error = libvirt.libvirtError('gone')
    error.err = (code, 0, 'gone')
    return error


class LibvirtdTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.connection = mock.Mock()
        self.useFixture(
            fixtures.MonkeyPatch(
                'libvirt.openReadOnly', lambda uri: self.connection
            )
        )

    def _domain(self, **answers):
        domain = mock.Mock(spec=libvirt.virDomain)
        domain.UUIDString.return_value = 'uuid'
        domain.name.return_value = 'name'
        domain.XMLDesc.side_effect = lambda flags: f'<x flags="{flags}"/>'
        domain.securityLabel.return_value = ['u:r:t:s0', True]
        domain.isActive.return_value = 1
        domain.isPersistent.return_value = 1
        for name, answer in answers.items():
            getattr(domain, name).return_value = answer
        return domain

    def _read(self, *domains):
        self.connection.listAllDomains.return_value = [*domains]
        with libvirtd.connected('qemu:///system') as connection:
            return [*libvirtd.domains(connection)]

    def test_a_guest_that_runs_has_a_process_and_a_definition(self):
        [found] = self._read(self._domain())
        self.assertEqual(('uuid', 'name'), (found.uuid, found.name))
        self.assertEqual('u:r:t:s0', found.process)
        self.assertEqual(
            (
                '<x flags="0"/>',
                f'<x flags="{libvirt.VIR_DOMAIN_XML_INACTIVE}"/>',
            ),
            (found.xml, found.definition),
        )
        self.connection.close.assert_called_once_with()

    def test_a_stopped_guest_has_no_process(self):
        [found] = self._read(self._domain(isActive=0))
        self.assertFalse(found.is_running)

    def test_a_transient_guest_has_no_definition(self):
        [found] = self._read(self._domain(isPersistent=0))
        self.assertEqual('', found.definition)

    def test_a_guest_that_is_gone_is_left_out(self):
        domain = self._domain()
        domain.XMLDesc.side_effect = _gone(libvirt.VIR_ERR_NO_DOMAIN)
        self.assertEqual(1, len(self._read(domain, self._domain())))

    def test_a_libvirt_that_stops_answering_is_told(self):
        domain = self._domain()
        domain.XMLDesc.side_effect = _gone(libvirt.VIR_ERR_INTERNAL_ERROR)
        error = self.assertRaises(
            exception.LibvirtUnreachable, self._read, domain
        )
        self.assertIn('mount /run/libvirt', str(error))

    def test_a_socket_that_all_may_connect_to_is_open(self):
        root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        names = [str(root / name) for name in ('open', 'closed', 'missing')]
        pathlib.Path(names[0]).touch()
        pathlib.Path(names[0]).chmod(0o666)
        pathlib.Path(names[1]).touch(mode=0o660)
        self.useFixture(
            fixtures.MonkeyPatch('svirt_nova.host.libvirtd.SOCKETS', names)
        )
        self.assertEqual([names[0]], libvirtd.open_sockets())
