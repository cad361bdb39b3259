# SPDX-License-Identifier: Apache-2.0
"""Which files of the image cache an instance's own disks may stand on.

Nova says what an instance was made of, and no guest can change that. A header
is compared with it. Whichever of the possible files a header names, it names
one that the instance may read: its own image, or a file that holds nobody's
data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import nova.conf
from nova.compute import task_states
from nova.compute import vm_states
from nova.privsep import fs
from nova.virt.libvirt import imagecache
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import units

from svirt_nova import exception
from svirt_nova import printing
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import file_labels
from svirt_nova.virt import private_images

CONF = nova.conf.CONF

_CONFIG_DRIVES = ('disk.config', 'disk.config.rescue')
_EPHEMERAL = re.compile(r'disk\.(?:local|eph[0-9]+)')
# LibvirtDriver._create_image makes these names.
_EPHEMERAL_BASE = r'ephemeral_[0-9]+_[0-9A-Za-z]+'
_SWAP_BASE = r'swap_[0-9]+'
_FORMATS = (disk_chains.RAW, disk_chains.QCOW2)


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


def check(
    instance: Any, path: str, image_format: str, rescue_image: str | None
) -> None:
    """Check a disk before qemu-img reads or writes it.

    :param image_format: the format that the disk is known to have
    :param rescue_image: the image that the instance is being rescued with
    :raises ForgedDisk: its header is not what it should be
    :raises LabelError: it cannot be read
    """
    header = header_of(instance, path, image_format, rescue_image)
    # Nova fetches a base that is missing.
    if header.backing_file is not None and os.path.lexists(
        header.backing_file
    ):
        format_of_base(path, header)


def format_of_base(disk: str, header: disk_headers.Header) -> str:
    """The format of the file of the image cache that a disk stands on.

    No guest can have written that file, but a tenant may have made the image.
    In the format that the header gives it, if it is another one than its own,
    the file could name any others, such as the extents of a vmdk.

    :param disk: the path of the disk
    :param header: its header, of which :func:`header_of` has checked the name
    :raises ForgedDisk: the header gives it another format, or the image names
        a file itself
    :raises LabelError: it cannot be read
    """
    path = header.backing_file
    assert path is not None
    data = file_labels.read_header(CONF.instances_path, path)
    image_format = disk_headers.format_of(data)
    if disk_headers.read(path, data, image_format).backing_file:
        raise exception.ForgedDisk(
            f'{path} is an image, and its header names a backing file'
        )
    if header.backing_format not in (None, image_format):
        raise exception.ForgedDisk(
            f'the header of {disk} says that its backing file has the '
            f'format {header.backing_format!r}, and it is {image_format}'
        )
    return image_format


def check_backing_files(
    instance: Any, found: Sequence[Mapping[str, Any]]
) -> None:
    """Check what Nova has read in headers, before it makes such files.

    :param found: what ``_get_instance_disk_info_from_config`` answered, here
        or on the host that an instance comes from; it has names alone
    :raises ForgedDisk: a disk may not stand on the file that is named, or the
        file that Nova would make is another than its name says
    """
    for each in found:
        _check_made(each)
        if each['backing_file']:
            name = os.path.basename(each['path'])
            possible = _possible(instance, name, None)
            base = os.path.basename(each['backing_file'])
            if _EPHEMERAL.fullmatch(name) and not os.path.lexists(
                os.path.join(cache_directory(), base)
            ):
                possible = _new_ephemeral_base(
                    instance, int(each['virt_disk_size'])
                )
            if not _is_one_of(base, possible):
                raise _forged(
                    name, f'a backing file called {base!r}', possible
                )


def _check_made(found: Mapping[str, Any]) -> None:
    """Check what Nova passes to qemu-img to make a disk that is missing.

    A host that was taken over could pass options that name other files.

    :raises ForgedDisk: it is no format and size of a disk
    """
    size, image_format = found['virt_disk_size'], found['type']
    if type(size) is not int or image_format not in _FORMATS:
        raise exception.ForgedDisk(
            f'a disk cannot be made with the size {printing.quote(size)} and '
            f'the format {printing.quote(image_format)}'
        )


def check_moved(instance: Any, disk_info: str) -> None:
    """Check the disks of an instance that was moved here without running.

    Nova turns a raw one, whatever its path, into qcow2
    (``LibvirtDriver.finish_migration``).

    :param disk_info: what ``migrate_disk_and_power_off`` answered on the
        host that the instance comes from
    :raises ForgedDisk: one of them is not a disk of the instance
    """
    for each in json.loads(disk_info):
        path = each['path']
        if os.path.normpath(path) != path or not is_own(instance, path):
            raise exception.ForgedDisk(
                f'{printing.quote(path)}, which the former host names, is not '
                f'a disk of the instance'
            )


def _new_ephemeral_base(instance: Any, size: int) -> tuple[str, ...]:
    """The name of the base that Nova makes for a disk whose own is missing.

    It makes one of the size that the header of the disk says, with a file
    system for the operating system of the instance, and every instance of the
    host that needs a base of that name gets it
    (``LibvirtDriver._create_images_and_backing``).

    :param size: of the disk, in bytes
    :returns: nothing for a size that the instance cannot have
    """
    size_gb, rest = divmod(size, units.Gi)
    if rest or not 0 < size_gb <= instance.get_flavor().ephemeral_gb:
        return ()
    system = fs.get_file_extension_for_os_type(
        fs.get_fs_type_for_os_type(instance.os_type),
        CONF.default_ephemeral_format,
    )
    return (f'ephemeral_{size_gb}_{system}',)


def bases_of_root(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The file of the image cache below a root disk.

    :param found: see :func:`check_backing_files`, which has checked it
    """
    return [
        os.path.join(cache_directory(), os.path.basename(each['backing_file']))
        for each in found
        if os.path.basename(each['path']) == 'disk' and each['backing_file']
    ]


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
    if directory != cache_directory() or not _is_one_of(found, possible):
        raise _forged(name, f'the backing file {base!r}', possible)


def _is_one_of(base: str, possible: Iterable[str]) -> bool:
    return any(re.fullmatch(each, base) for each in possible)


def _forged(
    name: str, named: str, possible: Iterable[str]
) -> exception.ForgedDisk:
    """Make the refusal of a disk.

    :param named: what its header names
    :param possible: what it may name, in the image cache
    """
    wanted = ' or '.join(
        f'{os.path.join(cache_directory(), each)!r}' for each in possible
    )
    return exception.ForgedDisk(
        f'the header of the {name} of the instance names {named}, and it may '
        f'be made of {wanted or "itself"} alone'
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
    """The images that the root disk of an instance may stand on.

    A disk that was made to stand alone stands on none.
    """
    return [
        image
        for image in (instance.image_ref, former_image(instance))
        if image
        and private_images.remembered(instance, 'disk', image)
        is not private_images.Reach.ALONE
    ]


def image_of(
    instance: Any, name: str, base: str, rescue_image: str | None = None
) -> str | None:
    """The image that a file of the image cache has.

    :param name: the name of a disk that stands on the file
    :param base: the path of the file
    :param rescue_image: the image that the instance is being rescued with
    :returns: its UUID; None for a file that Nova makes for everybody
    """
    possible = (
        (instance.image_ref, former_image(instance))
        if name == 'disk'
        else (rescue_image if name == 'disk.rescue' else None,)
    )
    for image in possible:
        if image and _cached(image) == os.path.basename(base):
            return image
    return None


def base_of(image: str) -> str:
    """The path of the file of the image cache that an image has."""
    return os.path.join(cache_directory(), _cached(image))


def former_image(instance: Any) -> str | None:
    """The image that the root disk stood on before its snapshot.

    :returns: None if it stands on the image that Nova names
    """
    if not stands_on_former_image(instance):
        return None
    return instance.system_metadata.get('image_base_image_ref') or None


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
