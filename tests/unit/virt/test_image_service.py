# SPDX-License-Identifier: Apache-2.0
"""What glance answers about an image, or does not."""

from __future__ import annotations

from unittest import mock

import fixtures
import testtools
from glanceclient import exc as glance_exceptions
from keystoneauth1 import exceptions as keystone_exceptions
from nova import exception as nova_exception

from svirt_nova.virt import image_service
from svirt_nova.virt import private_images


class FindTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.call = self.useFixture(
            fixtures.MockPatch('nova.image.glance.GlanceClientWrapper.call')
        ).mock

    def test_it_is_asked_once_with_the_context_of_the_request(self):
        self.call.return_value = {
            'visibility': 'shared',
            'owner': 'project',
            'base_image_ref': 'of the owner',
        }
        self.assertEqual(
            private_images.Image('shared', 'project'),
            image_service.find(mock.sentinel.request, 'uuid'),
        )
        self.call.assert_called_once_with(
            mock.sentinel.request, 2, 'get', args=('uuid',)
        )

    def test_it_is_not_asked_without_a_request(self):
        self.assertIsNone(image_service.find(None, 'uuid'))
        self.call.assert_not_called()

    def test_no_answer_is_told(self):
        for error in (
            glance_exceptions.HTTPNotFound(),
            glance_exceptions.HTTPUnauthorized(),
            glance_exceptions.CommunicationError(),
            keystone_exceptions.EndpointNotFound(),
            nova_exception.GlanceConnectionFailed(server='x', reason='y'),
        ):
            self.call.side_effect = error
            self.assertIsNone(image_service.find(mock.sentinel.request, 'u'))
            self.assertIn(type(error).__name__, self.log.output)

    def test_half_an_answer_is_none(self):
        self.call.return_value = {'visibility': 'public'}
        self.assertIsNone(image_service.find(mock.sentinel.request, 'uuid'))
