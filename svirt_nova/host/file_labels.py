# SPDX-License-Identifier: Apache-2.0
"""Labels on files: give a file a level, take it off again, read it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from oslo_privsep import comm
from oslo_privsep import daemon

from svirt_nova import exception
from svirt_nova.host import mounts
from svirt_nova.host import privsep
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

_XATTR = 'security.selinux'


def _ask(
    function: Callable[..., Any], root: str, path: str, *args: Any
) -> Any:
    """Have a function of ``privsep`` work on a file; its answer.

    :raises UnsafeFile: the file does not lie in the directory
    :raises LabelNotApplied: the process that has the privilege to do it
        does not run, or not any more
    """
    try:
        return function(root, _relative(root, path), *args)
    except (
        daemon.FailedToDropPrivileges,
        comm.PrivsepTimeout,
        # The program that starts the helper is missing, or it has died.
        OSError,
    ) as error:
        raise exception.LabelNotApplied(
            f'{path}: the helper that sets labels cannot be used ({error}). '
            'See the log of nova-compute, and helper_command in '
            '[svirt_nova_privileged]'
        ) from error


def _run(
    function: Callable[..., Any], root: str, path: str, *args: Any
) -> privsep.Failure | None:
    """Have a function of ``privsep`` change a file; why it did not.

    :raises UnsafeFile: see :func:`_ask`
    :raises LabelNotApplied: see :func:`_ask`
    """
    failure = _ask(function, root, path, *args)
    return None if failure is None else privsep.Failure(*failure)


def _fail(path: str, failure: privsep.Failure) -> None:
    if failure.kind == 'unsafe':
        raise exception.UnsafeFile(f'{path}: {failure.reason}')
    if failure.kind == 'unsupported':
        raise unlabeled(path)
    if failure.kind == 'foreign':
        raise exception.ForeignFile(f'{path}: {failure.reason}')
    raise exception.LabelNotApplied(f'{path}: {failure.reason}')


def unlabeled(path: str) -> exception.UnlabeledStorage:
    """The error for a file on storage that cannot carry labels."""
    return exception.UnlabeledStorage(
        f'{path} lies on storage that carries no SELinux labels '
        f'({mounts.file_system(path)}). Use storage that does, such as '
        f'NFS 4.2 exported with security_label, or accept it with [svirt] '
        f'unlabeled_storage = warn'
    )


def label(
    root: str,
    path: str,
    level: levels.Level,
    replaced: Iterable[levels.Level] = (),
) -> None:
    """Give a file to one guest, and check that it took the level.

    :param root: the directory that the file must lie in; nothing below
        it may be a symbolic link
    :param path: the absolute path of the file
    :param replaced: levels that may be on the file and that nobody needs
    :raises UnsafeFile: not a plain file inside the directory
    :raises UnlabeledStorage: its storage cannot carry labels
    :raises ForeignFile: it carries the level of another guest
    :raises LabelNotApplied: the label was refused
    """
    failure = _run(
        privsep.set_level, root, path, str(level), [*map(str, replaced)]
    )
    if failure is not None:
        _fail(path, failure)
    _check(path, level)


def share(root: str, path: str, level: levels.Level) -> None:
    """Let guests read a file, and check that it took the label.

    :param level: the level of those who may read it; one without categories
        for all guests
    :raises UnsafeFile: not a plain file inside the directory
    :raises UnlabeledStorage: its storage cannot carry labels
    :raises LabelNotApplied: the label was refused
    """
    failure = _run(privsep.set_content, root, path, str(level))
    if failure is not None:
        _fail(path, failure)
    _check(path, level)


def read_header(root: str, path: str) -> bytes:
    """The first bytes of a file, by which its format is told.

    :returns: up to :data:`disk_chains.HEADER_SIZE` bytes
    :raises UnsafeFile: not a plain file inside the directory
    :raises LabelError: it cannot be read
    """
    found = _ask(privsep.read_header, root, path)
    if not isinstance(found, bytes):
        _fail(path, privsep.Failure(*found))
    assert isinstance(found, bytes)
    return found


def _check(path: str, level: levels.Level) -> None:
    found = read(path)
    if found is None:
        raise unlabeled(path)
    if found.level != level:
        raise exception.LabelNotApplied(
            f'{path} carries {found} although it was given the level {level}'
        )


def restore(root: str, path: str, given: Iterable[levels.Level]) -> None:
    """Give an image file the policy's default label for its path.

    Files that do not exist any more, whose storage cannot carry labels, or
    that carry none of the levels are left alone.

    :param given: the levels that it may have been given
    :raises UnsafeFile: not a plain file inside the directory
    :raises LabelNotApplied: the file cannot carry the label
    """
    failure = _run(
        privsep.restore, root, path, [str(level) for level in given]
    )
    if failure is not None and failure.kind not in ('missing', 'unsupported'):
        _fail(path, failure)


def _relative(root: str, path: str) -> str:
    relative = os.path.relpath(path, root)
    if not os.path.isabs(path) or relative.split(os.sep)[0] in ('.', '..'):
        raise exception.UnsafeFile(f'{path} does not lie in {root}')
    return relative


def read(path: str) -> contexts.Context | None:
    """The context of a file itself, never of what a link points to.

    Needs no privilege but to search the directories above.

    :returns: None where the storage cannot carry labels, or has none for
        the file. There SELinux shows one context for all files of the mount,
        such as ``nfs_t``, which says nothing of this file.
    :raises LabelError: the file cannot be read, or its label is no
        context of an MCS policy
    """
    try:
        value = os.getxattr(path, _XATTR, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise exception.LabelError(
            f'the label of {path} cannot be read: {error.strerror}'
        ) from error
    if not mounts.file_system(os.path.dirname(path)).takes_labels:
        return None
    return contexts.Context.parse(value.decode(errors='replace'))
