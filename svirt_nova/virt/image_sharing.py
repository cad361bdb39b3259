# SPDX-License-Identifier: Apache-2.0
"""Decides, when Nova makes a disk of an image, whether it stands alone."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

from nova.compute import task_states
from oslo_utils import fileutils

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import faults
from svirt_nova.virt import image_bases
from svirt_nova.virt import image_service
from svirt_nova.virt import own_disks
from svirt_nova.virt import private_images

LOG = logs.get_logger(__name__)

Reach = private_images.Reach


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What a disk is made of.

    :param disk: the name of the disk
    :param image: the UUID of the image that the file below it has
    :param base: the path of that file in the image cache
    """

    disk: str
    image: str
    base: str


def source_of(
    instance: Any, path: str, base: str, image: str | None
) -> Source | None:
    """What Nova makes a file of an instance of.

    :param path: the path of the file
    :param base: the file of the image cache
    :param image: the UUID of the image, if Nova names it; it does not when it
        copies the file of the cache from another host
    :returns: None for what Nova makes for everybody
    """
    name = own_disks.name_of(instance, path) or os.path.basename(path)
    image = image or own_disks.image_of(instance, name, base)
    return None if image is None else Source(name, image, base)


def is_alone(instance: Any, disk: str) -> bool:
    """Whether a disk of an instance was made to stand alone."""
    return (
        private_images.remembered(instance, disk, instance.image_ref)
        is Reach.ALONE
    )


def may_rebase(instance: Any) -> bool:
    """Whether a disk that is made of a snapshot goes on the image before it.

    See :func:`own_disks.stands_on_former_image`.
    """
    former = own_disks.former_image(instance)
    return own_disks.stands_on_former_image(instance) and (
        private_images.remembered(instance, 'disk', former) is not Reach.ALONE
    )


def decide(request: Any, instance: Any, source: Source) -> Reach | None:
    """Decide whom a disk that Nova is about to make shares its image with.

    An instance that is unshelved is made of a snapshot; what counts is the
    image that it stood on before.

    :param request: the request context; None if there is none
    :returns: None to leave the disk as Nova makes it
    """
    image = _lasting(instance, source)
    reach = None
    if instance.task_state == task_states.MIGRATING:
        # It is as the source of the migration has it.
        return private_images.remembered(instance, source.disk, image)
    if private_images.is_isolated():
        found = image_service.find(request, image)
        project = _project_level(instance)
        if found is None:
            reach = private_images.remembered(instance, source.disk, image)
        else:
            reach = private_images.decide(
                found, instance.project_id, project is not None
            )
        if reach is None or (
            reach is Reach.PROJECT
            and (
                project is None
                or not image_bases.may_join(project, own_disks.base_of(image))
            )
        ):
            reach = Reach.ALONE
    private_images.remember(instance, source.disk, image, reach)
    return reach


def note_alone(instance: Any, source: Source) -> None:
    """Note that a disk is made which stands alone in any case."""
    private_images.remember(
        instance, source.disk, _lasting(instance, source), Reach.ALONE
    )


def fetch_closed(
    instance: Any,
    fetch: Callable[..., None],
    *args: Any,
    target: str,
    **options: Any,
) -> None:
    """Fetch a file, which is closed before it gets its name in the cache.

    No guest that starts meanwhile has opened it then.

    :param fetch: fetches it, as ``nova.virt.libvirt.utils.fetch_image``
    :param target: the path of the file in the image cache
    :raises nova.exception.NovaException: it takes no label, and the mode is
        enforcing
    """
    new = f'{target}.new'
    with fileutils.remove_path_on_error(new):
        fetch(*args, target=new, **options)
        fetched(instance, new)
        os.rename(new, target)


def fetched(instance: Any, base: str) -> None:
    """Close a file that has just come from elsewhere.

    :raises nova.exception.NovaException: it takes no label, and the mode is
        enforcing
    """
    if private_images.is_isolated():
        with faults.raised_to_nova(instance):
            image_bases.close_new(base)


def cached(image: str) -> None:
    """Close the file of an image that was fetched before any guest needs it.

    :param image: the UUID of the image
    """
    if not private_images.is_isolated():
        return
    base = own_disks.base_of(image)
    try:
        image_bases.close_new(base)
    except exception.SvirtError as error:
        LOG.warning('The file of an image cannot be closed: %s', error)


def close(instance: Any, source: Source, reach: Reach | None) -> None:
    """Close the file of an image as far as a disk lets it.

    :param reach: what was decided for the disk
    :raises nova.exception.NovaException: it takes no label, and the mode is
        enforcing
    """
    if reach is None or reach is Reach.PUBLIC:
        return
    project = _project_level(instance) if reach is Reach.PROJECT else None
    with faults.raised_to_nova(instance):
        if reach is Reach.ALONE:
            image_bases.close_new(source.base)
        if reach is Reach.ALONE or project is not None:
            image_bases.close(instance, source.image, source.base, project)


def review(request: Any, instance: Any, base: str) -> None:
    """Look again at the image below the disk of a guest that is off.

    Of an instance from before it is not known how far its image is open.

    :param base: the file of the image cache that the disk stands on
    :raises nova.exception.NovaException: see :func:`close`
    """
    source = source_of(instance, 'disk', base, None)
    if (
        source is None
        or instance.task_state == task_states.MIGRATING
        or not private_images.is_isolated()
    ):
        return
    reach = private_images.remembered(instance, source.disk, source.image)
    if reach is None:
        found = image_service.find(request, source.image)
        if found is None:
            return
        reach = private_images.decide(
            found, instance.project_id, _project_level(instance) is not None
        )
        if reach is Reach.ALONE:
            # The disk stands on the file all the same.
            return
        private_images.remember(instance, source.disk, source.image, reach)
    close(instance, source, reach)


def _lasting(instance: Any, source: Source) -> str:
    """The image that a disk stands on when all is done."""
    former = own_disks.former_image(instance)
    if source.disk != 'disk' or former is None:
        return source.image
    return former


def _project_level(instance: Any) -> levels.Level | None:
    """The part of its level that an instance shares with its project."""
    held = claims.remembered_levels(instance)
    return None if held is None else held.project
