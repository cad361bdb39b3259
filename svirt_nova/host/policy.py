# SPDX-License-Identifier: Apache-2.0
"""Questions to an SELinux policy: whether it keeps guests apart.

Right labels are worth nothing if the policy does not refuse: if the domain
of guests is permissive, if no MCS constraint applies to it, or if a module
allows what should be refused. So the loaded policy is asked, whatever
distribution it comes from. Nothing here does I/O:
:mod:`svirt_nova.host.kernel` asks the kernel.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from svirt_nova import exception
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

OWN = levels.Level.parse('s0:c1,c2')
OTHER = levels.Level.parse('s0:c1,c3')
"""The levels of two guests. They share a category, as levels of a cloud may:
only a policy that compares whole sets keeps them apart."""

STORAGE_BOOLEANS = {
    'virt_use_nfs': 'NFS',
    'virt_use_samba': 'CIFS',
    'virt_use_fusefs': 'FUSE file systems',
}
"""Booleans of the reference policy that let every guest use files without
labels of their own, and on which storage."""


class Party(enum.Enum):
    """Whom a guest might reach, as an operator would call it."""

    OWN_IMAGE = 'its own disk'
    OWN_PROCESS = 'its own process'
    OWN_TERMINAL = 'its own pseudo-terminal'
    OTHER_IMAGE = 'the disk of another guest'
    OTHER_PROCESS = 'the process of another guest'
    OTHER_TERMINAL = 'the pseudo-terminal of another guest'
    NEW_FILE = 'a file that Nova makes in instances_path'
    LIBVIRT = "libvirt's directory of guests"
    DBUS = "libvirt's directory of message buses"
    CACHE = "libvirt's cache of what QEMU can do"
    NVRAM = 'the NVRAM of a stopped guest'
    TPM = 'the vTPM state of a stopped guest'


class Answer(enum.Enum):
    """What a policy should answer."""

    ALLOWED = 'allow'
    """All that is asked for: without it no guest works."""

    REFUSED = 'refuse'
    """All that is asked for: with any of it guests are not kept apart."""


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """What a guest might do to whom.

    :param whom: the object
    :param object_class: its class, as the policy names it
    :param permissions: the permissions in question
    :param expected: the answer of a policy that keeps guests apart
    :param is_fatal: whether guests must not run after any other answer; a
        warning is enough for what libvirt leaves open everywhere
    """

    whom: Party
    object_class: str
    permissions: tuple[str, ...]
    expected: Answer
    is_fatal: bool = True


def _allowed(whom: Party, object_class: str, permissions: str) -> Question:
    return Question(
        whom, object_class, tuple(permissions.split()), Answer.ALLOWED
    )


def _refused(
    whom: Party, object_class: str, permissions: str, is_fatal: bool = True
) -> Question:
    return Question(
        whom,
        object_class,
        tuple(permissions.split()),
        Answer.REFUSED,
        is_fatal,
    )


_HARM = {
    Party.LIBVIRT: (
        'make libvirt change or delete any directory of this host, by a '
        'symbolic link'
    ),
    Party.DBUS: 'make libvirt kill any process of this host',
    Party.CACHE: 'change how libvirt starts any guest of this host',
    Party.NVRAM: 'change what another one starts with',
    Party.TPM: 'read the secrets of another one',
}
"""What a guest may do where the policy module is not installed."""

QUESTIONS = (
    _allowed(Party.OWN_IMAGE, 'file', 'open read write'),
    _allowed(Party.OWN_PROCESS, 'process', 'fork signal'),
    _allowed(Party.OWN_TERMINAL, 'chr_file', 'open read write'),
    _refused(
        Party.OTHER_IMAGE,
        'file',
        'open read write append relabelfrom relabelto',
    ),
    _refused(
        Party.OTHER_IMAGE,
        'blk_file',
        'open read write append relabelfrom relabelto',
    ),
    _refused(Party.OTHER_IMAGE, 'dir', 'read write add_name remove_name'),
    _refused(Party.OTHER_PROCESS, 'process', 'signal sigkill sigstop ptrace'),
    # What is in the /proc directory of a process has its context.
    _refused(Party.OTHER_PROCESS, 'file', 'open read write'),
    _refused(Party.OTHER_TERMINAL, 'chr_file', 'open read write'),
    _refused(Party.NEW_FILE, 'file', 'open read write append'),
    # libvirtd, which is root, follows a symbolic link that a guest leaves
    # there, and deletes what it finds.
    _refused(Party.LIBVIRT, 'dir', 'write add_name remove_name'),
    # It also kills the process that a file there names (qemuDBusStop).
    _refused(Party.DBUS, 'dir', 'write add_name remove_name'),
    _refused(Party.CACHE, 'dir', 'write add_name remove_name', is_fatal=False),
    _refused(Party.NVRAM, 'file', 'read write append', is_fatal=False),
    _refused(Party.TPM, 'file', 'read write append', is_fatal=False),
)

EMULATION = _allowed(Party.OWN_PROCESS, 'process', 'execmem')
"""QEMU without KVM maps memory that it writes and executes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What a policy decides.

    :param allowed: those of the permissions asked for that it allows
    :param is_permissive: whether the domain is permissive: whatever the
        policy refuses it is only logged
    """

    allowed: frozenset[str]
    is_permissive: bool = False


Ask = Callable[[str, str, str, Sequence[str]], Decision]
"""Asks a policy: the context of the process, that of the object, the class
of the object, and permissions. It raises LabelError where the policy does not
know what is asked."""


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is not the expected one.

    :param text: question, answer and remedy, for an operator
    :param is_fatal: whether guests must not run
    """

    text: str
    is_fatal: bool = True

    def __str__(self) -> str:
        return self.text


def describe_boolean(name: str) -> str:
    """What to tell of a boolean of :data:`STORAGE_BOOLEANS` that is on."""
    return (
        f'The SELinux boolean {name} is on: every guest of this host may use '
        f'what lies without labels of its own on {STORAGE_BOOLEANS[name]}. '
        f'Switch it off ("setsebool -P {name} off") unless guests need it.'
    )


def parties(
    process: contexts.Context, image: contexts.Context
) -> dict[Party, str]:
    """The contexts of what two guests have.

    :param process: the base context of guests
    :param image: the base context of their disks
    """
    return {
        Party.OWN_IMAGE: str(image.at(OWN)),
        Party.OWN_PROCESS: str(process.at(OWN)),
        Party.OTHER_IMAGE: str(image.at(OTHER)),
        Party.OTHER_PROCESS: str(process.at(OTHER)),
    }


def examine(
    objects: Mapping[Party, str],
    ask: Ask,
    questions: Sequence[Question] = QUESTIONS,
) -> list[Problem]:
    """Ask a policy all questions, on behalf of one guest.

    :param objects: the contexts of the guest and of whom it might reach;
        nothing is asked about those that are missing
    :param ask: asks the policy
    :param questions: what to ask
    :returns: what is wrong; what must keep guests from running comes first
    """
    guest = objects[Party.OWN_PROCESS]
    found: list[Problem] = []
    wrong: dict[tuple[Party, Answer, bool], list[str]] = {}
    is_permissive = False
    for each in questions:
        target = objects.get(each.whom)
        if target is None:
            continue
        try:
            decision = ask(guest, target, each.object_class, each.permissions)
        except exception.LabelError as error:
            found.append(Problem(str(error), each.is_fatal))
            continue
        is_permissive |= decision.is_permissive
        named = [
            name
            for name in each.permissions
            if (name in decision.allowed)
            is not (each.expected is Answer.ALLOWED)
        ]
        if named:
            key = (each.whom, each.expected, each.is_fatal)
            wrong.setdefault(key, []).append(
                f'{each.object_class} {{ {" ".join(named)} }}'
            )
    for (whom, expected, is_fatal), rights in wrong.items():
        found.append(
            Problem(
                _describe(guest, whom, objects[whom], expected, rights),
                is_fatal,
            )
        )
    if is_permissive:
        found.insert(0, Problem(_describe_permissive(guest)))
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda problem: not problem.is_fatal)


def _type(context: str) -> str:
    return context.split(':')[2]


def _describe_permissive(guest: str) -> str:
    domain = _type(guest)
    return (
        f'the domain {domain} of guests is permissive: the kernel refuses '
        f'such a process nothing and only logs it. Run "semanage permissive '
        f'-d {domain}", or remove the policy module that makes it permissive '
        f'("semodule -lfull" lists modules)'
    )


def _describe(
    guest: str,
    whom: Party,
    target: str,
    expected: Answer,
    rights: Sequence[str],
) -> str:
    verb = 'refuses' if expected is Answer.ALLOWED else 'allows'
    return (
        f'the loaded SELinux policy {verb} a guest ({guest}) to use '
        f'{whom.value} ({target}): {", ".join(rights)}. '
        f'{_remedy(guest, whom, target, expected, rights)}'
    )


def _remedy(
    guest: str,
    whom: Party,
    target: str,
    expected: Answer,
    rights: Sequence[str],
) -> str:
    if expected is Answer.ALLOWED:
        if any('execmem' in each for each in rights):
            return (
                f'QEMU without KVM needs that. Switch the boolean '
                f'virt_use_execmem on, or allow it to {_type(guest)} in a '
                f'policy module'
            )
        return (
            'Load the module "virt" of the policy, and all that the '
            'distribution has of it'
        )
    if whom in _HARM:
        return (
            f'A guest may {_HARM[whom]}. Install the policy module '
            f'etc/selinux/svirt_nova.cil of svirt-nova ("semodule -i"), which '
            f'gives that directory another type than {_type(target)}, and '
            f'take the old one off with "restorecon -F", as the installation '
            f'guide says'
        )
    if whom is Party.NEW_FILE:
        return (
            f'Give instances_path a type that guests may not use, with '
            f'"semanage fcontext" and "restorecon", in place of '
            f'{_type(target)}'
        )
    return (
        f'Categories do not confine {_type(guest)}. Remove the policy module '
        f'that exempts it ("semodule -lfull" lists modules), or name a '
        f'domain that MCS constrains in the file virtual_domain_context of '
        f'the policy, and restart libvirt'
    )
