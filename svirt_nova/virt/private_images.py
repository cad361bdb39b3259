# SPDX-License-Identifier: Apache-2.0
"""Whom an instance shares the file of its image with.

What is decided when a disk is made is kept in the system_metadata of the
instance, because most operations that come later cannot ask the image service:
they have no token, or the image is gone. No tenant can write there: what the
owner of an image says in its properties gets the prefix ``image_``.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import nova.conf

CONF = nova.conf.CONF

_KEYS = {
    'disk': 'svirt_nova_image',
    'disk.rescue': 'svirt_nova_rescue_image',
}
"""Where the reach of the image below a disk is kept, by the disk's name."""

_OPEN = ('public', 'community')


class Reach(enum.StrEnum):
    """Who may read the file of the image cache below a disk."""

    PUBLIC = 'public'
    """Every guest."""

    PROJECT = 'project'
    """The guests of the project that owns the image."""

    ALONE = 'alone'
    """No guest: the disk has everything that it needs in itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """What the image service says of an image.

    :param visibility: public, community, shared or private
    :param owner: the UUID of a project
    """

    visibility: str
    owner: str | None


def is_isolated() -> bool:
    """Whether private images are kept from other guests."""
    return bool(CONF.svirt.private_images == 'isolate')


def decide(image: Image | None, project_id: str, has_part: bool) -> Reach:
    """Decide whom a new disk shares the file of its image with.

    An image that its owner has shared is treated like a private one: those
    that it is shared with get disks that stand alone, so that only the owner
    reads the file. It is also what the image service makes of an image of
    which its owner has said nothing.

    :param image: None if the image service gave no answer
    :param project_id: the project of the instance
    :param has_part: whether the level of the instance has a part that its
        project shares
    """
    if image is None:
        return Reach.ALONE
    if image.visibility in _OPEN:
        return Reach.PUBLIC
    if has_part and image.owner == project_id:
        return Reach.PROJECT
    return Reach.ALONE


def remembered(instance: Any, disk: str, image: str | None) -> Reach | None:
    """What was decided for a disk.

    :param disk: the name of the disk
    :param image: the UUID of the image that it is made of
    :returns: None if nothing was, or for another image
    """
    if disk not in _KEYS or not image:
        return None
    kept, _, reach = str(
        instance.system_metadata.get(_KEYS[disk], '')
    ).partition(':')
    if kept != image or reach not in list(Reach):
        return None
    return Reach(reach)


def remember(
    instance: Any, disk: str, image: str, reach: Reach | None
) -> None:
    """Keep what was decided for a disk.

    Nova saves it with the instance, after the guest was started.

    :param reach: None to forget what was decided earlier
    """
    key = _KEYS.get(disk)
    if key is None:
        return
    if reach is None:
        instance.system_metadata.pop(key, None)
    else:
        instance.system_metadata[key] = f'{image}:{reach}'
