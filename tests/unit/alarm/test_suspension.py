# SPDX-License-Identifier: Apache-2.0
"""On libvirt's own test driver, which needs no daemon."""

import libvirt
import testtools

from svirt_nova import exception
from svirt_nova.alarm import suspension

URI = 'test:///default'
DOMAIN = """
<domain type='test'>
  <name>{name}</name><memory>1024</memory><os><type>hvm</type></os>
  <seclabel type='{kind}' model='selinux' relabel='yes'>
    <label>system_u:system_r:svirt_t:s0:{level}</label>
  </seclabel>
</domain>
"""


class SuspendLevelTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        # The driver keeps its domains as long as a connection is open.
        self.connection = libvirt.open(URI)
        self.addCleanup(self.connection.close)

    def run_guest(self, level, kind='static'):
        name = f'{self.id().rpartition(".")[2]}-{level}-{kind}'
        domain = self.connection.createXML(
            DOMAIN.format(name=name, kind=kind, level=level)
        )
        self.addCleanup(domain.destroy)
        return domain

    def state(self, domain):
        return domain.state()[0]

    def test_the_guest_with_the_static_label_is_suspended(self):
        guest, other = self.run_guest('c1,c2'), self.run_guest('c3,c4')
        text = suspension.suspend_level(URI, 's0:c1,c2')
        self.assertIn(guest.UUIDString(), text)
        self.assertEqual(libvirt.VIR_DOMAIN_PAUSED, self.state(guest))
        self.assertEqual(libvirt.VIR_DOMAIN_RUNNING, self.state(other))

    def test_nobody_is_suspended_in_doubt(self):
        guests = [self.run_guest('c1,c2'), self.run_guest('c2,c1')]
        for level, number in (('s0:c1,c2', 2), ('s0:c5,c6', 0)):
            error = self.assertRaises(
                exception.LabelError, suspension.suspend_level, URI, level
            )
            self.assertIn(f'{number} running guests', str(error))
        for each in guests:
            self.assertEqual(libvirt.VIR_DOMAIN_RUNNING, self.state(each))

    def test_a_libvirt_that_is_not_there_is_told(self):
        self.assertRaises(
            exception.LibvirtUnreachable,
            suspension.suspend_level,
            'test:///nowhere.xml',
            's0:c1,c2',
        )
