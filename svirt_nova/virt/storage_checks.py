# SPDX-License-Identifier: Apache-2.0
"""Checks of what the files of instances lie on."""

from __future__ import annotations

import os
from collections.abc import Iterator

import nova.conf

from svirt_nova.host import kernel
from svirt_nova.host import mounts
from svirt_nova.host import policy
from svirt_nova.host import rows

CONF = nova.conf.CONF

INSTANCES = 'instances_path'
VOLUMES = "volumes' mounts"

_BASES = (
    'nfs_mount_point_base',
    'quobyte_mount_point_base',
    'smbfs_mount_point_base',
    'vzstorage_mount_point_base',
)
"""Options of [libvirt]: where Nova mounts storage that volumes are files
on."""


def cached_names() -> str | None:
    """What to tell if an instance that comes back may get its old disk.

    A resize or a cold migration renames the instance's directory at the
    source (``LibvirtDriver.migrate_disk_and_power_off``) and makes a new one
    of the same name. A host that takes the name for the old directory runs,
    and labels, what Nova keeps there for a revert and deletes at the end.
    """
    file_system = mounts.file_system(CONF.instances_path)
    if not file_system.caches_names:
        return None
    return (
        f'Nova has the instances in {CONF.instances_path}, on {file_system}, '
        f'which is mounted without lookupcache=none: an instance that comes '
        f'back to this host by a resize or a cold migration may run on the '
        f'copy of its disk that Nova deletes when that is confirmed. Mount '
        f'it with lookupcache=none.'
    )


def instances_path() -> rows.Row:
    """Check the directory that Nova has the instances in."""
    path = CONF.instances_path
    if not os.path.isdir(path):
        return rows.wrong(
            INSTANCES,
            f'there is no directory {path}: make it, owned by the user nova, '
            f'or name the right one in [DEFAULT] instances_path',
        )
    return rows.of_problems(
        INSTANCES, _instances_problems(path), str(mounts.file_system(path))
    )


def _instances_problems(path: str) -> Iterator[policy.Problem]:
    file_system = mounts.file_system(path)
    unlabeled = _unlabeled(path, file_system)
    if unlabeled is not None:
        yield unlabeled
    else:
        differing = kernel.differing_types(path)
        if differing is not None:
            found, wanted = differing
            yield policy.Problem(
                f'{path} has the type {found}, and the policy of this host '
                f'gives it {wanted}. Run "restorecon {path}", or tell the '
                f'policy with "semanage fcontext"',
                is_fatal=False,
            )
    cached = cached_names()
    if cached is not None:
        yield policy.Problem(cached, is_fatal=False)


def volumes() -> rows.Row:
    """Check what Nova has mounted for volumes that are files."""
    found = [
        mounted
        for option in _BASES
        for mounted in mounts.below(CONF.libvirt[option])
    ]
    problems = [_unlabeled(each.mount_point, each) for each in found]
    return rows.of_problems(
        VOLUMES,
        [each for each in problems if each is not None],
        *map(str, found),
    )


def _unlabeled(
    path: str, file_system: mounts.FileSystem
) -> policy.Problem | None:
    """What is wrong with storage whose files carry no labels of their own."""
    if file_system.takes_labels:
        return None
    if file_system.context:
        text = (
            f'{path} lies on {file_system}, which is mounted with '
            f'{file_system.context}: all files there have that one label, '
            f'whatever they are given. Mount it without that option'
        )
    else:
        text = (
            f'{path} lies on {file_system}, whose files carry no SELinux '
            f'labels. Use storage whose files do, such as NFS 4.2 exported '
            f'with security_label'
        )
    return policy.Problem(
        f'{text}; or accept it with [svirt] unlabeled_storage = warn',
        is_fatal=CONF.svirt.unlabeled_storage == 'refuse',
    )
