# SPDX-License-Identifier: Apache-2.0
"""What a line means: which instance reached for what of whom.

Each verdict is a function of the line and of what the store says of its two
levels. This module does no I/O.
"""

from __future__ import annotations

import dataclasses
import enum
import re

from svirt_nova.allocator import types
from svirt_nova.denials import holders
from svirt_nova.denials import sightings


class Verdict(enum.StrEnum):
    """Who reached for whose."""

    CROSS_PROJECT = 'cross-project'
    """An instance at what is another project's."""
    SAME_PROJECT = 'same-project'
    """An instance at what is another instance's of its own project."""
    OWN = 'own'
    """An instance at what is its own: a label is lost, or a type is wrong."""
    HOST = 'host'
    """An instance at what is no instance's."""
    NOT_OURS = 'not-ours'
    """The process was no instance's."""
    DOUBTFUL = 'doubtful'
    """The line, or one of its levels: who is in doubt is not named."""


class Part(enum.Enum):
    """What a level in a line is."""

    INSTANCE = enum.auto()
    SHARED = enum.auto()
    """The part of a project, in the scheme ``project``."""
    NOBODY = enum.auto()
    UNKNOWN = enum.auto()


_GUEST_TYPE = re.compile(r'svirt_\w+', re.ASCII)
_NO_GUEST = re.compile(
    r'svirt_(?:lxc|sandbox)\w*|container_\w+|spc_t|sandbox_\w+', re.ASCII
)
"""Of containers, which have levels that another program draws."""
_SHARED_TYPES = frozenset(
    {'virt_content_t', 'qemu_var_run_t'}
    # Helpers of one guest, which libvirt starts at its level
    # (virSecuritySELinuxSetChildProcessLabel, useBinarySpecificLabel).
    | {'passt_t', 'swtpm_t', 'swtpm_svirt_t'}
)
"""Other types that libvirt and the policies give to what guests use."""

_LOST_TYPES = frozenset(
    {
        'default_t',
        'nova_var_lib_t',
        'svirt_image_t',
        'unlabeled_t',
        'var_lib_t',
        'virt_image_t',
        'virt_var_lib_t',
    }
)
"""What the files of an instance carry when their label is lost."""

_FILES = frozenset(
    {'file', 'dir', 'lnk_file', 'chr_file', 'blk_file', 'sock_file'}
    | {'fifo_file'}
)
"""Classes of what has a label of its own on a disk."""

_UUID = re.compile(
    r'[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', re.ASCII
)


@dataclasses.dataclass(frozen=True, slots=True)
class Account:
    """What is known of one of the two levels of a line.

    :param holding: of the instance that had the level then; None unless the
        part is INSTANCE
    :param is_cooling: whether that instance was gone, and its level cooled
    :param present: who has the level now, None for nobody; it is None, too,
        where nobody is named
    :param doubt: why nobody is named; empty if all is certain
    """

    label: sightings.Label
    part: Part
    holding: types.Holding | None = None
    is_cooling: bool = False
    present: types.Allocation | None = None
    doubt: str = ''


@dataclasses.dataclass(frozen=True, slots=True)
class Judgement:
    """The answer to a line.

    :param verdict: None for a line that only shows a label
    :param notes: sentences for people
    """

    verdict: Verdict | None
    source: Account | None
    target: Account | None
    notes: tuple[str, ...] = ()


def judge(
    sighting: sightings.Sighting,
    source: holders.LevelRecord | None,
    target: holders.LevelRecord | None,
    terms: holders.Terms,
) -> Judgement:
    """Judge a line.

    :param source: what the store says of the level of the process
    :param target: the same of what it wanted; the record of a level that the
        line does not have is ignored
    """
    if sighting.doubt:
        return Judgement(Verdict.DOUBTFUL, None, None, (sighting.doubt,))
    accounts = [
        None if label is None else _account(label, record, sighting, terms)
        for label, record in (
            (sighting.source, source),
            (sighting.target, target),
        )
    ]
    first, second = accounts
    notes = [
        note
        for each in accounts
        if each is not None
        for note in _notes_of(each)
    ]
    if first is None or second is None:
        notes += _notes_of_former(source, first) + _notes_of_former(
            target, second
        )
        is_doubtful = any(each and each.doubt for each in accounts)
        verdict = Verdict.DOUBTFUL if is_doubtful else None
    else:
        verdict, note = _compare(sighting, first, second, source, terms)
        notes[:0] = [note] if note else []
    if sighting.access and (
        sighting.access.outcome is sightings.Outcome.PERMISSIVE
    ):
        notes.insert(0, 'SELinux did not enforce it: the access took place')
    return Judgement(verdict, first, second, tuple(dict.fromkeys(notes)))


def _account(
    label: sightings.Label,
    record: holders.LevelRecord | None,
    sighting: sightings.Sighting,
    terms: holders.Terms,
) -> Account:
    if record is None or not label.level.categories:
        return Account(label, Part.NOBODY)
    if record.level != label.level:
        raise ValueError(f'{record.level} is not the level {label.level}')
    if _NO_GUEST.fullmatch(label.type):
        return Account(label, Part.NOBODY)
    finding = holders.find(record, sighting.written, terms)
    has_instance = bool(record.holdings)
    if not has_instance and record.is_part:
        return Account(label, Part.SHARED)
    if has_instance and not is_guest_type(label.type):
        return Account(
            label,
            Part.UNKNOWN,
            doubt=f'the level {label.level} is one of an instance, but '
            f'{label.type} is no type of guests',
        )
    if finding.doubt:
        return Account(label, Part.UNKNOWN, doubt=finding.doubt)
    if finding.holding is None:
        return Account(label, Part.NOBODY)
    return Account(
        label,
        Part.INSTANCE,
        finding.holding,
        finding.is_cooling,
        record.present,
    )


def is_guest_type(name: str) -> bool:
    """Whether a type is one of guests or of what they use.

    :param name: empty where only a level was given, which may be one
    """
    return (
        not name
        or name in _SHARED_TYPES
        or (
            _GUEST_TYPE.fullmatch(name) is not None
            and _NO_GUEST.fullmatch(name) is None
        )
    )


def _compare(
    sighting: sightings.Sighting,
    source: Account,
    target: Account,
    source_record: holders.LevelRecord | None,
    terms: holders.Terms,
) -> tuple[Verdict, str]:
    """The verdict on an access, and what to say of it."""
    actor = source.holding
    if source.doubt:
        return Verdict.DOUBTFUL, ''
    if actor is None:
        if source.part is Part.NOBODY and source.label.level.categories:
            return Verdict.NOT_OURS, (
                f'the store knows no instance of the level '
                f'{source.label.level}'
                if is_guest_type(source.label.type)
                else ''
            )
        return Verdict.NOT_OURS, ''
    if source.label.level == target.label.level:
        return Verdict.OWN, _own_level(sighting, actor, target.label.type)
    if target.doubt:
        return Verdict.DOUBTFUL, ''
    if target.part is Part.SHARED:
        part = source_record and source_record.project_part
        if part is not None and part == target.label.level:
            return Verdict.SAME_PROJECT, (
                'it is what all instances of the project share'
            )
        return Verdict.CROSS_PROJECT, (
            'it is what the instances of another project share'
        )
    if target.holding is None:
        return _at_host(sighting, actor, target)
    if target.holding.instance_uuid == actor.instance_uuid:
        return Verdict.OWN, _what_to_do(
            actor.instance_uuid,
            'the file has another level that the instance had',
        )
    if target.holding.project_id == actor.project_id:
        return Verdict.SAME_PROJECT, _path_note(sighting, actor)
    return Verdict.CROSS_PROJECT, _path_note(sighting, actor)


def _own_level(
    sighting: sightings.Sighting, actor: types.Holding, type_name: str
) -> str:
    wanted = sighting.access.object_class if sighting.access else ''
    if wanted in _FILES and not is_guest_type(type_name):
        return _what_to_do(
            actor.instance_uuid,
            f'the file has the level of the instance, but has lost its type: '
            f'{type_name} is none of guests',
        )
    return (
        'the levels agree: the policy refuses it to each guest, whatever its '
        'level'
    )


def _at_host(
    sighting: sightings.Sighting, actor: types.Holding, target: Account
) -> tuple[Verdict, str]:
    level = target.label.level
    is_lost = not level.categories and target.label.type in _LOST_TYPES
    # A guest that can mount something chooses the path, but not the type.
    if is_lost and _is_in_directory(sighting, actor):
        return Verdict.OWN, _what_to_do(
            actor.instance_uuid,
            'the file lies in the directory of the instance and has lost its '
            'label',
        )
    if level.categories and is_guest_type(target.label.type):
        return Verdict.HOST, f'the store knows no instance of {level}'
    if is_lost or _is_in_directory(sighting, actor):
        return Verdict.HOST, (
            'if it is a file of the instance, it has lost its label: run '
            '"svirt-nova host check" on the host'
        )
    return Verdict.HOST, ''


def _is_in_directory(
    sighting: sightings.Sighting, actor: types.Holding
) -> bool:
    """Whether the path names the instance that the process is of."""
    path = sighting.access.path if sighting.access else ''
    return path.startswith('/') and actor.instance_uuid in path.split('/')


def _path_note(sighting: sightings.Sighting, actor: types.Holding) -> str:
    if not _is_in_directory(sighting, actor):
        return ''
    return (
        'the path is in the directory of the instance itself: the file may '
        'carry a wrong level. Run "svirt-nova host check" on the host'
    )


def _what_to_do(instance_uuid: str, what: str) -> str:
    return (
        f'{what}: run "svirt-nova host check" on the host, and reboot '
        f'instance {instance_uuid} hard, which labels its files anew'
    )


def _notes_of(account: Account) -> list[str]:
    """What to say of one of the levels."""
    if account.doubt:
        return [account.doubt]
    held, now = account.holding, account.present
    if held is None:
        return []
    level = account.label.level
    notes = []
    if account.is_cooling:
        notes.append(
            f'the instance of {level} was gone, and the level cooled: '
            f'something of it was left'
        )
    if now is None:
        notes.append(f'nobody has {level} now')
    elif now.instance_uuid != held.instance_uuid:
        notes.append(f'{level} has changed hands since')
    return notes


def _notes_of_former(
    record: holders.LevelRecord | None, account: Account | None
) -> list[str]:
    """Say that a label may be older than who has its level now."""
    former = None if record is None else record.former
    if former is None or account is None or account.holding is None:
        return []
    if former == account.holding:
        return []
    return [
        f'another instance had {account.label.level} until '
        f'{former.until:%Y-%m-%d %H:%M:%S}: if the line is older, give its '
        f'time with --at'
    ]
