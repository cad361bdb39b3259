# SPDX-License-Identifier: Apache-2.0

from unittest import mock

import testtools

from svirt_nova import exception
from svirt_nova.allocator import base
from svirt_nova.host import domain_xml
from svirt_nova.lifecycle import adoption
from svirt_nova.mcs import levels
from tests import samples


class AdoptTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.allocator = mock.create_autospec(base.Allocator, instance=True)

    def _adopt(self, *domains):
        return adoption.adopt(self.allocator, 'here', domains)

    def test_the_level_that_a_guest_runs_with_becomes_its_own(self):
        level = levels.Level.parse('s0:c4,c9')
        self.assertEqual(
            [adoption.Outcome(samples.INSTANCE_UUID, level)],
            self._adopt(samples.labelled_domain()),
        )
        self.allocator.adopt.assert_called_once_with(
            samples.INSTANCE_UUID, 'p', 'here', level
        )

    def test_a_clash_is_listed_and_the_others_go_on(self):
        self.allocator.adopt.side_effect = [
            exception.LevelTaken('held by another'),
            exception.NotInSpace('outside'),
            exception.LimitReached('too many'),
            None,
        ]
        outcomes = self._adopt(
            *(samples.labelled_domain() for _ in range(4)),
        )
        self.assertEqual(
            ['held by another', 'outside', 'too many', ''],
            [outcome.problem for outcome in outcomes],
        )

    def test_other_domains_are_passed_over(self):
        self.assertEqual(
            [],
            self._adopt(
                samples.labelled_domain(kind='static'),
                samples.labelled_domain(owner=''),
                samples.DOMAIN % samples.OWNER,
            ),
        )
        self.allocator.adopt.assert_not_called()

    def test_guests_after_one_that_is_passed_over_are_recorded(self):
        level = levels.Level.parse('s0:c4,c9')
        for passed_over in (
            samples.labelled_domain(kind='static'),
            samples.labelled_domain(owner=''),
            'no XML',
        ):
            self.assertEqual(
                [adoption.Outcome(samples.INSTANCE_UUID, level)],
                self._adopt(passed_over, samples.labelled_domain()),
            )

    def test_a_store_that_is_away_is_an_error(self):
        self.allocator.adopt.side_effect = exception.StoreUnreachable('away')
        self.assertRaises(
            exception.StoreUnreachable, self._adopt, samples.labelled_domain()
        )


class OwnerTest(testtools.TestCase):
    def test_novas_metadata_names_the_owner(self):
        self.assertEqual(
            domain_xml.Owner(samples.INSTANCE_UUID, 'p'),
            domain_xml.owner(samples.labelled_domain()),
        )

    def test_a_domain_of_somebody_else_has_none(self):
        self.assertIsNone(domain_xml.owner(samples.DOMAIN % ''))
