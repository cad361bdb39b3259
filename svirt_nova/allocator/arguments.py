# SPDX-License-Identifier: Apache-2.0
"""Checks what callers of an allocator give it, for every driver alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from oslo_utils import uuidutils

from svirt_nova import printing
from svirt_nova.allocator import clouds
from svirt_nova.mcs import levels
from svirt_nova.mcs import ranking

NAME_LENGTH = 255
"""The longest host, project and note, in characters, as in Nova."""

REASON_LENGTH = 1000
"""The longest reason of an operator, in characters."""

_HIGHEST_GENERATION = 2**63 - 1
"""More than this has no place in a database.

No store comes near it, so that a host that has seen more is noticed all the
same.
"""


def limit_generation(seen: int | None) -> int:
    """The generation that a host has seen, in the limits of a database.

    :param seen: None, or 0, if it has seen none
    """
    return min(seen or 0, _HIGHEST_GENERATION)


def canonical_uuid(text: str) -> str:
    """The one spelling of an instance's UUID that stores know.

    :raises ValueError: it is not a UUID
    """
    if not uuidutils.is_uuid_like(text):
        raise ValueError(
            f'{printing.quote(text)} is not the UUID of an instance'
        )
    return str(uuid.UUID(text))


def check_name(what: str, text: str) -> None:
    """Check the name of a host or a project.

    A name is compared by its bytes. MariaDB compares names of other lengths
    as if they ended in spaces, so that a name has none at its ends; nor could
    who reads it see them. Nova's names have none: oslo.config and Keystone
    take them off.

    :param what: what it is the name of, for the error
    :raises ValueError: it is too short or too long, not printable, or has a
        space at an end
    """
    if (
        not 1 <= len(text) <= NAME_LENGTH
        or not text.isprintable()
        or text != text.strip()
    ):
        raise ValueError(
            f'{printing.quote(text)} is not the name of a {what}: 1 to '
            f'{NAME_LENGTH} printable characters, without spaces at the ends'
        )


def check_text(what: str, text: str, longest: int = NAME_LENGTH) -> None:
    """Check a note or a reason, which may be empty.

    :param what: what it is, for the error
    :param longest: the most characters that it may have
    :raises ValueError: it is too long or not printable
    """
    if len(text) > longest or not text.isprintable():
        raise ValueError(
            f'{printing.quote(text)} is not a {what}: up to {longest} '
            f'printable characters'
        )


def check_filters(host: str | None, project_id: str | None) -> None:
    """Check the names that a list is asked for; None for all.

    :raises ValueError: one is no name
    """
    if host is not None:
        check_name('host', host)
    if project_id is not None:
        check_name('project', project_id)


def check_search(
    level: levels.Level | None,
    instance_uuid: str | None,
    project_id: str | None,
) -> str | None:
    """Check what the history is asked for.

    :returns: the instance's UUID in the one spelling that stores know
    :raises NotInSpace: the level has too many categories for a rank
    :raises ValueError: a name is none, or nothing is asked for
    """
    if level is None and instance_uuid is None and project_id is None:
        raise ValueError(
            'the history is asked for by a level, an instance or a project'
        )
    if level is not None:
        ranking.check(level.categories)
    check_filters(None, project_id)
    return None if instance_uuid is None else canonical_uuid(instance_uuid)


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


def check_cloud(cloud: clouds.Cloud, strangers: Iterable[str]) -> None:
    """Check what is to be remembered of a cloud.

    :param strangers: names of hosts
    :raises ValueError: a name is none, a UUID is none or is spelled in
        another way than Nova does, or no compute service is named
    """
    check_name('cloud', cloud.name)
    if not cloud.services:
        raise ValueError(f'the cloud at {cloud.name} has no compute service')
    for service in cloud.services:
        check_name('host', service.host)
        if canonical_uuid(service.uuid) != service.uuid:
            raise ValueError(
                f'{service.uuid!r} is not the UUID of a compute service, as '
                f'Nova spells it'
            )
    for name in strangers:
        check_name('host', name)
