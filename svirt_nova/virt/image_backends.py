# SPDX-License-Identifier: Apache-2.0
"""Nova's image backends for files: no header is followed, and not all share.

Nova's own tools follow what the header of a disk names: a snapshot uploads
it, a resize opens it for writing. These subclasses take the place of Nova's
in the table of one driver. They check a header before it is read, and make
disks that stand alone of images that not every guest may read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from nova.virt.libvirt import imagebackend
from oslo_concurrency import lockutils
from oslo_utils import fileutils

from svirt_nova.host import disk_chains
from svirt_nova.virt import image_copies
from svirt_nova.virt import image_sharing

CheckDisk = Callable[[Any, str, str], None]
"""Checks the header of a disk: its instance, its path, its format.

A file that is no disk of an instance is not checked.
"""

HidesImages = Callable[[], bool]
"""Whether this host keeps guests from images that are not for all."""


class Backend(imagebackend.Backend):  # type: ignore[misc]
    """Nova's table of image backends, with those for files replaced.

    :param use_cow: as Nova's
    :param check: checks a disk that exists
    :param hides_images: says whether disks may have to stand alone
    """

    def __init__(
        self, use_cow: bool, check: CheckDisk, hides_images: HidesImages
    ) -> None:
        super().__init__(use_cow)
        for name, kind in self.BACKEND.items():
            if kind is imagebackend.Qcow2:
                self.BACKEND[name] = _checking(
                    CheckedQcow2, check, hides_images
                )
            elif kind is imagebackend.Flat:
                self.BACKEND[name] = _checking(
                    CheckedFlat, check, hides_images
                )


def _checking(
    kind: type[Any], check: CheckDisk, hides_images: HidesImages
) -> type[Any]:
    return type(
        kind.__name__,
        (kind,),
        {
            'check_disk': staticmethod(check),
            'hides_images': staticmethod(hides_images),
        },
    )


class _Checked(imagebackend.Image):  # type: ignore[misc]
    """What both kinds of files have in common."""

    check_disk: CheckDisk
    hides_images: HidesImages
    _instance: Any
    _is_ours = False
    """Whether this object has made the file, so that no guest has seen it."""

    def __init__(self, instance: Any = None, **options: Any) -> None:
        self._instance = instance
        super().__init__(instance=instance, **options)

    def _check(self) -> None:
        if not self._is_ours and self.exists():
            self.check_disk(self._instance, self.path, self.driver_format)

    def cache(
        self,
        fetch_func: Callable[..., None],
        filename: str,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make the file, and before it that of the image cache.

        :param fetch_func: makes the latter, under a lock
        :param filename: the name of the latter
        """
        if self.hides_images() and 'image_id' in kwargs:
            fetch_func = functools.partial(
                image_sharing.fetch_closed, self._instance, fetch_func
            )
        super().cache(fetch_func, filename, *args, **kwargs)

    def create_image(
        self,
        prepare_template: Callable[..., None],
        base: str,
        size: int | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make the file, or go on with the one that exists.

        :param prepare_template: makes the file of the image cache
        :param base: the path of that file
        :param size: in bytes; None for that of the image
        """
        self._check()
        self._is_ours = not self.exists()
        source = None
        if self.hides_images():
            source = image_sharing.source_of(
                self._instance, self.path, base, kwargs.get('image_id')
            )
        if source is None:
            super().create_image(prepare_template, base, size, *args, **kwargs)
            return

        def prepare(*args: Any, target: str, **options: Any) -> None:
            prepare_template(*args, target=target, **options)
            if target == base:
                # It may have been copied from another host under its name.
                image_sharing.fetched(self._instance, base)

        if self._is_ours:
            self._make(source, prepare, size, *args, **kwargs)
        elif os.path.exists(base) or not image_sharing.is_alone(
            self._instance, source.disk
        ):
            super().create_image(prepare, base, size, *args, **kwargs)
        elif size:
            # Nothing needs the file of the image any more, which may be gone.
            self.resize_image(size)

    def _make(
        self,
        source: image_sharing.Source,
        prepare: Callable[..., None],
        size: int | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Make a file of an image."""
        super().create_image(prepare, source.base, size, *args, **kwargs)

    def resize_image(self, size: int) -> None:
        """Let the disk grow."""
        self._check()
        super().resize_image(size)

    def snapshot_extract(self, target: str, out_format: str) -> None:
        """Make an image of the disk of a guest that does not run."""
        self._check()
        super().snapshot_extract(target, out_format)


class CheckedQcow2(_Checked, imagebackend.Qcow2):  # type: ignore[misc]
    """A disk that may stand on a file of the image cache."""

    def _make(
        self,
        source: image_sharing.Source,
        prepare: Callable[..., None],
        size: int | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Let Nova make a disk, with its checks, and take its base away."""
        reach = image_sharing.decide(
            kwargs.get('context'), self._instance, source
        )
        if reach is image_sharing.Reach.ALONE:
            # If this process ends before the copy is made, the disk stands on
            # a file that it must not be started with.
            self._instance.save()
        super()._make(source, prepare, size, *args, **kwargs)
        image_sharing.close(self._instance, source, reach)
        if reach is not image_sharing.Reach.ALONE:
            return

        # The lock keeps the file of the image from being removed.
        with (
            fileutils.remove_path_on_error(self.path),
            lockutils.lock(
                self._get_lock_name(source.base),
                lock_file_prefix='nova-',
                external=True,
                lock_path=self.lock_path,
            ),
        ):
            image_copies.replace(self._instance, source.base, self.path)


class CheckedFlat(_Checked, imagebackend.Flat):  # type: ignore[misc]
    """A disk that stands alone."""

    def _make(
        self,
        source: image_sharing.Source,
        prepare: Callable[..., None],
        size: int | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Let Nova copy an image."""
        image_sharing.note_alone(self._instance, source)
        super()._make(source, prepare, size, *args, **kwargs)

    def _get_driver_format(self) -> str:
        """The format of a disk of which Nova has noted none.

        Nova looks at the file. It notes the format when it makes a disk, so
        that what is in another file may be a guest's.
        """
        if self._is_ours:
            found: str = super()._get_driver_format()
            return found
        return disk_chains.RAW
