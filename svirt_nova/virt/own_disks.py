# SPDX-License-Identifier: Apache-2.0
"""Which files of the image cache an instance's own disks may stand on.

Nova says what an instance was made of, and no guest can change that. A header
is compared with it. Whichever of the possible files a header names, it names
one that the instance may read: its own image, or a file that holds nobody's
data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import nova.conf
from nova.compute import task_states
from nova.compute import vm_states
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import utils as libvirt_utils

from svirt_nova import exception
from svirt_nova.host import disk_headers
from svirt_nova.host import file_labels

CONF = nova.conf.CONF

_CONFIG_DRIVES = ('disk.config', 'disk.config.rescue')
_EPHEMERAL = re.compile(r'disk\.(?:local|eph[0-9]+)')
# LibvirtDriver._create_image makes these names.
_EPHEMERAL_BASE = r'ephemeral_[0-9]+_[0-9A-Za-z]+'
_SWAP_BASE = r'swap_[0-9]+'


def is_config_drive(name: str) -> bool:
    """Whether Nova makes the disk of that name, raw, for the guest to read."""
    return name in _CONFIG_DRIVES


def is_disk(name: str) -> bool:
    """Whether a disk in the directory of an instance has such a name."""
    return (
        name in ('disk', 'disk.rescue', 'disk.swap', *_CONFIG_DRIVES)
        or _EPHEMERAL.fullmatch(name) is not None
    )


def cache_directory() -> str:
    """The image cache, as Nova writes its path into headers."""
    path: str = os.path.join(
        CONF.instances_path, CONF.image_cache.subdirectory_name
    )
    return path


def name_of(instance: Any, path: str) -> str | None:
    """The name of a disk in the directory of its instance.

    :returns: None for a file elsewhere
    """
    directory = os.path.join(libvirt_utils.get_instance_path(instance), '')
    return path.removeprefix(directory) if path.startswith(directory) else None


def is_own(instance: Any, path: str) -> bool:
    """Whether a file is a disk of an instance, rather than its kernel."""
    name = name_of(instance, path)
    return name is not None and is_disk(name)


def header_of(
    instance: Any, path: str, image_format: str, rescue_image: str | None
) -> disk_headers.Header:
    """What the header of an instance's own disk says, checked.

    :param image_format: the format that the disk is known to have
    :param rescue_image: the image that the instance is being rescued with
    :raises ForgedDisk: it may not say that
    :raises LabelError: there is no such disk, or its header cannot be read
    """
    name = name_of(instance, path)
    if name is None or not is_disk(name):
        raise exception.LabelError(
            f'it is not known what the disk {path} is made of'
        )
    if is_config_drive(name):
        # Nova makes it, raw, after the domain is defined.
        return disk_headers.Header()
    data = file_labels.read_header(CONF.instances_path, path)
    header = disk_headers.read(path, data, image_format)
    if header.backing_file is not None:
        check_base(instance, name, header.backing_file, rescue_image)
    return header


def check_backing_files(
    instance: Any, found: Sequence[Mapping[str, Any]]
) -> None:
    """Check what Nova has read in headers, before it makes such files.

    :param found: what ``_get_instance_disk_info_from_config`` answered, here
        or on the host that an instance comes from; it has names alone
    :raises ForgedDisk: a disk may not stand on the file that is named
    """
    for each in found:
        if each['backing_file']:
            base = os.path.basename(each['backing_file'])
            check_base(
                instance,
                os.path.basename(each['path']),
                os.path.join(cache_directory(), base),
            )


def check_base(
    instance: Any, name: str, base: str, rescue_image: str | None = None
) -> None:
    """Check that a disk of an instance may stand on a file.

    :param name: the name of the disk in the directory of the instance
    :param base: the path of the file
    :param rescue_image: the image that the instance is being rescued with
    :raises ForgedDisk: it may not
    """
    possible = _possible(instance, name, rescue_image)
    directory, found = os.path.split(base)
    if directory == cache_directory() and any(
        re.fullmatch(each, found) for each in possible
    ):
        return
    wanted = ' or '.join(
        f'{os.path.join(cache_directory(), each)!r}' for each in possible
    )
    raise exception.ForgedDisk(
        f'the header of the {name} of the instance names the backing file '
        f'{base!r}, and it may be made of {wanted or "itself"} alone'
    )


def _possible(
    instance: Any, name: str, rescue_image: str | None
) -> tuple[str, ...]:
    """Patterns of the names in the image cache."""
    if name == 'disk':
        return tuple(map(_cached, _images(instance)))
    if name == 'disk.rescue':
        return () if rescue_image is None else (_cached(rescue_image),)
    if _EPHEMERAL.fullmatch(name):
        return (_EPHEMERAL_BASE,)
    return (_SWAP_BASE,) if name == 'disk.swap' else ()


def _cached(image: str) -> str:
    name: str = imagecache.get_cache_fname(image)
    return name


def _images(instance: Any) -> list[str]:
    """The images that the root disk of an instance may stand on."""
    found = [instance.image_ref] if instance.image_ref else []
    if stands_on_former_image(instance):
        former = instance.system_metadata.get('image_base_image_ref')
        found += [former] if former else []
    return found


def stands_on_former_image(instance: Any) -> bool:
    """Whether the root disk stands on the image before its snapshot.

    Nova's API notes that image when an instance is shelved, or is resized
    into another cell. At any other time the owner of the image may have
    written the note (the image property ``base_image_ref``), and it is not to
    be believed.
    """
    if instance.vm_state == vm_states.SHELVED_OFFLOADED:
        return True
    if instance.task_state != task_states.RESIZE_FINISH:
        return False
    migration = instance.migration_context
    return migration is not None and bool(migration.is_cross_cell_move())
