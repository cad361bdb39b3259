# SPDX-License-Identifier: Apache-2.0
"""Nova's manager of the image cache, which follows no header of a disk."""

from __future__ import annotations

import os
from collections.abc import Callable

import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import imagecache

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import file_labels
from svirt_nova.virt import own_disks

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)


class ImageCacheManager(imagecache.ImageCacheManager):  # type: ignore[misc]
    """Finds out which images are in use without ``qemu-img info``.

    Nova asks about disks that a running QEMU can change. The tool can be made
    to wait for ever, and with it all that nova-compute does regularly.

    :param distrusts_headers: whether guests may have written them
    """

    def __init__(self, distrusts_headers: Callable[[], bool]) -> None:
        super().__init__()
        self._distrusts_headers = distrusts_headers

    def _list_backing_images(self) -> list[str]:
        """The files of the image cache that root disks stand on.

        :raises nova.exception.InvalidDiskInfo: the header of a disk cannot
            be read; no image is removed then
        """
        if not self._distrusts_headers():
            novas: list[str] = super()._list_backing_images()
            return novas
        found: list[str] = []
        for name in os.listdir(CONF.instances_path):
            disk = os.path.join(CONF.instances_path, name, 'disk')
            if name not in self.instance_names or not os.path.exists(disk):
                continue
            base = _base_of(disk)
            if base is not None and base not in found:
                found.append(base)
        for base in found:
            # It is in use, whether glance has the image or not.
            if base in self.unexplained_images:
                self.unexplained_images.remove(base)
        return found


def _base_of(disk: str) -> str | None:
    """The path of the file of the image cache that a disk stands on.

    :returns: None if it stands alone, or is gone
    """
    try:
        data = file_labels.read_header(CONF.instances_path, disk)
    except exception.LabelError as error:
        if not os.path.exists(disk):
            # The instance was deleted meanwhile.
            return None
        raise nova_exception.InvalidDiskInfo(reason=str(error)) from error
    if disk_headers.format_of(data) != disk_chains.QCOW2:
        return None
    try:
        header = disk_headers.read(disk, data, disk_chains.QCOW2)
    except exception.ForgedDisk as error:
        # Nova keeps the image of the instance all the same, and one guest
        # must not keep others from being removed.
        LOG.warning('It is not known what %s stands on: %s', disk, error)
        return None
    if header.backing_file is None:
        return None
    return os.path.join(
        own_disks.cache_directory(), os.path.basename(header.backing_file)
    )
