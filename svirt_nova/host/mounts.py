# SPDX-License-Identifier: Apache-2.0
"""What a path is stored on: its file system, and whether hosts share it."""

from __future__ import annotations

import dataclasses
import os
import re

MOUNTS = '/proc/self/mountinfo'
SELINUX = '/sys/fs/selinux/enforce'
"""The file exists only where the kernel has SELinux switched on."""

# Types of file systems that other hosts may have mounted, too. A type that is
# not named counts as local: a claim that stays too long is safe, one that is
# dropped too early is not.
_SHARED = frozenset(
    [
        '9p',
        'beegfs',
        'ceph',
        'cifs',
        'fuse.ceph',
        'fuse.ceph-fuse',
        'fuse.glusterfs',
        'fuse.juicefs',
        'fuse.mfs',
        'fuse.moosefs',
        'fuse.quobyte',
        'fuse.vstorage',
        'gfs2',
        'gpfs',
        'lustre',
        'nfs',
        'nfs4',
        'ocfs2',
        'smb3',
        'virtiofs',
        'wekafs',
    ]
)
_NFS = frozenset(['nfs', 'nfs4'])
_ESCAPE = re.compile(r'\\([0-7]{3})')


@dataclasses.dataclass(frozen=True, slots=True)
class FileSystem:
    """A mounted file system.

    :param kind: its type, as mount(8) names it
    :param mount_point: where it is mounted
    :param takes_labels: whether files on it carry labels of their own; the
        kernel says so where SELinux is on (``selinux_sb_show_options``)
    :param caches_names: whether a name may still stand for what another host
        has renamed since (NFS: ``nfs_show_mount_options``)
    :param context: the mount option that gives all files one label, such as
        ``context=...`` (``selinux_sb_show_options``); empty for none
    """

    kind: str
    mount_point: str
    takes_labels: bool = True
    caches_names: bool = False
    context: str = ''

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may have its files too."""
        return self.kind in _SHARED

    def __str__(self) -> str:
        return f'{self.kind} at {self.mount_point}'


# A context with several categories has commas, and quotation marks around it.
_CONTEXT = re.compile(r'(?:^|,)(context=(?:"[^"]*"|[^,]*))')


def _context_of(options: str) -> str:
    found = _CONTEXT.search(options)
    return found[1] if found else ''


def _mounts() -> list[FileSystem]:
    # Fields as proc(5) has them: the mount point is the fifth, the type
    # the first after a lone hyphen; white space is escaped in octal.
    found = []
    has_selinux = os.path.exists(SELINUX)
    with open(MOUNTS, encoding='utf-8', errors='surrogateescape') as file:
        for line in file:
            fields, _, rest = line.partition(' - ')
            point = _ESCAPE.sub(
                lambda match: chr(int(match[1], 8)), fields.split()[4]
            )
            kind, _, options = (rest.split() + [''] * 2)[:3]
            given = options.split(',')
            found.append(
                FileSystem(
                    kind,
                    point,
                    takes_labels=not has_selinux or 'seclabel' in given,
                    caches_names=(
                        kind in _NFS and 'lookupcache=none' not in given
                    ),
                    context=_context_of(options),
                )
            )
    return found


def file_system(path: str) -> FileSystem:
    """The file system that a path lies on, or would lie on.

    :param path: an absolute path; it need not exist
    """
    path = os.path.realpath(path)
    best = FileSystem('unknown', '/')
    for mounted in _mounts():
        point = mounted.mount_point.rstrip('/')
        inside = path == point or path.startswith(f'{point}/')
        # Of several mounts on one point, the last one is on top.
        if inside and len(point) >= len(best.mount_point.rstrip('/')):
            best = mounted
    return best


def below(directory: str) -> list[FileSystem]:
    """The file systems that are mounted below a directory.

    :param directory: an absolute path; it need not exist
    """
    prefix = os.path.join(os.path.realpath(directory), '')
    return [
        mounted
        for mounted in _mounts()
        if mounted.mount_point.startswith(prefix)
    ]
