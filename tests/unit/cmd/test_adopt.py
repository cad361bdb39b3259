# SPDX-License-Identifier: Apache-2.0

import json
import pathlib
import socket

import fixtures
import libvirt

from svirt_nova import exception
from tests import samples
from tests.unit.cmd import fake

UUID = samples.INSTANCE_UUID


class Domain:
    def __init__(self, xml):
        self.xml = xml

    def XMLDesc(self):  # noqa: N802
        if self.xml is None:
            error = libvirt.libvirtError('gone')
            error.err = (libvirt.VIR_ERR_NO_DOMAIN, 0, 'gone')
            raise error
        return self.xml


class Connection:
    """A libvirt that is only asked, and only for running domains."""

    def __init__(self, *xmls):
        self.domains = [Domain(xml) for xml in xmls]
        self.is_closed = False

    def listAllDomains(self, flags):  # noqa: N802
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
        return self.domains

    def close(self):
        self.is_closed = True


class Allocator(fake.Allocator):
    def __init__(self, conf):
        super().__init__(conf)
        self.adopted = []
        self.taken = ()

    def adopt(self, instance_uuid, project_id, host, level):
        if str(level) in self.taken:
            raise exception.LevelTaken('in use by another instance')
        self.adopted.append((instance_uuid, project_id, host, str(level)))


class AdoptTest(fake.ProgramTestCase):
    def setUp(self):
        self.made = Allocator(None)
        super().setUp()
        self.asked = []
        self.connection = Connection(
            samples.labelled_domain(),
            None,
            samples.labelled_domain(level=':c1,c2'),
        )
        self.useFixture(
            fixtures.MonkeyPatch('libvirt.openReadOnly', self.open)
        )

    def allocator(self, conf):
        return self.made

    def open(self, uri):
        self.asked.append(uri)
        return self.connection

    def config(self, text):
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).join('conf'))
        path.write_text(text)
        return '--config-file', str(path)

    def test_running_guests_are_adopted(self):
        status, out, err = self.program('adopt', '-f', 'json')
        self.assertEqual((0, ''), (status, err))
        self.assertEqual(
            [
                {'Instance': UUID, 'Level': level, 'Outcome': 'adopted'}
                for level in ('s0:c4,c9', 's0:c1,c2')
            ],
            json.loads(out),
        )
        name = socket.gethostname()
        self.assertEqual(
            [(UUID, 'p', name, 's0:c4,c9'), (UUID, 'p', name, 's0:c1,c2')],
            self.made.adopted,
        )
        self.assertEqual(['qemu:///system'], self.asked)
        self.assertTrue(self.connection.is_closed)

    def test_clashes_are_listed_and_end_with_1(self):
        self.made.taken = ('s0:c4,c9',)
        status, out, err = self.program('adopt', '-f', 'json')
        self.assertEqual(
            ['in use by another instance', 'adopted'],
            [row['Outcome'] for row in json.loads(out)],
        )
        self.assertEqual(1, status)
        self.assertIn('1 guests were not adopted: hard-reboot', err)
        self.assertEqual(1, err.count('\n'), err)

    def test_the_host_is_novas(self):
        conf = self.config('[DEFAULT]\nhost = nova-name\n')
        self.program(*conf, 'adopt')
        self.program(*conf, 'adopt', '--host', 'given')
        self.assertEqual(
            ['nova-name', 'given'],
            [self.made.adopted[n][2] for n in (0, 2)],
        )

    def test_another_libvirt(self):
        self.program('adopt', '--connect', 'qemu:///session')
        self.assertEqual(['qemu:///session'], self.asked)

    def test_a_libvirt_that_is_away_is_one_line_and_status_1(self):
        def fail(uri):
            raise libvirt.libvirtError('no socket')

        self.useFixture(fixtures.MonkeyPatch('libvirt.openReadOnly', fail))
        status, out, err = self.program('adopt')
        self.assertEqual((1, ''), (status, out))
        self.assertIn('libvirt at qemu:///system does not answer', err)
        self.assertEqual(1, err.count('\n'), err)
