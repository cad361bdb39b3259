# SPDX-License-Identifier: Apache-2.0
"""What one line says: who wanted what of what, at which levels, and when.

This module does no I/O.
"""

from __future__ import annotations

import dataclasses
import enum

from svirt_nova import exception
from svirt_nova.denials import line_times
from svirt_nova.mcs import contexts
from svirt_nova.mcs import levels

LONGEST_LINE = 32_768
"""The most characters of a line that is read: the kernel's records have up to
8970 (``MAX_AUDIT_MESSAGE_LENGTH``), to which auditd adds names of users."""

_LONGEST_CONTEXT = 8_192
"""A level of all 1024 categories has 5,000 characters."""


class Outcome(enum.StrEnum):
    """What came of an access."""

    DENIED = 'denied'
    GRANTED = 'granted'
    PERMISSIVE = 'permissive'
    """The policy denies it, but it was not enforced: it took place."""


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """A level in a line, and what it belongs to.

    :param text: the context, or the level alone
    :param type: of the context; empty where only a level was given
    :param level: the high level
    """

    text: str
    type: str
    level: levels.Level


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """What a process wanted, in the words of the kernel.

    The texts are those that guests may have chosen, as they are.

    :param path: the path of the object, or only its name
    :param object_class: such as ``file``
    :param outcome: None where the line does not tell
    """

    process: str = ''
    pid: str = ''
    permissions: tuple[str, ...] = ()
    object_class: str = ''
    path: str = ''
    outcome: Outcome | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Sighting:
    """What one line says.

    :param source: of the process; None if the line has none
    :param target: of what it wanted; None if the line has none
    :param access: None for a line that only shows a label, such as of ``ls``
    :param written: when; None if the line does not tell, or is unreadable
    :param event: the number of the event in the audit log
    :param host: where it was, as the line says
    :param doubt: why nobody may be named for it; empty if all is certain
    """

    source: Label | None = None
    target: Label | None = None
    access: Access | None = None
    written: line_times.Written | None = None
    event: str = ''
    host: str = ''
    doubt: str = ''


def in_doubt(reason: str, access: Access | None = None) -> Sighting:
    """A line of which nothing is believed."""
    return Sighting(access=access or Access(), doubt=reason)


def read_context(text: str) -> Label:
    """Read a context.

    :raises InvalidContext: it is none, or its range is not one of an MCS
        policy
    """
    _bound(text)
    context = contexts.Context.parse(text)
    return Label(text.removesuffix('\0'), context.type, context.level)


def read_range(text: str) -> Label:
    """Read a range, also without its sensitivity, as in ``c134,c472``.

    :raises InvalidLevel: it is none
    """
    _bound(text)
    full = f's0:{text}' if text.startswith('c') else text
    return Label(full, '', levels.LevelRange.parse(full).high)


def _bound(text: str) -> None:
    if len(text) > _LONGEST_CONTEXT:
        raise exception.InvalidContext(
            f'a text of {len(text)} characters is no context'
        )
