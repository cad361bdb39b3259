# SPDX-License-Identifier: Apache-2.0
"""The rule by which an instance shares the file of its image, and its record.

The table has every combination of what the rule looks at.
"""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import testtools
from nova import utils as nova_utils

from svirt_nova.virt import private_images
from svirt_nova.virt.private_images import Image
from svirt_nova.virt.private_images import Reach


class RuleTest(testtools.TestCase):
    def _decide(self, visibility, owner, has_part):
        return private_images.decide(Image(visibility, owner), 'own', has_part)

    def test_each_combination(self):
        expected = {
            # Visibility, whether the project owns it, whether the level has
            # a part of the project.
            ('public', True, True): Reach.PUBLIC,
            ('public', True, False): Reach.PUBLIC,
            ('public', False, True): Reach.PUBLIC,
            ('public', False, False): Reach.PUBLIC,
            ('community', True, True): Reach.PUBLIC,
            ('community', True, False): Reach.PUBLIC,
            ('community', False, True): Reach.PUBLIC,
            ('community', False, False): Reach.PUBLIC,
            ('private', True, True): Reach.PROJECT,
            ('private', True, False): Reach.ALONE,
            ('private', False, True): Reach.ALONE,
            ('private', False, False): Reach.ALONE,
            ('shared', True, True): Reach.PROJECT,
            ('shared', True, False): Reach.ALONE,
            ('shared', False, True): Reach.ALONE,
            ('shared', False, False): Reach.ALONE,
            ('unheard of', True, True): Reach.PROJECT,
            ('unheard of', True, False): Reach.ALONE,
            ('unheard of', False, True): Reach.ALONE,
            ('unheard of', False, False): Reach.ALONE,
        }
        found = {
            (visibility, is_own, has_part): self._decide(
                visibility, 'own' if is_own else 'another', has_part
            )
            for visibility, is_own, has_part in itertools.product(
                ('public', 'community', 'private', 'shared', 'unheard of'),
                (True, False),
                (True, False),
            )
        }
        self.assertEqual(expected, found)

    def test_an_image_without_an_owner_is_nobodys(self):
        self.assertIs(Reach.ALONE, self._decide('private', None, True))

    def test_an_unknown_image_is_not_shared(self):
        for has_part in (True, False):
            self.assertIs(
                Reach.ALONE, private_images.decide(None, 'own', has_part)
            )


class RecordTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.instance = SimpleNamespace(system_metadata={})

    def _remembered(self, disk='disk', image='image'):
        return private_images.remembered(self.instance, disk, image)

    def test_each_reach_is_remembered(self):
        for reach in Reach:
            private_images.remember(self.instance, 'disk', 'image', reach)
            self.assertIs(reach, self._remembered())

    def test_it_counts_for_that_image_and_that_disk_alone(self):
        private_images.remember(self.instance, 'disk', 'image', Reach.PUBLIC)
        self.assertIsNone(self._remembered(image='another'))
        self.assertIsNone(self._remembered(image=None))
        self.assertIsNone(self._remembered(disk='disk.rescue'))
        self.assertIsNone(self._remembered(disk='kernel'))

    def test_it_can_be_forgotten(self):
        private_images.remember(self.instance, 'disk', 'image', None)
        private_images.remember(self.instance, 'disk', 'image', Reach.PUBLIC)
        private_images.remember(self.instance, 'disk', 'image', None)
        self.assertEqual({}, self.instance.system_metadata)

    def test_other_files_leave_no_record(self):
        for name in ('kernel', 'disk.swap'):
            private_images.remember(self.instance, name, 'image', Reach.ALONE)
        self.assertEqual({}, self.instance.system_metadata)

    def test_a_record_that_makes_no_sense_counts_for_nothing(self):
        for text in ('', 'image', 'image:', 'image:all', ':public'):
            self.instance.system_metadata['svirt_nova_image'] = text
            self.assertIsNone(self._remembered())

    def test_no_property_of_an_image_gets_to_the_record(self):
        """Nova puts a prefix before them: SM_IMAGE_PROP_PREFIX."""
        private_images.remember(self.instance, 'disk', 'image', Reach.PUBLIC)
        for key in self.instance.system_metadata:
            self.assertFalse(key.startswith(nova_utils.SM_IMAGE_PROP_PREFIX))
