# SPDX-License-Identifier: Apache-2.0
"""Checks what callers of an allocator give it, for every driver alike."""

from __future__ import annotations

import uuid

from oslo_utils import uuidutils

NAME_LENGTH = 255
"""The longest host, project and note, in characters, as in Nova."""


def canonical_uuid(text: str) -> str:
    """The one spelling of an instance's UUID that stores know.

    :raises ValueError: it is not a UUID
    """
    if not uuidutils.is_uuid_like(text):
        raise ValueError(f'{text!r} is not the UUID of an instance')
    return str(uuid.UUID(text))


def check_name(what: str, text: str, shortest: int = 1) -> None:
    """Check the name of a host or a project, or a note.

    :param what: what it is the name of, for the error
    :param shortest: the fewest characters that it may have
    :raises ValueError: it is too short or too long, or not printable
    """
    if not shortest <= len(text) <= NAME_LENGTH or not text.isprintable():
        raise ValueError(
            f'{text!r} is not the name of a {what}: {shortest} to '
            f'{NAME_LENGTH} printable characters'
        )


def check_claim(
    instance_uuid: str, host: str, project_id: str | None = None
) -> str:
    """Check who claims what.

    :param project_id: the instance's project, where the call names it
    :returns: the instance's UUID in the one spelling that stores know
    :raises ValueError: a name is none, or the UUID is none
    """
    if project_id is not None:
        check_name('project', project_id)
    check_name('host', host)
    return canonical_uuid(instance_uuid)
