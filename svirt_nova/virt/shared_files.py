# SPDX-License-Identifier: Apache-2.0
"""Files that an instance uses on another host, while its domain ends here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import nova.conf
from nova import exception as nova_exception
from nova.virt.libvirt import host as libvirt_host
from nova.virt.libvirt import utils as libvirt_utils
from oslo_log import log as logging

from svirt_nova import exception
from svirt_nova.host import domain_xml
from svirt_nova.host import file_labels
from svirt_nova.mcs import levels
from svirt_nova.virt import claims
from svirt_nova.virt import volumes

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

# For a volume that goes to another instance while it is labelled.
_TRIES = 2


class _File(NamedTuple):
    """A file of a domain.

    :param root: the directory below which no link is followed
    :param volume: the volume's UUID; None in the instance's own directory
    """

    root: str
    path: str
    volume: str | None


@contextlib.contextmanager
def put_back(
    host: Any, host_claims: claims.HostClaims, instance: Any
) -> Iterator[None]:
    """Put levels back that the end of an instance's domain here takes off.

    When a domain ends, libvirt gives its files the policy's default label,
    on shared storage too, unless it was migrated away
    (``virSecuritySELinuxRestoreImageLabelInt``): the instance, which runs
    elsewhere, could not use them any more. Nor could another instance, which
    has a volume by now that the domain still names.

    A volume gets the level of the instance that has it by then, as Nova and
    the allocator say: the domain knows only who had it once.

    :param host: the ``nova.virt.libvirt.host.Host`` of this host
    """
    found = _files(host, instance)
    if found:
        _start_helper(found[0])
    # Last of all: the sooner they come back, the less can have changed.
    carried = _carried(found, instance)
    try:
        yield
    finally:
        for file, level in carried.items():
            _give_back(file, level, host_claims, instance)


def _files(host: Any, instance: Any) -> list[_File]:
    """The files that libvirt labels, if the domain runs."""
    try:
        guest = host.get_guest(instance)
        if not guest.is_active():
            # Its files have been taken care of when it ended.
            return []
        disks = domain_xml.disks(guest.get_xml_desc())
    except nova_exception.InstanceNotFound:
        return []
    except (
        libvirt_host.libvirt.libvirtError,
        exception.SvirtError,
    ) as error:
        LOG.warning(
            'libvirt does not say which files the domain has; if it ends '
            'here, the instance may lose access to them where it runs: %s',
            error,
            instance=instance,
        )
        return []
    own = os.path.join(libvirt_utils.get_instance_path(instance), '')
    found = []
    for disk in disks:
        if not disk.is_file or disk.label is not domain_xml.DiskLabel.OWN:
            continue
        if disk.path.startswith(own):
            found.append(_File(CONF.instances_path, disk.path, None))
        elif disk.serial:
            root = os.path.dirname(disk.path)
            found.append(_File(root, disk.path, disk.serial))
    return found


def _start_helper(file: _File) -> None:
    """Start what sets labels, while the files still have theirs.

    That takes seconds, for which the instance would be without its files.
    Taking off none of the levels that there are changes nothing.
    """
    with contextlib.suppress(exception.SvirtError):
        file_labels.restore(file.root, file.path, ())


def _carried(found: list[_File], instance: Any) -> dict[_File, levels.Level]:
    """Those that carry a level, and which."""
    carried = {}
    for file in found:
        try:
            context = file_labels.read(file.path)
        except exception.SvirtError as error:
            if not _is_gone(file.path):
                _warn(file, error, instance)
            continue
        if context is not None and context.level.categories:
            carried[file] = context.level
    return carried


def _give_back(
    file: _File,
    level: levels.Level,
    host_claims: claims.HostClaims,
    instance: Any,
) -> None:
    try:
        context = file_labels.read(file.path)
        # One that has a level has kept it, or has got one from elsewhere.
        if context is None or context.level.categories:
            return
        if file.volume is not None:
            _give_to_holder(file, file.volume, host_claims)
        else:
            file_labels.label(file.root, file.path, level)
    except exception.SvirtError as error:
        if not _is_gone(file.path):
            _warn(file, error, instance)


def _give_to_holder(
    file: _File, volume: str, host_claims: claims.HostClaims
) -> None:
    """Give a volume the level of the instance that has it now.

    :raises SvirtError: nobody is known to have it, or to have it still
    """
    level = _level_of_holder(file, volume, host_claims)
    for _ in range(_TRIES):
        file_labels.label(file.root, file.path, level)
        given = level
        now = None
        try:
            now = level = _level_of_holder(file, volume, host_claims)
        finally:
            if now != given:
                file_labels.restore(file.root, file.path, [given])
        if now == given:
            return
    raise exception.LabelNotApplied(
        f'the volume {volume} goes from one instance to another'
    )


def _level_of_holder(
    file: _File, volume: str, host_claims: claims.HostClaims
) -> levels.Level:
    holder = volumes.holder_of(volume, file.path)
    level = None if holder is None else host_claims.level_of(holder)
    if level is None:
        raise exception.LabelNotApplied(
            f'no instance that holds a level is known to have it as the '
            f'volume {volume}'
        )
    return level


def _is_gone(path: str) -> bool:
    """Whether a file does not exist, and so has nothing to lose."""
    try:
        os.lstat(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return False


def _warn(file: _File, error: exception.SvirtError, instance: Any) -> None:
    LOG.warning(
        '%s may have lost its level, and was not given it again: %s. If an '
        'instance that runs on another host cannot use it, hard-reboot that '
        'instance',
        file.path,
        error,
        instance=instance,
    )
