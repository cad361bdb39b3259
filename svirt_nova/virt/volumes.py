# SPDX-License-Identifier: Apache-2.0
"""File-backed volumes: which file, and its label."""

from __future__ import annotations

import os
from typing import Any

from nova.virt.libvirt.volume import fs
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import files
from svirt_nova import level as levels

LOG = logging.getLogger(__name__)


def own_file(
    volume_driver: Any, connection_info: dict[str, Any]
) -> str | None:
    """The file of a volume that only one instance may use.

    A multiattach volume is left to libvirt: the level of one of its
    instances would cut the others off.

    :param volume_driver: Nova's driver for this kind of volume
    :returns: None for volumes that are devices, or that are shared
    """
    if connection_info.get('multiattach') or not isinstance(
        volume_driver, fs.LibvirtBaseFileSystemVolumeDriver
    ):
        return None
    path: str | None = connection_info['data'].get('device_path')
    return path


def label(path: str, level: levels.Level) -> None:
    """Give the file of a connected volume a level.

    :raises LabelError: it does not take it
    """
    files.label(os.path.dirname(path), path, level)


def restore(instance: Any, path: str) -> None:
    """Put the label of a volume's file back, while it is connected."""
    try:
        files.restore(os.path.dirname(path), path)
    except exception.SvirtError as error:
        # The volume is leaving all the same; its old level keeps
        # everybody else out until it is labelled anew.
        LOG.warning(
            'The label of the volume was not put back: %s',
            error,
            instance=instance,
        )
