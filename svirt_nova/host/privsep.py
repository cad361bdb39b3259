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
import grp
import os
import re
import stat
from collections.abc import Callable
from collections.abc import Iterator
from typing import NamedTuple

import selinux
from oslo_config import cfg
from oslo_privsep import capabilities
from oslo_privsep import priv_context

from svirt_nova import exception
from svirt_nova.host import disk_chains
from svirt_nova.host import image_contexts
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

# The kernel asks for CAP_FOWNER to relabel another's file
# (selinux_inode_setxattr), and without SELinux for CAP_SYS_ADMIN
# (cap_inode_setxattr). CAP_CHOWN gives a file to QEMU's group. Image
# directories need not be open to others, hence CAP_DAC_READ_SEARCH.
svirt_pctxt = priv_context.PrivContext(
    'svirt_nova',
    cfg_section='svirt_nova_privileged',
    pypath=f'{__name__}.svirt_pctxt',
    capabilities=[
        capabilities.CAP_CHOWN,
        capabilities.CAP_DAC_READ_SEARCH,
        capabilities.CAP_FOWNER,
        capabilities.CAP_SYS_ADMIN,
    ],
)

GROUP_OPTION = cfg.StrOpt(
    'qemu_group',
    default='',
    help="""
The group that QEMU runs as on this host: ``group`` in libvirt's qemu.conf.

svirt-nova gives this group access to the files of a guest, which keep their
owner. Unset, it is ``libvirt-qemu`` or ``qemu``, whichever there is.
""",
)
# oslo.privsep registers the group's other options in the same way.
cfg.CONF.register_opt(GROUP_OPTION, group=svirt_pctxt.cfg_section)

_QEMU_GROUPS = ('libvirt-qemu', 'qemu')

_UNCHANGEABLE = (errno.EPERM, errno.EROFS, errno.EOPNOTSUPP)

_NAME = re.compile(r'[^/\0]{1,255}')


class Failure(NamedTuple):
    """Why a file was not labelled.

    A value rather than an exception: privsep carries only the plain
    arguments of one over to the caller.

    :param kind: ``unsafe``, ``missing``, ``unsupported`` (by the storage),
        ``foreign`` (it is another guest's) or ``refused``
    """

    kind: str
    reason: str


class _Refusal(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.failure = Failure(kind, reason)


def _caller() -> int:
    """The user that asked for the helper.

    sudo tells its commands. Where the helper was started in another way, as
    by root, its own user stands in.
    """
    return int(os.environ.get('SUDO_UID') or os.getuid())


def _check_root(root: int) -> None:
    """Check that the directory of a caller's files is the caller's to use.

    Nova mounts shares on directories of its own, so that the directory above
    a mounted share is Nova's.
    """
    owners = (os.fstat(root).st_uid, os.stat('..', dir_fd=root).st_uid)
    if _caller() not in (0, *owners):
        raise _Refusal(
            'unsafe',
            f'neither its directory nor the one above belongs to the user '
            f'{_caller()}, who asked for it',
        )


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
            _check_root(file)
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


def _present(file: int) -> contexts.Context | None:
    """The context that a file carries; None where it has none."""
    try:
        text = selinux.getfilecon_raw(_name_of(file))[1]
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return None
        raise
    return contexts.Context.parse(text)


def _qemu_group() -> int:
    """The group that QEMU runs as.

    It comes from the configuration that root reads, and not from the caller,
    who could name a group of its own.
    """
    chosen = cfg.CONF[svirt_pctxt.cfg_section].qemu_group
    names = (chosen,) if chosen else _QEMU_GROUPS
    for name in names:
        with contextlib.suppress(KeyError):
            return grp.getgrnam(name).gr_gid
    raise _Refusal(
        'refused',
        f'this host has no group {" or ".join(names)}; set qemu_group in '
        f'[{svirt_pctxt.cfg_section}] to the one that QEMU runs as',
    )


def _let_group_in(file: int, group: int, bits: int) -> None:
    """Give a file to a group, with these permissions at least.

    The owner stays: Nova and cinder go on working with their files. Storage
    on which root may not change groups is left as it is, as libvirt leaves it
    (``virSecurityDACSetOwnershipInternal``): QEMU either gets at the file, or
    does not start.
    """
    status = os.fstat(file)
    try:
        if status.st_gid != group:
            os.chown(_name_of(file), -1, group)
        if status.st_mode & bits != bits:
            os.chmod(_name_of(file), stat.S_IMODE(status.st_mode) | bits)
    except OSError as error:
        if error.errno not in _UNCHANGEABLE:
            raise _Refusal(
                'refused', f'its group cannot be changed: {error.strerror}'
            ) from error


def _let_in(file: int, context: str, bits: int) -> None:
    """Let guests use a file: by its label, and by QEMU's group.

    Storage that cannot carry the label gets the group all the same: the
    operator may have chosen to use it.
    """
    group = _qemu_group()
    try:
        _write(file, context)
    except _Refusal as refusal:
        if refusal.failure.kind == 'unsupported':
            _let_group_in(file, group, bits)
        raise
    _let_group_in(file, group, bits)


def _answer(work: Callable[[], None]) -> Failure | None:
    """Do something, and tell why it was refused."""
    try:
        work()
    except _Refusal as refusal:
        return refusal.failure
    except exception.SvirtError as error:
        return Failure('refused', str(error))
    except OSError as error:
        return Failure('refused', error.strerror or str(error))
    return None


@svirt_pctxt.entrypoint
def set_level(
    root: str, relative: str, level: str, replaced: list[str]
) -> Failure | None:
    """Give a file to one guest: at its level, and to QEMU's group.

    A file that carries the level of another guest is refused.

    :param root: an absolute directory
    :param relative: the file below it
    :param level: a level with at least one category
    :param replaced: levels that may be on the file and that nobody needs
    :returns: why it was refused; None when the file is the guest's
    """

    def work() -> None:
        wanted = levels.Level.parse(level)
        if not wanted.categories:
            raise _Refusal('unsafe', f'{level} would open it to every guest')
        possible = [wanted, *map(levels.Level.parse, replaced)]
        image = image_contexts.writable()
        with _opened(root, relative) as (_, file):
            found = _present(file)
            if (
                found is not None
                and found.type == image.type
                and found.level.categories
                and found.level not in possible
            ):
                raise _Refusal(
                    'foreign', f'it carries {found}, which is not its level'
                )
            _let_in(file, str(image.at(wanted)), stat.S_IRGRP | stat.S_IWGRP)

    return _answer(work)


@svirt_pctxt.entrypoint
def set_content(root: str, relative: str, level: str) -> Failure | None:
    """Let guests read a file that none of them may write.

    :param root: an absolute directory
    :param relative: the file below it
    :param level: the level of those who may read it; ``s0`` for all guests
    :returns: why it was refused; None when they may
    """

    def work() -> None:
        wanted = str(image_contexts.readable().at(levels.Level.parse(level)))
        with _opened(root, relative) as (_, file):
            _let_in(file, wanted, stat.S_IRGRP)

    return _answer(work)


@svirt_pctxt.entrypoint
def restore(root: str, relative: str, given: list[str]) -> Failure | None:
    """Take a file from a guest: the policy's default context for its path.

    The file goes to the group of its directory. A file whose label is not
    that of an image of a guest, at one of the levels given to the instance,
    is left as it is: somebody else labelled it.

    :param root: an absolute directory
    :param relative: the file below it
    :param given: the levels that it may carry
    :returns: why it was refused; None when that was done
    """

    def work() -> None:
        image = image_contexts.writable()
        possible = [levels.Level.parse(text) for text in given]
        with _opened(root, relative) as (directory, file):
            found = _present(file)
            if (
                found is None
                or found.type != image.type
                or found.level not in possible
            ):
                return
            path = os.path.join(os.path.realpath(root), relative)
            _write(file, _default(path, directory, file))
            if os.fstat(file).st_gid == _qemu_group():
                _let_group_in(file, os.fstat(directory).st_gid, 0)

    return _answer(work)


@svirt_pctxt.entrypoint
def read_header(root: str, relative: str) -> bytes | Failure:
    """Read the first bytes of a file that a guest may have written.

    :param root: an absolute directory
    :param relative: the file below it
    :returns: up to :data:`disk_chains.HEADER_SIZE` bytes, or why not
    """
    header = b''

    def work() -> None:
        nonlocal header
        with _opened(root, relative) as (_, file):
            descriptor = os.open(_name_of(file), os.O_RDONLY | os.O_CLOEXEC)
            try:
                header = os.pread(descriptor, disk_chains.HEADER_SIZE, 0)
            finally:
                os.close(descriptor)

    failure = _answer(work)
    return header if failure is None else failure
