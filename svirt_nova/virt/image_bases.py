# SPDX-License-Identifier: Apache-2.0
"""Which level a file of the image cache carries.

A file that guests may read has the type ``virt_content_t``, and its level says
which guests. A start opens it as far as its guest needs, and never closes it.
It is closed only if no instance that may stand on it loses its access.
"""

from __future__ import annotations

import os
from typing import Any

import nova.conf
import oslo_messaging
from nova import exception as nova_exception

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import types
from svirt_nova.host import disk_chains
from svirt_nova.host import file_labels
from svirt_nova.host import image_contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import private_images
from svirt_nova.virt import whereabouts

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)

Reach = private_images.Reach


def level_of(
    instance: Any,
    held: types.InstanceLevels,
    disk: str,
    image: str | None,
    base: str,
) -> levels.Level:
    """The level at which an instance gets the file below its disk.

    :param held: the levels of the instance
    :param disk: the name of the disk
    :param image: the UUID of the image that the file has; None for a file
        that Nova makes for everybody
    :param base: the path of the file
    :raises LabelError: its label cannot be read
    """
    if image is None or not private_images.is_isolated():
        return disk_chains.EVERYBODY
    if (
        private_images.remembered(instance, disk, image) is Reach.PUBLIC
        or _readers(base) == disk_chains.EVERYBODY
    ):
        return disk_chains.EVERYBODY
    if held.project is not None and may_join(held.project, base):
        return held.project
    LOG.warning(
        'The file %s of the image %s is opened to every guest of the host: '
        'the instance has stood on it since private images were open, or the '
        'image has changed its owner. Rebuild the instance to change that',
        base,
        image,
        instance=instance,
    )
    return disk_chains.EVERYBODY


def may_join(project: levels.Level, base: str) -> bool:
    """Whether a project can read a file without opening it to others.

    :param project: the level that instances of the project share
    :param base: the path of the file; it need not exist
    :returns: False if the file is another project's
    """
    return _readers(base) in (
        None,
        disk_chains.NOBODY,
        disk_chains.EVERYBODY,
        project,
    )


def close_new(base: str) -> None:
    """Close a file to every guest, unless it was opened to some.

    The start of a guest opens it as far as that guest needs. Storage that
    carries no labels is left to the checks of the start.

    :raises LabelError: it takes no label
    """
    if _readers(base) is None and file_labels.read(base) is not None:
        file_labels.share(CONF.instances_path, base, disk_chains.NOBODY)


def close(
    instance: Any, image: str, base: str, project: levels.Level | None
) -> None:
    """Close a file that is open to all, if all its users can do with that.

    :param instance: the instance that needs it to be open no further
    :param image: the UUID of the image that the file has
    :param project: the level that instances of the project share, if they
        stand on the file; None if the instance does not need it
    :raises LabelError: it takes no label
    """
    if _readers(base) != disk_chains.EVERYBODY:
        return
    enough = {Reach.ALONE} if project is None else {Reach.ALONE, Reach.PROJECT}
    if _may_close(instance, image, enough):
        level = disk_chains.NOBODY if project is None else project
        file_labels.share(CONF.instances_path, base, level)
        LOG.info(
            'The file %s of the private image %s is closed to other guests',
            base,
            image,
            instance=instance,
        )


def _readers(base: str) -> levels.Level | None:
    """The level of the guests that may read a file.

    :returns: None if no guests may
    :raises LabelError: its label cannot be read
    """
    try:
        carried = file_labels.read(base)
    except exception.LabelError:
        if os.path.lexists(base):
            raise
        return None
    if carried is None or carried.type != image_contexts.readable().type:
        return None
    return carried.level


def _may_close(instance: Any, image: str, enough: set[Reach]) -> bool:
    """Whether all others that may use a file can do without a part of it.

    They are told by Nova's records of all hosts, because hosts may share the
    file, and a header is the word of a guest.

    :param instance: the instance that asks
    :param image: the UUID of the image that the file has
    :param enough: the reaches with which another can
    :returns: False as well if Nova's conductor does not answer
    """

    def needs_more(user: Any, disk: str) -> bool:
        reach = private_images.remembered(user, disk, image)
        return user.uuid != instance.uuid and (
            reach not in enough
            or (
                reach is Reach.PROJECT
                and user.project_id != instance.project_id
            )
        )

    try:
        others = [
            user.uuid
            for disk, found in (
                ('disk', whereabouts.find_instances_of(image)),
                ('disk.rescue', whereabouts.find_rescued()),
            )
            for user in found
            if needs_more(user, disk)
        ]
    except (
        nova_exception.NovaException,
        oslo_messaging.MessagingException,
    ) as error:
        LOG.warning(
            'The file of the private image %s stays open to every guest of '
            'the host, because Nova does not say who uses it: %s',
            image,
            error,
            instance=instance,
        )
        return False
    if others:
        LOG.warning(
            'The file of the private image %s stays open to every guest of '
            'the host, because %d other instances may need that, such as '
            '%s. Hard-reboot or rebuild them',
            image,
            len(others),
            others[0],
            instance=instance,
        )
    return not others
