# SPDX-License-Identifier: Apache-2.0
"""Asks the image service who may use an image."""

from __future__ import annotations

from typing import Any

from glanceclient import exc as glance_exceptions
from keystoneauth1 import exceptions as keystone_exceptions
from nova import exception as nova_exception
from nova.image import glance

from svirt_nova import logs
from svirt_nova.virt import private_images

LOG = logs.get_logger(__name__)


def find(request: Any, image: str) -> private_images.Image | None:
    """Ask for one image, with one call.

    Nova's own function for this keeps of the visibility only whether it is
    public (``nova.image.glance._extract_attributes_v2``).

    :param request: the request context, whose user must be able to see the
        image; None if there is none
    :param image: the UUID of the image
    :returns: None if there is no answer, and for an image that is gone
    """
    if request is None:
        return None
    try:
        found = glance.GlanceClientWrapper().call(
            request, 2, 'get', args=(image,)
        )
        return private_images.Image(found['visibility'], found['owner'])
    except (
        glance_exceptions.BaseException,
        glance_exceptions.ClientException,
        keystone_exceptions.ClientException,
        nova_exception.NovaException,
        # An answer without these attributes.
        KeyError,
    ) as error:
        LOG.warning(
            'The image service does not say who may use the image %s: %r',
            image,
            error,
        )
        return None
