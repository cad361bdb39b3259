# SPDX-License-Identifier: Apache-2.0
"""Hosts by what they claim: near their limit, or not known to Nova."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from svirt_nova.allocator import clouds
from svirt_nova.cmd import command

NAMES = ('Host', 'Claims', 'Of Limit', 'Nova')


def describe(
    claims: Mapping[str, int], limit: int, known: clouds.KnownCloud
) -> list[tuple[Any, ...]]:
    """Rows of hosts, those with most claims first.

    :param claims: how many instances each host claims
    :param limit: how many it may; 0 for as many as it likes
    :param known: the cloud of the store
    """
    listed = known.listed
    remembered = {each.name for each in known.hosts if each.service_uuid}

    def in_nova(host: str) -> str | None:
        # Nobody has asked Nova yet.
        if not known.is_known:
            return None
        if host in listed:
            return 'listed'
        return 'missing' if host in remembered else 'unknown'

    return [
        (
            host,
            number,
            command.Text(f'{100 * number // limit} %' if limit else None),
            command.Text(in_nova(host)),
        )
        for host, number in sorted(
            claims.items(), key=lambda item: (-item[1], item[0])
        )
    ]
