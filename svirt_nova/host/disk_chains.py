# SPDX-License-Identifier: Apache-2.0
"""What a guest's disk is made of: its files, their formats and labels.

Such a chain comes from what Nova and cinder know, and never from the header
of a disk alone, which a guest may have written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from svirt_nova.mcs import levels

QCOW2 = 'qcow2'
RAW = 'raw'

HEADER_SIZE = 1 << 16
"""Bytes from the start of a file in which its header is read: the default
cluster of qcow2, in which QEMU puts the name of the backing file."""

EVERYBODY = levels.Level(frozenset())
"""The level of files that every guest may use."""

NOBODY = levels.Level(frozenset(range(levels.CATEGORY_LIMIT)))
"""The level of files that no guest may use: it has all categories, and no
level of a guest has that many."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One file of a chain.

    :param path: an absolute path
    :param format: the format of the file: qcow2 or raw
    :param root: the directory below which no symbolic link is followed
    :param level: the level that the file must carry, :data:`EVERYBODY` for a
        file that is nobody's; None leaves the file to libvirt, which opens it
        to every guest
    :param writable: whether QEMU may write the file
    """

    path: str
    format: str
    root: str
    level: levels.Level | None
    writable: bool = True


Chain = tuple[Link, ...]
"""The files of a disk, from the top to the bottom."""

Chains = Mapping[str, Chain | None]
"""The chains of a guest's disks, by the path of the file on top.

None stands for a disk that the configuration lets go to libvirt as Nova made
it, although it could not be told what it is made of.
"""
