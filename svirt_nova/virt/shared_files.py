# SPDX-License-Identifier: Apache-2.0
"""Files that an instance uses on another host, while its domain ends here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova import files
from svirt_nova import level as levels
from svirt_nova import seclabel

LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def kept(host: Any, instance: Any) -> Iterator[None]:
    """Keep the levels of an instance's files while its domain ends here.

    When a domain ends, libvirt gives its files the policy's default label,
    on shared storage too, unless it was migrated away
    (``virSecuritySELinuxRestoreImageLabelInt``): the instance, which runs
    elsewhere, could not use them any more. Nor could another instance, which
    has a volume by now that the domain still names.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    """
    carried = _carried(host, instance)
    if carried:
        _start_helper(next(iter(carried)))
    try:
        yield
    finally:
        for path, level in carried.items():
            _give_back(path, level, instance)


def _carried(host: Any, instance: Any) -> dict[str, levels.Level]:
    """The files of a domain that carry a level, and which."""
    try:
        xml = host.get_guest(instance).get_xml_desc()
    except nova_exception.InstanceNotFound:
        return {}
    except libvirt_host.libvirt.libvirtError as error:
        LOG.warning(
            'libvirt does not say which files the domain has; if it ends '
            'here, the instance may lose access to them where it runs: %s',
            error,
            instance=instance,
        )
        return {}
    try:
        disks = seclabel.disks(xml)
    except exception.SvirtError as error:
        LOG.warning(
            'The files of the domain are left to libvirt: %s',
            error,
            instance=instance,
        )
        return {}
    found = {}
    for disk in disks:
        if not disk.is_file or disk.label is not seclabel.DiskLabel.OWN:
            continue
        # One that is gone, or has no label of ours, has nothing to lose.
        with contextlib.suppress(exception.SvirtError):
            context = files.read(disk.path)
            if context is not None and context.level.categories:
                found[disk.path] = context.level
    return found


def _start_helper(path: str) -> None:
    """Start what sets labels, while the files still have theirs.

    That takes seconds, for which the instance would be without its files.
    Taking off none of the levels that there are changes nothing.
    """
    with contextlib.suppress(exception.SvirtError):
        files.restore(os.path.dirname(path), path, ())


def _give_back(path: str, level: levels.Level, instance: Any) -> None:
    try:
        context = files.read(path)
        # One that has a level has kept it, or has got one from elsewhere.
        if context is None or context.level.categories:
            return
        files.label(os.path.dirname(path), path, level)
    except exception.SvirtError as error:
        if os.path.lexists(path):
            LOG.warning(
                'The level %s of a file that the instance may use on '
                'another host was not put back: %s. Hard-reboot the '
                'instance if it cannot use the file',
                level,
                error,
                instance=instance,
            )
