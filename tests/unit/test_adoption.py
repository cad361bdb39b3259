# SPDX-License-Identifier: Apache-2.0

from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import adoption
from svirt_nova.mcs import levels
from tests.unit import test_seclabel

UUID = '9d6d1b09-6d26-4ea5-8c0c-4d2c0c6c9e1b'
OWNER = """
  <metadata>
    <nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1">
      <nova:owner>
        <nova:user uuid="u">user</nova:user>
        <nova:project uuid="p">project</nova:project>
      </nova:owner>
    </nova:instance>
  </metadata>
"""


def _domain(kind='dynamic', owner=OWNER, level=':c4,c9'):
    return test_seclabel.DOMAIN % (
        f"<seclabel type='{kind}' model='selinux' relabel='yes'>"
        f'<label>system_u:system_r:svirt_t:s0{level}</label>'
        f'<imagelabel>system_u:object_r:svirt_image_t:s0{level}'
        f'</imagelabel></seclabel>{owner}'
    )


class AdoptTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)

    def _adopt(self, *domains):
        return adoption.adopt(self.allocator, 'here', domains)

    def test_the_level_that_a_guest_runs_with_becomes_its_own(self):
        level = levels.Level.parse('s0:c4,c9')
        self.assertEqual(
            [adoption.Outcome(UUID, level)], self._adopt(_domain())
        )
        self.allocator.adopt.assert_called_once_with(UUID, 'p', 'here', level)

    def test_a_clash_is_listed_and_the_others_go_on(self):
        self.allocator.adopt.side_effect = [
            exception.LevelTaken('held by another'),
            exception.NotInSpace('outside'),
            None,
        ]
        outcomes = self._adopt(_domain(), _domain(), _domain())
        self.assertEqual(
            ['held by another', 'outside', ''],
            [outcome.problem for outcome in outcomes],
        )

    def test_other_domains_are_passed_over(self):
        self.assertEqual(
            [],
            self._adopt(
                _domain(kind='static'),
                _domain(owner=''),
                test_seclabel.DOMAIN % OWNER,
            ),
        )
        self.allocator.adopt.assert_not_called()

    def test_a_store_that_is_away_is_an_error(self):
        self.allocator.adopt.side_effect = exception.StoreUnreachable('away')
        self.assertRaises(exception.StoreUnreachable, self._adopt, _domain())


class OwnerTest(testtools.TestCase):
    def test_novas_metadata_names_the_owner(self):
        self.assertEqual(
            domain_xml.Owner(UUID, 'p'), domain_xml.owner(_domain())
        )

    def test_a_domain_of_somebody_else_has_none(self):
        self.assertIsNone(domain_xml.owner(test_seclabel.DOMAIN % ''))
