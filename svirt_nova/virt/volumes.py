# SPDX-License-Identifier: Apache-2.0
"""Volumes: which files they are, their labels, and who else has them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import nova.context
import oslo_messaging
from cinderclient import exceptions as cinder_exception
from keystoneauth1 import exceptions as ks_exception
from nova import exception as nova_exception
from nova.objects import block_device
from nova.virt.libvirt.volume import fs
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels
from svirt_nova.virt import claims

LOG = logging.getLogger(__name__)

FindDriver = Callable[[dict[str, Any]], Any]
"""Finds Nova's driver for the kind of volume that a connection is of."""

# Nova makes the XML of a volume's disk without the instance, so that the label
# travels there in the connection. It is taken out there, and never stored.
_LABEL = 'svirt_nova_label'


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
    if not isinstance(
        find_driver(connection_info), fs.LibvirtBaseFileSystemVolumeDriver
    ):
        return None
    path: str | None = connection_info['data'].get('device_path')
    return path


def keep_label(
    connection_info: dict[str, Any], image: contexts.Context | None
) -> None:
    """Keep the context of a volume for its disk.

    :param image: None leaves the volume to libvirt
    """
    connection_info.pop(_LABEL, None)
    if image is not None:
        connection_info[_LABEL] = str(image)


def kept_label(connection_info: dict[str, Any]) -> contexts.Context | None:
    """Take the context that :func:`keep_label` has kept."""
    text = connection_info.pop(_LABEL, None)
    return None if text is None else contexts.Context.parse(text)


def confine(config: Any, image: contexts.Context) -> None:
    """Give one disk a label of its own.

    :param config: the ``LibvirtConfigGuestDisk``; its class knows no
        seclabel, so the XML that it makes is completed
    """
    format_dom = config.format_dom

    def with_label(**kwargs: Any) -> Any:
        disk = format_dom(**kwargs)
        source = disk.find('source')
        if source is not None:
            domain_xml.set_disk_label(source, image)
        return disk

    config.format_dom = with_label


def label(path: str, level: levels.Level) -> None:
    """Give the file of a connected volume a level.

    :raises LabelError: it does not take it
    """
    file_labels.label(os.path.dirname(path), path, level)


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


def holder_of(volume: str, path: str) -> str | None:
    """The one instance of this cell that has a file as its volume.

    An instance to which the volume is being attached, or from which it is
    being detached, counts.

    :param volume: the UUID of the volume
    :param path: the file; after a swap a domain names another volume
    :returns: None if there is no such instance, or several
    :raises ComputeApiError: Nova's conductor does not say
    """
    try:
        found = block_device.BlockDeviceMapping.get_by_volume(
            nova.context.get_admin_context(), volume
        )
    except (
        nova_exception.VolumeBDMNotFound,
        nova_exception.VolumeBDMIsMultiAttach,
    ):
        return None
    except (
        nova_exception.NovaException,
        oslo_messaging.MessagingException,
    ) as error:
        raise exception.ComputeApiError(
            f'Nova does not say which instance has the volume {volume}: '
            f'{error}'
        ) from error
    connection = json.loads(found.connection_info or '{}')
    # LibvirtNFSVolumeDriver and its like make the path of this name.
    if os.path.basename(path) != connection.get('data', {}).get('name'):
        return None
    uuid: str = found.instance_uuid
    return uuid


def _holder(attachment: dict[str, Any]) -> str | None:
    # Until the volume is connected, Nova has the instance elsewhere.
    connection = attachment.get('connection_info') or {}
    holder: str | None = attachment.get('instance') or connection.get(
        'instance'
    )
    return holder


def restore(host_claims: claims.HostClaims, instance: Any, path: str) -> None:
    """Put the label of a volume's file back, while it is connected.

    A label that is not the instance's is left as it is.
    """
    try:
        file_labels.restore(
            os.path.dirname(path), path, host_claims.levels_given(instance)
        )
    except exception.SvirtError as error:
        # The volume is detached all the same. Its old level keeps everybody
        # else out until the file is labelled anew.
        LOG.warning(
            'The label of the volume in %s was not taken off: %s',
            path,
            error,
            instance=instance,
        )
