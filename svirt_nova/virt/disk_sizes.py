# SPDX-License-Identifier: Apache-2.0
"""What the disks of a guest take, of which no tool follows the header.

Nova asks ``qemu-img info`` about each qcow2 disk of a host, once a minute and
before guests move, and lets it guess the format, while a QEMU that was taken
over can change what the disk begins with. The tool opens what the text of a
vmdk file names, and waits for ever where that is a pipe: nothing that
nova-compute does regularly is done any more, ours included. So the headers are
read here, and the file system tells the rest.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import nova.conf
from nova import exception as nova_exception
from nova.virt import driver

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import file_labels

CONF = nova.conf.CONF
LOG = logs.get_logger(__name__)

Info = dict[str, Any]
"""What Nova keeps of a disk
(``LibvirtDriver._get_instance_disk_info_from_config``)."""

_BLOCK = 512
"""The unit of ``st_blocks``, in bytes, whatever the file system has."""


_LARGEST = 1 << 50
"""The size from which on a header is not believed, in bytes."""

_FREE = 'disk_available_least'
_LEAST_FREE = -(1 << 31)
"""The least number that Nova's database takes for it, in GiB
(``nova.db.main.models.ComputeNode``)."""


def bounded(resources: Info) -> Info:
    """What a host has, as far as Nova's database can keep it.

    A guest may say that its disk has any size. Nova subtracts all sizes, and a
    number that is too small for the database ends every update of the host,
    and every build on it.

    :param resources: what ``LibvirtDriver.get_available_resource`` returns
    """
    if (free := resources.get(_FREE)) is None or free >= _LEAST_FREE:
        return resources
    LOG.error(
        'The disks of guests on this host say that they take %d GiB more '
        'than there are: one of them may have been taken over',
        -free,
    )
    return {**resources, _FREE: _LEAST_FREE}


def of_config(
    guest_config: Any,
    block_device_info: Any,
    ask_nova: Callable[[Any, Any], list[Info]],
) -> list[Info]:
    """Say what the disks of a guest take that are not volumes.

    :param guest_config: the ``LibvirtConfigGuest`` of its domain
    :param block_device_info: tells which of its disks are volumes
    :param ask_nova: Nova's own function, for disks that have no header
    :raises nova.exception.DiskNotFound: there is no such disk, or its header
        is not that of a qcow2 file whose files are all known
    """
    volumes = {
        each['mount_device'].rpartition('/')[2]
        for each in driver.block_device_info_get_mapping(block_device_info)
    }
    found: list[Info] = []
    others = copy.copy(guest_config)
    others.devices = []
    for device in guest_config.devices:
        if _has_header(device) and device.target_dev not in volumes:
            found.append(_read(device.source_path))
        else:
            others.devices.append(device)
    return [*ask_nova(others, block_device_info), *found]


def _has_header(device: Any) -> bool:
    """Whether a device is a qcow2 file.

    It may be a volume's that Nova lists no longer, as when its instance was
    deleted while this host was down.
    """
    return (
        device.root_name == 'disk'
        and device.source_type == 'file'
        and device.driver_format == disk_chains.QCOW2
        and bool(device.source_path)
    )


def _read(path: str) -> Info:
    root = CONF.instances_path
    if not path.startswith(os.path.join(root, '')):
        root = os.path.dirname(path)
    try:
        data = file_labels.read_header(root, path)
        header = disk_headers.read(path, data, disk_chains.QCOW2)
        taken = os.stat(path).st_blocks * _BLOCK
    except (exception.LabelError, OSError) as error:
        # Nova goes on with other guests after this error.
        raise nova_exception.DiskNotFound(
            f'disk {path} cannot be measured: {error}'
        ) from error
    size = disk_headers.size_of(data)
    if size > _LARGEST:
        raise nova_exception.DiskNotFound(
            f'disk {path} cannot be measured: its header says that it has '
            f'{size} bytes'
        )
    base = header.backing_file
    return {
        'type': disk_chains.QCOW2,
        'path': path,
        'virt_disk_size': size,
        # As Nova has it, without its directory.
        'backing_file': base and os.path.basename(base),
        'disk_size': taken,
        'over_committed_disk_size': max(0, size - taken),
    }
