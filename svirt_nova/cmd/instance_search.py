# SPDX-License-Identifier: Apache-2.0
"""Finds an instance by a name, where a command wants its UUID.

A name is that of a domain, such as ``instance-0000002a``, which libvirt on
this host knows; or the name that its owner gave it, which Nova knows. Tenants
choose the latter, also so that it looks like another instance's. Therefore
both are asked, and a name that more than one instance has is refused.
"""

from __future__ import annotations

import pathlib
import re
import uuid
from collections.abc import Iterator

from oslo_config import cfg

from svirt_nova import exception
from svirt_nova import printing

LONGEST = 255
"""The most characters of a name (``nova.db.main.models.Instance``)."""

_LABEL = re.compile(
    r'.*:|\s*s\d+(-s\d+)?\s*$|\s*c\d+\s*([,.]\s*c\d.*)?$', re.DOTALL
)
"""What a label has, so that a wrong one is not taken for a name."""

_MOST_WAIT = 10.0
_MOST_SHOWN = 20


def uuid_of(
    conf: cfg.ConfigOpts, name: str, refusal: exception.SvirtError
) -> str:
    """The UUID of the instance that has a name.

    :param conf: the configuration; with [svirt_nova_api], Nova is asked
    :param name: what the operator typed, which is no UUID
    :param refusal: what is raised if the text cannot be a name, or nobody
        can be asked
    :raises AmbiguousName: several instances have it; all are listed
    :raises UnknownInstance: none has it
    """
    if not name or len(name) > LONGEST or _LABEL.match(name):
        raise refusal
    found: set[str] = set()
    asked: list[str] = []
    problems: list[str] = []
    for who, ask in (('libvirt', _ask_libvirt), ('Nova', _ask_nova)):
        try:
            answer = ask(conf, name)
        except exception.SvirtError as error:
            problems.append(f'{who} could not be asked: {error}')
            continue
        if answer is not None:
            asked.append(who)
            found.update(str(uuid.UUID(each)) for each in answer)
    if not asked and not problems:
        raise refusal
    if problems:
        # Whoever does not answer may know another instance of that name.
        raise exception.UnknownInstance(
            f'the instance {printing.quote(name)} cannot be told for '
            f'certain: {"; ".join(problems)}. Give its UUID'
        )
    if len(found) > 1:
        listed = sorted(found)
        more = len(listed) - _MOST_SHOWN
        raise exception.AmbiguousName(
            f'{len(listed)} instances have the name {printing.quote(name)}; '
            f'give the UUID of one: {", ".join(listed[:_MOST_SHOWN])}'
            + (f' and {more} more' if more > 0 else '')
        )
    for each in found:
        return each
    raise exception.UnknownInstance(
        f'no instance has the name {printing.quote(name)}, says '
        f'{" and ".join(asked)}; instances that are deleted are found by '
        f'their UUID alone'
    )


def _ask_libvirt(_conf: cfg.ConfigOpts, name: str) -> list[str] | None:
    """The UUIDs of domains of this host; None if it has no libvirt.

    :raises LibvirtUnreachable: it does not answer
    """
    from svirt_nova.host import libvirtd

    if not any(pathlib.Path(each).exists() for each in libvirtd.SOCKETS):
        return None
    with libvirtd.connected(libvirtd.SYSTEM) as connection:
        return [*_domains_of(connection, name)]


def _domains_of(connection: object, name: str) -> Iterator[str]:
    for each in connection.listAllDomains():  # type: ignore[attr-defined]
        if each.name() == name:
            yield each.UUIDString()


def _ask_nova(conf: cfg.ConfigOpts, name: str) -> list[str] | None:
    """The UUIDs that Nova has; None without credentials for it.

    :raises SvirtError: it gives no certain answer
    """
    if not _is_configured(conf):
        return None
    # keystoneauth is slow to import.
    from svirt_nova.lifecycle import compute_api

    return compute_api.load(conf, _MOST_WAIT).named(name)


def _is_configured(conf: cfg.ConfigOpts) -> bool:
    from svirt_nova.conf import compute_api

    return compute_api.is_configured(conf)
