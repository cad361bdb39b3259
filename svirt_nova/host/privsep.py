# SPDX-License-Identifier: Apache-2.0
"""The functions that run as root, in a helper process of oslo.privsep.

Each function takes names, never a context: what may be written is decided
here, from the host's policy. A file is reached one directory at a time
without following links, and is labelled through the descriptor that was
checked, so that nothing can be swapped in between.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import NamedTuple

import selinux
from oslo_privsep import capabilities
from oslo_privsep import priv_context

from svirt_nova import exception
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

# The kernel asks for CAP_FOWNER to relabel another's file
# (selinux_inode_setxattr), and without SELinux for CAP_SYS_ADMIN
# (cap_inode_setxattr). Image directories need not be open to others, hence
# CAP_DAC_READ_SEARCH.
svirt_pctxt = priv_context.PrivContext(
    'svirt_nova',
    cfg_section='svirt_nova_privileged',
    pypath=f'{__name__}.svirt_pctxt',
    capabilities=[
        capabilities.CAP_DAC_READ_SEARCH,
        capabilities.CAP_FOWNER,
        capabilities.CAP_SYS_ADMIN,
    ],
)

_NAME = re.compile(r'[^/\0]{1,255}')


class Failure(NamedTuple):
    """Why a file was not labelled.

    A value rather than an exception: privsep carries only the plain
    arguments of one over to the caller.

    :param kind: ``unsafe``, ``missing``, ``unsupported`` (by the storage)
        or ``refused``
    """

    kind: str
    reason: str


class _Refusal(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(kind, reason)


def image_context() -> contexts.Context:
    """The policy's context for a guest's images, as libvirt reads it.

    It is the first line of the policy's ``virtual_image_context``
    (``virSecuritySELinuxQEMUInitialize``).

    :raises UnconfinedHost: no policy with that context is installed
    """
    path = selinux.selinux_virtual_image_context_path()
    try:
        with open(path, encoding='utf-8') as file:
            return contexts.Context.parse(file.readline().strip())
    except (OSError, exception.InvalidContext) as error:
        raise exception.UnconfinedHost(
            f'the SELinux policy of this host names no context for images '
            f'of guests in {path}: {error}. Install the policy, or set '
            f'SELINUXTYPE in /etc/selinux/config to the one installed'
        ) from error


@contextlib.contextmanager
def _opened(root: str, relative: str) -> Iterator[tuple[int, int]]:
    """A directory and a plain file in it, opened for attributes only."""
    names = relative.split('/')
    if not os.path.isabs(root) or not all(
        _NAME.fullmatch(name) and name not in ('.', '..') for name in names
    ):
        raise _Refusal('unsafe', f'{relative!r} is no path inside {root!r}')
    flags = os.O_PATH | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:

        def keep(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        try:
            # The root directory is the operator's and may be a link.
            file = keep(os.open(root, flags | os.O_DIRECTORY))
            for name in names:
                directory = file
                file = keep(
                    os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
                )
                if stat.S_ISLNK(os.fstat(file).st_mode):
                    raise _Refusal('unsafe', f'{name!r} is a symbolic link')
        except FileNotFoundError as error:
            raise _Refusal('missing', 'there is no such file') from error
        except NotADirectoryError as error:
            raise _Refusal('unsafe', 'a part of it is no directory') from error
        except OSError as error:
            raise _Refusal('refused', f'{error.strerror}') from error
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _Refusal('unsafe', 'it is not a regular file')
        if status.st_nlink > 1:
            raise _Refusal('unsafe', 'it has another name (a hard link)')
        yield directory, file


def _name_of(descriptor: int) -> str:
    # libselinux's functions for descriptors do not take an O_PATH one; its
    # /proc name leads to the same open file.
    return f'/proc/self/fd/{descriptor}'


def _write(descriptor: int, context: str) -> None:
    try:
        selinux.setfilecon_raw(_name_of(descriptor), context)
    except OSError as error:
        raise _Refusal(
            'unsupported' if error.errno == errno.EOPNOTSUPP else 'refused',
            f'it does not take the label {context}: {error.strerror}',
        ) from error


def _default(path: str, directory: int, file: int) -> str:
    """What the policy would label a file, or else its directory's type."""
    try:
        context: str = selinux.matchpathcon(path, os.fstat(file).st_mode)[1]
        return context
    except FileNotFoundError:
        # The policy says <<none>>: a file keeps the label that it was
        # created with.
        pass
    try:
        text = selinux.getfilecon_raw(_name_of(directory))[1]
    except OSError as error:
        raise _Refusal(
            'refused',
            'neither the policy nor its directory has a label for it',
        ) from error
    return str(contexts.Context.parse(text))


@svirt_pctxt.entrypoint
def set_level(root: str, relative: str, level: str) -> Failure | None:
    """Give a file the policy's context for images at a level.

    :param root: an absolute directory
    :param relative: the file below it
    :param level: a level with at least one category
    :returns: why it was refused; None when the file has the label
    """
    try:
        wanted = levels.Level.parse(level)
        if not wanted.categories:
            return Failure('unsafe', f'{level} would open it to every guest')
        context = str(image_context().at(wanted))
        with _opened(root, relative) as (_, file):
            _write(file, context)
    except _Refusal as refusal:
        return refusal.failure
    except exception.SvirtError as error:
        return Failure('refused', str(error))
    return None


@svirt_pctxt.entrypoint
def restore(root: str, relative: str, given: list[str]) -> Failure | None:
    """Give a file the policy's default context for its path.

    A file whose label is not that of an image of a guest, at one of the
    levels given to the instance, is left as it is: somebody else labelled
    it.

    :param root: an absolute directory
    :param relative: the file below it
    :param given: the levels that it may carry
    :returns: why it was refused; None when that was done
    """
    try:
        image = image_context()
        possible = [levels.Level.parse(text) for text in given]
        with _opened(root, relative) as (directory, file):
            present = selinux.getfilecon_raw(_name_of(file))[1]
            found = contexts.Context.parse(present)
            if found.type == image.type and found.level in possible:
                path = os.path.join(os.path.realpath(root), relative)
                _write(file, _default(path, directory, file))
    except _Refusal as refusal:
        return refusal.failure
    except exception.SvirtError as error:
        return Failure('refused', str(error))
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        return Failure('refused', error.strerror or str(error))
    return None
