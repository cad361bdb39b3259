# SPDX-License-Identifier: Apache-2.0
"""Asks the kernel of this host about SELinux, through libselinux."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from collections.abc import Sequence

import selinux

from svirt_nova import exception
from svirt_nova.host import policy

SELINUXFS = '/sys/fs/selinux'
CONFIG = '/etc/selinux/config'
FILE_SYSTEMS = '/proc/filesystems'
TERMINALS = '/dev/pts'

# Where libvirt keeps what its guests start with, as the policy's
# file_contexts name it.
_LIBVIRT = '/var/lib/libvirt/qemu'
_DBUS = '/run/libvirt/qemu/dbus'
_CACHE = '/var/cache/libvirt/qemu'
_NVRAM = '/var/lib/libvirt/qemu/nvram/guest_VARS.fd'
_TPM = '/var/lib/libvirt/swtpm/guest/tpm2/tpm2-00.permall'


def check_enforcing() -> None:
    """Check that the kernel enforces an SELinux policy with categories.

    :raises UnconfinedHost: it does not, or this process cannot see it
    """
    if selinux.is_selinux_enabled() != 1:
        raise exception.UnconfinedHost(_why_disabled())
    if selinux.is_selinux_mls_enabled() != 1:
        raise exception.UnconfinedHost(
            'the SELinux policy of this host has no categories, so guests '
            'would not be kept apart. Install a policy with MCS, such as '
            'selinux-policy-default (Debian) or selinux-policy-targeted '
            '(RPM), and name it in /etc/selinux/config'
        )
    if selinux.security_getenforce() != 1:
        raise exception.UnconfinedHost(
            'the kernel of this host does not enforce SELinux, so guests '
            'would not be kept apart. Run "setenforce 1" and set '
            'SELINUX=enforcing in /etc/selinux/config; or set [svirt] mode '
            'to permissive or disabled in nova.conf'
        )


def _why_disabled() -> str:
    """Why libselinux takes SELinux for disabled.

    It wants selinuxfs mounted, not read-only, and a configuration file
    (``is_selinux_enabled`` and ``verify_selinuxmnt`` of libselinux).
    Containers often have neither.
    """
    if not _kernel_has_selinux():
        return (
            'SELinux is off in the kernel of this host, so guests would not '
            'be kept apart. Boot with "security=selinux selinux=1" and a '
            'policy installed; or set [svirt] mode to permissive or disabled '
            'in nova.conf'
        )
    mount = (
        'If nova-compute runs in a container, mount these of the host into '
        f'it: {SELINUXFS} (writable: questions to the kernel are written '
        'there) and /etc/selinux (read-only)'
    )
    begin = (
        'SELinux is on in the kernel of this host, but nova-compute cannot '
        'ask it: '
    )
    if not os.path.exists(os.path.join(SELINUXFS, 'enforce')):
        return f'{begin}{SELINUXFS} is not mounted here. {mount}'
    if os.statvfs(SELINUXFS).f_flag & os.ST_RDONLY:
        return f'{begin}{SELINUXFS} is mounted read-only here. {mount}'
    if not os.path.exists(CONFIG):
        return f'{begin}there is no file {CONFIG} here. {mount}'
    return (
        f'{begin}libselinux takes it for disabled. Compare {SELINUXFS} and '
        f'{CONFIG} with those of the host. {mount}'
    )


def _kernel_has_selinux() -> bool:
    # The kernel registers selinuxfs only if SELinux is on (init_sel_fs).
    with open(FILE_SYSTEMS, encoding='utf-8') as file:
        return any(line.split()[-1:] == ['selinuxfs'] for line in file)


@contextlib.contextmanager
def _as_label_errors(question: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise exception.UnconfinedHost(
            f'nova-compute may not ask the kernel {question}: '
            f'{error.strerror}. Give its domain the interfaces '
            f'selinux_compute_access_vector and '
            f'selinux_compute_create_context of the reference policy, in a '
            f'policy module'
        ) from error
    except OSError as error:
        # EINVAL: one of the contexts is invalid (security_context_to_sid).
        raise exception.UnconfinedHost(
            f'the kernel does not say {question}: '
            f'{error.strerror or error}. Check that the loaded policy has '
            f'these contexts ("seinfo -t")'
        ) from error


def ask(
    source: str,
    target: str,
    object_class: str,
    permissions: Sequence[str],
) -> policy.Decision:
    """Ask what the loaded policy allows: see :data:`policy.Ask`.

    :param source: the context of a process
    :param target: the context of an object
    :raises UnconfinedHost: the policy or this process cannot answer
    """
    with _as_label_errors(
        f'what {source} may do to {target} ({object_class})'
    ):
        number = selinux.string_to_security_class(object_class)
        bits = {
            name: selinux.string_to_av_perm(number, name) if number else 0
            for name in permissions
        }
        if not all(bits.values()):
            unknown = [name for name, bit in bits.items() if not bit]
            raise exception.UnconfinedHost(
                f'the loaded SELinux policy does not know the class '
                f'{object_class} with {{ {" ".join(unknown)} }}: load the '
                f'policy of the distribution'
            )
        decision = selinux.av_decision()
        # The one of its four functions that tells of permissive domains.
        selinux.security_compute_av_flags_raw(
            source, target, number, sum(bits.values()), decision
        )
    return policy.Decision(
        frozenset(
            name for name, bit in bits.items() if decision.allowed & bit
        ),
        bool(decision.flags & selinux.SELINUX_AVD_FLAGS_PERMISSIVE),
    )


def created_in(
    directory: str, object_class: str, process: str | None = None
) -> str | None:
    """The context of what a process would make in a directory.

    :param directory: an existing directory
    :param object_class: the class of what is made, such as ``file``
    :param process: the context of the process; None for this one
    :returns: None where there is no such directory, or no label on it
    :raises UnconfinedHost: the kernel does not answer
    """
    try:
        parent = selinux.getfilecon_raw(directory)[1]
    except OSError:
        # There is none, or its file system has no labels at all.
        return None
    with _as_label_errors(f'what is made in {directory} ({parent})'):
        made: str = selinux.security_compute_create_raw(
            process or selinux.getcon_raw()[1],
            parent,
            selinux.string_to_security_class(object_class),
        )[1]
    return made


def _carried(path: str) -> str | None:
    """What a directory is labelled; where there is none, what it would be.

    It may have been labelled under another policy.
    """
    try:
        context: str = selinux.getfilecon_raw(path)[1]
    except OSError:
        return _default(path, stat.S_IFDIR)
    return context


def _default(path: str, kind: int = stat.S_IFREG) -> str | None:
    """What the policy labels a file; None where it does not say."""
    try:
        context: str = selinux.matchpathcon(path, kind)[1]
    except OSError:
        return None
    return context


def differing_types(directory: str) -> tuple[str, str] | None:
    """The type of a directory where the policy has another one for it.

    :param directory: an existing directory
    :returns: the type that it has and the one that the policy gives it; None
        where they do not differ, or one of them is not known
    """
    try:
        found = selinux.getfilecon_raw(directory)[1]
        wanted = selinux.matchpathcon(
            os.path.realpath(directory), os.stat(directory).st_mode
        )[1]
    except OSError:
        # The policy says <<none>>, or the file system has no labels at all.
        return None
    types = [context.split(':')[2] for context in (found, wanted)]
    return None if types[0] == types[1] else (types[0], types[1])


def at_rest(instances_path: str) -> dict[policy.Party, str]:
    """The contexts of what guests leave, and of what Nova makes for them.

    :param instances_path: where Nova makes the files of instances
    :raises UnconfinedHost: the kernel does not answer
    """
    found = {
        policy.Party.NEW_FILE: created_in(instances_path, 'file'),
        policy.Party.LIBVIRT: _carried(_LIBVIRT),
        policy.Party.DBUS: _carried(_DBUS),
        policy.Party.CACHE: _carried(_CACHE),
        policy.Party.NVRAM: _default(_NVRAM),
        policy.Party.TPM: _default(_TPM),
    }
    return {
        party: context
        for party, context in found.items()
        if context is not None
    }


def terminals(own: str, other: str) -> dict[policy.Party, str]:
    """The contexts of the pseudo-terminals of two guests.

    :param own: the context of a guest
    :param other: that of another
    :raises UnconfinedHost: the kernel does not answer
    """
    found = {
        policy.Party.OWN_TERMINAL: created_in(TERMINALS, 'chr_file', own),
        policy.Party.OTHER_TERMINAL: created_in(TERMINALS, 'chr_file', other),
    }
    return {
        party: context
        for party, context in found.items()
        if context is not None
    }


def open_storage() -> list[str]:
    """The booleans of :data:`policy.STORAGE_BOOLEANS` that are on."""
    found = []
    for name in policy.STORAGE_BOOLEANS:
        # A policy need not have each of them.
        with contextlib.suppress(OSError):
            if selinux.security_get_boolean_active(name) == 1:
                found.append(name)
    return found
