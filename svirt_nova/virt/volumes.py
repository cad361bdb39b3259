# SPDX-License-Identifier: Apache-2.0
"""Volumes: which files they are, their labels, and who else has them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from cinderclient import exceptions as cinder_exception
from keystoneauth1 import exceptions as ks_exception
from nova import exception as nova_exception
from nova.virt.libvirt.volume import fs

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.host import disk_chains
from svirt_nova.host import disk_headers
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import claims

LOG = logs.get_logger(__name__)

FindDriver = Callable[[dict[str, Any]], Any]
"""Finds Nova's driver for the kind of volume that a connection is of."""

# Nova makes the XML of a volume's disk without the instance, so that the label
# of a device, or what a file is made of, travels there in the connection. It
# is taken out there, and never stored.
_LABEL = 'svirt_nova_label'
_CHAIN = 'svirt_nova_chain'

# The name of a volume's file, or of one of its snapshots, as cinder gives them
# (RemoteFSSnapDriverBase._get_new_snap_path): the volume's, a dot, the
# snapshot's.
_NAME = re.compile(r'([^./]+)(?:\.(?!info$)[0-9A-Za-z_-]+)?')
_LONGEST_CHAIN = 256


def is_multiattach(connection_info: dict[str, Any]) -> bool:
    """Whether several instances may have the volume at once."""
    return bool(connection_info.get('multiattach'))


def is_read_only(connection_info: dict[str, Any]) -> bool:
    """Whether the guest may only read the volume.

    ``LibvirtBaseVolumeDriver.get_config`` decides by the same key.
    """
    return bool(connection_info['data'].get('access_mode') == 'ro')


def file_of(
    find_driver: FindDriver, connection_info: dict[str, Any]
) -> str | None:
    """The file of a volume.

    :returns: None for volumes that are devices
    """
    found = find_driver(connection_info)
    if not isinstance(found, fs.LibvirtBaseFileSystemVolumeDriver):
        return None
    data = connection_info['data']
    path: str | None = data.get('device_path')
    if path is None and {'export', 'name'} <= data.keys():
        # Nova stores a connection that was read anew without the path
        # (LibvirtDriver._volume_refresh_connection_info).
        path = found._get_device_path(connection_info)
    return path


def format_of(connection_info: dict[str, Any]) -> str:
    """The format of a volume's file, as cinder says.

    ``LibvirtNFSVolumeDriver.get_config`` decides by the same key.
    """
    return str(connection_info['data'].get('format') or disk_chains.RAW)


def chain_of(
    path: str, image_format: str, level: levels.Level | None
) -> disk_chains.Chain:
    """What the file of a volume is made of, to its end.

    A guest may have written each of the headers: each file was the one on top
    once. They are followed as far as the files of the same volume, which have
    the name of the volume and are in the same directory.

    :param image_format: the format of the file, as cinder says
    :param level: the level of all files; None leaves them to libvirt
    :raises ForgedDisk: a header names any other file
    :raises LabelError: a header cannot be read
    """
    root, name = os.path.split(path)
    links: list[disk_chains.Link] = []
    while True:
        here = os.path.join(root, name)
        links.append(disk_chains.Link(here, image_format, root, level))
        header = disk_headers.read(
            here, file_labels.read_header(root, here), image_format
        )
        if header.backing_file is None:
            return tuple(links)
        name = header.backing_file.removeprefix(os.path.join(root, ''))
        if (
            not _is_of_one_volume(name, os.path.basename(path))
            or len(links) == _LONGEST_CHAIN
            or any(link.path == os.path.join(root, name) for link in links)
        ):
            raise exception.ForgedDisk(
                f'the header of {here} names the backing file '
                f'{header.backing_file!r}, and it may be made of files of '
                f'the same volume alone'
            )
        image_format = header.backing_format or disk_headers.format_of(
            file_labels.read_header(root, os.path.join(root, name))
        )


def _is_of_one_volume(name: str, other: str) -> bool:
    found, wanted = _NAME.fullmatch(name), _NAME.fullmatch(other)
    return bool(found and wanted and found[1] == wanted[1])


def _files_of(path: str) -> list[str]:
    """The files of a volume, with those of its snapshots."""
    root, name = os.path.split(path)
    try:
        names = os.listdir(root)
    except OSError as error:
        LOG.warning(
            'The files of snapshots of the volume in %s, if there are any, '
            'keep their labels: %s',
            path,
            error,
        )
        return [path]
    return [path] + [
        os.path.join(root, each)
        for each in sorted(names)
        if each != name and _is_of_one_volume(each, name)
    ]


def keep_label(
    connection_info: dict[str, Any], image: contexts.Context | None
) -> None:
    """Keep the context of a device for its disk.

    :param image: None leaves the device to libvirt
    """
    connection_info.pop(_LABEL, None)
    if image is not None:
        connection_info[_LABEL] = str(image)


def kept_label(connection_info: dict[str, Any]) -> contexts.Context | None:
    """Take the context that :func:`keep_label` has kept."""
    text = connection_info.pop(_LABEL, None)
    return None if text is None else contexts.Context.parse(text)


def keep_chain(
    connection_info: dict[str, Any], chain: disk_chains.Chain | None
) -> None:
    """Keep what a volume is made of for its disk.

    :param chain: None leaves the volume to libvirt
    """
    connection_info.pop(_CHAIN, None)
    if chain is not None:
        connection_info[_CHAIN] = [
            (
                link.path,
                link.format,
                None if link.level is None else str(link.level),
            )
            for link in chain
        ]


def kept_chain(connection_info: dict[str, Any]) -> disk_chains.Chain | None:
    """Take the chain that :func:`keep_chain` has kept."""
    kept = connection_info.pop(_CHAIN, None)
    if kept is None:
        return None
    return tuple(
        disk_chains.Link(
            path,
            image_format,
            os.path.dirname(path),
            None if level is None else levels.Level.parse(level),
        )
        for path, image_format, level in kept
    )


def confine(
    config: Any,
    image: contexts.Context | None,
    chain: disk_chains.Chain | None,
) -> None:
    """Say in the XML of one disk whose it is, and what it is made of.

    :param config: the ``LibvirtConfigGuestDisk``; its class knows no
        seclabel, so the XML that it makes is completed
    :param image: the context of a device; None leaves it to libvirt
    :param chain: what a file is made of; None leaves it to libvirt
    """
    format_dom = config.format_dom

    def completed(**kwargs: Any) -> Any:
        disk = format_dom(**kwargs)
        source = disk.find('source')
        if source is not None and chain is not None:
            domain_xml.set_chain(disk, chain)
        elif source is not None and image is not None:
            domain_xml.set_disk_label(source, image)
        return disk

    config.format_dom = completed


def is_used_by_others(
    volume_api: Any,
    context: Any,
    connection_info: dict[str, Any],
    instance: Any,
) -> bool:
    """Whether another instance has, or is about to have, the volume.

    :param volume_api: Nova's ``nova.volume.cinder.API``
    :returns: True also when cinder does not answer: a label that stays keeps
        others out, whereas one that is taken off stops those who use the
        volume
    """
    if not is_multiattach(connection_info):
        return False
    volume = connection_info.get('serial') or connection_info['data'].get(
        'volume_id'
    )
    try:
        attachments = volume_api.attachment_get_all(context, volume_id=volume)
    except (
        nova_exception.NovaException,
        cinder_exception.ClientException,
        ks_exception.ClientException,
    ) as error:
        LOG.warning(
            'The label of the multiattach volume %s is left as it is: '
            'cinder does not say who else has it. %s',
            volume,
            error,
            instance=instance,
        )
        return True
    return any(_holder(found) != instance.uuid for found in attachments)


def _holder(attachment: dict[str, Any]) -> str | None:
    # Until the volume is connected, Nova has the instance elsewhere.
    connection = attachment.get('connection_info') or {}
    holder: str | None = attachment.get('instance') or connection.get(
        'instance'
    )
    return holder


def restore(host_claims: claims.HostClaims, instance: Any, path: str) -> None:
    """Put the labels of a volume's files back, while it is connected.

    A label that is not the instance's is left as it is.
    """
    for file in _files_of(path):
        try:
            file_labels.restore(
                os.path.dirname(file), file, host_claims.levels_given(instance)
            )
        except exception.SvirtError as error:
            # The volume is detached all the same. Its old level keeps
            # everybody else out until the file is labelled anew.
            LOG.warning(
                'The label of the volume in %s was not taken off: %s',
                file,
                error,
                instance=instance,
            )
