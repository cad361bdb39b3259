# SPDX-License-Identifier: Apache-2.0
"""Compares the levels of one guest wherever they are: whether they agree.

Its process, libvirt's XML, its files, the claim of its host, the store and
what Nova remembers must all name one level. Nothing here does I/O; the levels
are compared by :func:`svirt_nova.lifecycle.audit.audit`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from collections.abc import Iterator

from svirt_nova.allocator import types
from svirt_nova.host import domain_xml
from svirt_nova.host import guest_labels
from svirt_nova.lifecycle import audit
from svirt_nova.mcs import contexts


class Place(enum.Enum):
    """Where a level was found."""

    PROCESS = 'process'
    """In the kernel or in libvirt, of a guest that runs."""

    DEFINITION = 'definition'
    """In libvirt, for the next start."""

    FILES = 'files'
    """On files."""

    STORE = 'store'
    """In the store: the level, its state, and claims."""

    NOVA = 'nova'
    """In what Nova remembers."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A level that is not what it should be.

    :param text: what was found, for people
    :param remedy: what to do
    :param is_wrong: whether it is an error; otherwise it deserves a look
    :param kind: the promise that how a guest runs breaks, if there is one
    """

    place: Place
    text: str
    remedy: str
    is_wrong: bool = True
    kind: audit.Kind | None = None

    def __str__(self) -> str:
        return f'{self.text}. {self.remedy}'


@dataclasses.dataclass(frozen=True, slots=True)
class Expectation:
    """What a guest should have.

    :param host: the name of the host, as Nova has it
    :param process: the base context of its process
    :param image: the base context of its files
    :param content: the base context of files that guests only read
    :param held: what the store has of its instance; None for nothing
    :param remembered: what Nova remembers; None where it was not asked, or
        remembers nothing
    :param refuses_unlabeled: whether files without labels are refused
    """

    host: str
    process: contexts.Context
    image: contexts.Context
    content: contexts.Context
    held: types.Allocation | None
    remembered: types.InstanceLevels | None = None
    refuses_unlabeled: bool = True


_REBOOT = 'Hard-reboot the instance to start it at its level'
_ADOPT = 'Hard-reboot it, or run "svirt-nova adopt"'
PROCESS_KINDS = (
    audit.Kind.UNCONFINED,
    audit.Kind.DRAWN_LEVEL,
    audit.Kind.OTHER_LEVEL,
    audit.Kind.UNKNOWN_LEVEL,
)
"""Which promises how a guest runs can break."""
_FILE_KINDS = (audit.Kind.OTHER_LEVEL,)
_STORE_KINDS = (audit.Kind.UNCLAIMED, audit.Kind.EARLY_RELEASE)


def find(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> list[Finding]:
    """Name every level of a guest that is not what it should be.

    :returns: nothing for a domain that Nova did not make, unless its UUID
        holds a level
    """
    if expected.held is None and not guest.is_instance:
        return []
    return [
        *of_process(guest, expected),
        *_of_definition(guest, expected),
        *_of_files(guest, expected),
        *_of_store(guest, expected),
        *_of_memory(expected),
    ]


def find_meetings(
    guests: Iterable[guest_labels.GuestLabels],
    allocations: Iterable[types.Allocation],
    host: str,
) -> dict[str, list[Finding]]:
    """Find guests of a host that can open the files of another holder.

    :param guests: those that the host has
    :param allocations: levels that are not free
    :param host: the name of the host, as Nova has it
    :returns: by the UUID of an instance
    """
    sights = [
        audit.Sight(
            guest.uuid if guest.is_instance else None,
            f'the guest {guest.name}',
            guest.process.level,
        )
        for guest in guests
        if guest.process is not None and guest.live is not None
    ]
    found: dict[str, list[Finding]] = {}
    view = audit.HostView(host, sights=tuple(sights))
    for each in audit.audit(allocations, [view]):
        if each.kind is audit.Kind.LEVELS_MEET:
            found.setdefault(each.instance_uuid, []).append(
                Finding(
                    Place.PROCESS,
                    each.text,
                    'Hard-reboot the instance that runs at a level that it '
                    'does not hold; for a guest that Nova did not make, '
                    'configure libvirt with categories outside of the level '
                    'space ("svirt-nova space show")',
                )
            )
    return found


def of_stranger(guest: guest_labels.GuestLabels) -> list[Finding]:
    """Judge a guest that Nova did not make.

    :returns: nothing for one that SELinux confines
    """
    if guest.process is None or guest.live is not None:
        return []
    return [
        Finding(
            Place.PROCESS,
            f'libvirt runs this guest, which Nova did not make, without a '
            f'label, as {guest.process}: no level keeps it away from '
            f'anything',
            'Remove <seclabel type="none"> from its XML, and start it anew',
            is_wrong=False,
        )
    ]


def _judge(
    guest: guest_labels.GuestLabels,
    expected: Expectation,
    kinds: Iterable[audit.Kind],
    sights: Iterable[audit.Sight] = (),
    *,
    runs: bool = False,
    is_present: bool = False,
) -> Iterator[audit.Violation]:
    """Have the audit of the project compare levels."""
    guests: tuple[audit.Guest, ...] = ()
    if runs:
        guests = (
            audit.Guest(
                guest.uuid,
                guest.live is not None,
                guest.live is not None and guest.live.is_static,
            ),
        )
    view = audit.HostView(
        expected.host,
        present=frozenset([guest.uuid] if is_present else ()),
        guests=guests,
        sights=tuple(sights),
        traces={guest.uuid: ['the domain in libvirt']},
    )
    allocations = [] if expected.held is None else [expected.held]
    for each in audit.audit(allocations, [view]):
        if each.kind in kinds:
            yield each


def _is_adopted(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> bool:
    """Whether it runs at its own level although libvirt drew that."""
    return (
        guest.process is not None
        and guest.live is not None
        and not guest.live.is_static
        and expected.held is not None
        and guest.process.level == expected.held.level
    )


def of_process(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> list[Finding]:
    """Judge how a guest runs: its process, and libvirt's XML of it.

    :returns: nothing for a guest that does not run
    """
    if guest.process is None:
        return []
    is_held = expected.held is not None
    # A guest from before svirt-nova has not been refused anything; but a
    # level that was given, and that the store has lost, another one may get.
    is_wrong = is_held or (guest.live is not None and guest.live.is_static)
    remedy = _REBOOT if is_held else _ADOPT
    return [
        Finding(Place.PROCESS, text, remedy, is_wrong, kind)
        for kind, text in _process_problems(guest, guest.process, expected)
    ]


def _process_problems(
    guest: guest_labels.GuestLabels,
    process: contexts.Context,
    expected: Expectation,
) -> Iterator[tuple[audit.Kind | None, str]]:
    label = guest.live
    if label is None:
        yield (
            audit.Kind.UNCONFINED,
            f'libvirt runs it without a label, as {process}',
        )
        return
    if process.type != expected.process.type:
        yield (
            None,
            f'it runs as {process}, and guests of this host run in the '
            f'domain {expected.process.type}',
        )
    held = expected.held
    if _is_adopted(guest, expected):
        return
    seen = [('the process', process)]
    if label.label is not None:
        seen.append(("libvirt's XML", label.label))
    if label.imagelabel is not None:
        seen.append(("libvirt's label for disks", label.imagelabel))
    sights = [
        audit.Sight(guest.uuid, what, found.level)
        for what, found in seen
        # Each is named once.
        if what == 'the process' or found.level != process.level
    ]
    for each in _judge(guest, expected, PROCESS_KINDS, sights, runs=True):
        yield each.kind, each.text
    if held is not None and process.level == held.project_level:
        yield (
            audit.Kind.OTHER_LEVEL,
            f'the process is at {process.level}, which is for what its '
            f'project shares, and the level of the instance is {held.level}',
        )


def _of_definition(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> Iterator[Finding]:
    found = guest.definition
    if found is None or not found.is_static or found.label is None:
        # Nova writes a level into it before it starts the guest.
        return
    sight = audit.Sight(
        guest.uuid, 'the definition in libvirt', found.label.level
    )
    for each in _judge(guest, expected, _FILE_KINDS, [sight]):
        yield Finding(Place.DEFINITION, each.text, _REBOOT)


def _of_files(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> Iterator[Finding]:
    for text in guest.unreadable:
        yield Finding(
            Place.FILES,
            text,
            'Look at the file, and run this as the user of nova-compute or '
            'as root',
            is_wrong=False,
        )
    if expected.held is None:
        return
    for file in guest.files:
        if file.disk is domain_xml.DiskLabel.SHARED:
            # Without a level of its project, every guest may use it.
            continue
        if file.context is None:
            yield Finding(
                Place.FILES,
                f'{file.path} lies on storage that carries no SELinux labels',
                'Move the disk to storage that carries labels, or accept it '
                'with [svirt] unlabeled_storage = warn',
                is_wrong=expected.refuses_unlabeled,
            )
        elif file.context.level.categories:
            sight = audit.Sight(guest.uuid, file.path, file.context.level)
            for each in _judge(guest, expected, _FILE_KINDS, [sight]):
                yield Finding(
                    Place.FILES,
                    each.text,
                    'Find out who uses the file; then hard-reboot the '
                    'instance, which labels it',
                )
        elif reason := _without_categories(guest, file, expected):
            yield Finding(
                Place.FILES,
                f'{file.path} carries {file.context}, {reason}, and the level '
                f'of the instance is {expected.held.level}',
                'Hard-reboot the instance, which labels its files',
            )


def _without_categories(
    guest: guest_labels.GuestLabels,
    file: guest_labels.File,
    expected: Expectation,
) -> str | None:
    """What is wrong with a file that has no categories; None for nothing.

    Every guest may read base images on purpose. A file of a stopped guest
    has any context that guests may not use.
    """
    assert file.context is not None
    if file.context.type == expected.image.type:
        return 'so that every guest may write it'
    if (
        not file.is_top
        or guest.live is None
        or (guest.is_running and not guest.live.is_static)
    ):
        # libvirt opens CD-ROMs of a guest from before svirt-nova to all.
        return None
    if file.context.type == expected.content.type:
        return 'so that every guest may read it'
    if guest.is_running:
        return 'which keeps the guest itself from it'
    return None


def _of_store(
    guest: guest_labels.GuestLabels, expected: Expectation
) -> Iterator[Finding]:
    if expected.held is None:
        if guest.process is None:
            yield Finding(
                Place.STORE,
                'the instance holds no level',
                'It gets one when it is started',
                is_wrong=False,
            )
        return
    sight = audit.Sight(guest.uuid, 'the domain', expected.held.level)
    for each in _judge(
        guest, expected, _STORE_KINDS, [sight], is_present=True
    ):
        yield Finding(
            Place.STORE,
            each.text,
            'nova-compute claims it at its next reconciliation; if it does '
            'not, see its log',
        )


def _of_memory(expected: Expectation) -> Iterator[Finding]:
    held, remembered = expected.held, expected.remembered
    if held is None or remembered is None or remembered.own == held.level:
        return
    yield Finding(
        Place.NOVA,
        f'Nova remembers the level {remembered.own} for the instance, and '
        f'the store has {held.level}',
        'If an old backup of the store was restored, do not start guests '
        'before their hosts have told it what they run; otherwise '
        'hard-reboot the instance',
    )
