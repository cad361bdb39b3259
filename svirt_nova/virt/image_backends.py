# SPDX-License-Identifier: Apache-2.0
"""Nova's image backends for files, checking a header before it is read.

Nova's own tools follow what the header of a disk names: a snapshot uploads
it, a resize opens it for writing. These subclasses take the place of Nova's
in the table of one driver.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova.virt.libvirt import imagebackend

from svirt_nova.host import disk_chains

CheckDisk = Callable[[Any, str, str], None]
"""Checks the header of a disk: its instance, its path, its format.

A file that is no disk of an instance is not checked.
"""


class Backend(imagebackend.Backend):  # type: ignore[misc]
    """Nova's table of image backends, with those for files replaced.

    :param use_cow: as Nova's
    :param check: checks a disk that exists
    """

    def __init__(self, use_cow: bool, check: CheckDisk) -> None:
        super().__init__(use_cow)
        for name, kind in self.BACKEND.items():
            if kind is imagebackend.Qcow2:
                self.BACKEND[name] = _checking(CheckedQcow2, check)
            elif kind is imagebackend.Flat:
                self.BACKEND[name] = _checking(CheckedFlat, check)


def _checking(kind: type[Any], check: CheckDisk) -> type[Any]:
    return type(kind.__name__, (kind,), {'check_disk': staticmethod(check)})


class _Checked(imagebackend.Image):  # type: ignore[misc]
    """What both kinds of files have in common."""

    check_disk: CheckDisk
    _instance: Any
    _is_ours = False
    """Whether this object has made the file, so that no guest has seen it."""

    def __init__(self, instance: Any = None, **options: Any) -> None:
        self._instance = instance
        super().__init__(instance=instance, **options)

    def _check(self) -> None:
        if not self._is_ours and self.exists():
            self.check_disk(self._instance, self.path, self.driver_format)

    def create_image(self, *args: Any, **kwargs: Any) -> None:
        """Make the file, or go on with the one that exists."""
        self._check()
        self._is_ours = not self.exists()
        super().create_image(*args, **kwargs)

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


class CheckedFlat(_Checked, imagebackend.Flat):  # type: ignore[misc]
    """A disk that stands alone."""

    def _get_driver_format(self) -> str:
        """The format of a disk of which Nova has noted none.

        Nova looks at the file. It notes the format when it makes a disk, so
        that what is in another file may be a guest's.
        """
        if self._is_ours:
            found: str = super()._get_driver_format()
            return found
        return disk_chains.RAW
