# SPDX-License-Identifier: Apache-2.0
"""What is said of levels of one guest that do not agree."""

from __future__ import annotations

import testtools

from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import guest_labels
from svirt_nova.lifecycle import drift
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from tests import samples

UUID = samples.INSTANCE_UUID
LEVEL = samples.LEVEL
PROJECT = levels.Level.parse('s0:c12')
PROCESS = contexts.Context.parse(samples.PROCESS_TEXT)
IMAGE = contexts.Context.parse(samples.IMAGE_TEXT)


def _held(**changes):
    given = {
        'level': LEVEL,
        'instance_uuid': UUID,
        'project_id': 'p',
        'hosts': frozenset(['here']),
    }
    return types.Allocation(**{**given, **changes})


def _domain(kind='static', level=':c12,c900', owner=samples.OWNER):
    return samples.labelled_domain(kind, owner, level)


def _read(xml, process, read_file=None):
    return guest_labels.read(
        guest_labels.Domain(UUID, 'web', xml, process=process), read_file
    )


class DriftTest(testtools.TestCase):
    def _find(self, guest, held=None, **expected):
        return drift.find(
            guest,
            drift.Expectation(
                'here', PROCESS, IMAGE, samples.CONTENT, held, **expected
            ),
        )

    def test_a_guest_whose_levels_agree_has_no_finding(self):
        guest = _read(_domain(), str(samples.PROCESS))
        self.assertEqual([], self._find(guest, _held()))

    def test_each_finding_says_what_to_do(self):
        guest = _read(_domain(), f'{samples.PROCESS_TEXT}:c1,c2')
        found = self._find(guest, _held(hosts=frozenset()))
        self.assertEqual(
            [drift.Place.PROCESS, drift.Place.STORE],
            [each.place for each in found],
        )
        for each in found:
            self.assertTrue(str(each).endswith(each.remedy))
            self.assertTrue(each.is_wrong)

    def test_a_process_at_the_level_of_its_project_is_wrong(self):
        guest = _read(_domain(level=':c12'), f'{samples.PROCESS_TEXT}:c12')
        [found] = self._find(guest, _held(project_level=PROJECT))
        self.assertIn('which is for what its project shares', str(found))

    def test_a_guest_that_nova_did_not_make_has_no_finding(self):
        guest = _read(_domain(owner=''), f'{samples.PROCESS_TEXT}:c1,c2')
        self.assertEqual([], self._find(guest))

    def test_a_guest_from_before_svirt_nova_deserves_a_look(self):
        guest = _read(_domain('dynamic'), str(samples.PROCESS))
        found = self._find(guest)
        self.assertEqual({False}, {each.is_wrong for each in found})
        self.assertIn('svirt-nova adopt', str(found[0]))

    def test_a_level_that_was_given_and_that_the_store_lost_is_wrong(self):
        guest = _read(_domain(), str(samples.PROCESS))
        [found] = self._find(guest)
        self.assertTrue(found.is_wrong)
        self.assertIn('the instance holds no level', str(found))

    def test_a_stopped_instance_without_a_level_deserves_a_look(self):
        [found] = self._find(_read(_domain('dynamic'), None))
        self.assertFalse(found.is_wrong)

    def test_storage_without_labels_may_be_accepted(self):
        guest = _read(_domain(), str(samples.PROCESS), lambda path: None)
        for refuses in (True, False):
            found = self._find(guest, _held(), refuses_unlabeled=refuses)
            self.assertEqual({refuses}, {each.is_wrong for each in found})

    def test_a_disk_that_guests_share_on_purpose_has_no_finding(self):
        """Where no level is there for what a project shares."""
        everybody = IMAGE.at(levels.Level(frozenset()))
        guest = _read(_domain(), str(samples.PROCESS), lambda path: everybody)
        paths = {
            file.path
            for file in guest.files
            if file.disk is domain_xml.DiskLabel.SHARED
        }
        self.assertEqual({'/m/h/shared'}, paths)
        found = self._find(guest, _held())
        self.assertEqual(3, len(found))
        self.assertNotIn('/m/h/shared', ' '.join(map(str, found)))

    def test_a_file_at_the_level_of_its_project_has_no_finding(self):
        guest = _read(
            _domain(), str(samples.PROCESS), lambda path: IMAGE.at(PROJECT)
        )
        self.assertEqual([], self._find(guest, _held(project_level=PROJECT)))

    def test_a_remembered_level_is_compared_where_there_is_one(self):
        guest = _read(_domain(), str(samples.PROCESS))
        for own, number in ((LEVEL, 0), (PROJECT, 1)):
            remembered = types.InstanceLevels(own, None)
            self.assertEqual(
                number,
                len(self._find(guest, _held(), remembered=remembered)),
            )

    def test_two_guests_at_one_level_meet(self):
        guest = _read(_domain(), str(samples.PROCESS))
        other = guest_labels.read(
            guest_labels.Domain(
                'other', 'own', _domain(owner=''), process=str(samples.PROCESS)
            )
        )
        found = drift.find_meetings([guest, other], [_held()], 'here')
        self.assertEqual([UUID], [*found])
        self.assertIn('the guest own on here', str(found[UUID][0]))
        self.assertEqual({}, drift.find_meetings([guest], [_held()], 'here'))


class StrangerTest(testtools.TestCase):
    def test_a_confined_guest_is_right(self):
        guest = _read(_domain(owner=''), str(samples.PROCESS))
        self.assertEqual([], drift.of_stranger(guest))

    def test_an_unconfined_guest_deserves_a_look(self):
        [found] = drift.of_stranger(
            _read(samples.DOMAIN % '', 'u:r:virtd_t:s0')
        )
        self.assertFalse(found.is_wrong)
        self.assertIn('u:r:virtd_t:s0', str(found))

    def test_a_stopped_guest_is_right(self):
        self.assertEqual(
            [], drift.of_stranger(_read(samples.DOMAIN % '', None))
        )
