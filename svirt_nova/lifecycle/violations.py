# SPDX-License-Identifier: Apache-2.0
"""Which promises an audit can find broken."""

from __future__ import annotations

import dataclasses
import enum


class Kind(enum.StrEnum):
    """Which promise is broken."""

    LEVELS_MEET = 'levels meet'
    """Of the levels of two holders, one contains the other."""

    NO_CATEGORY = 'no category'
    """An instance has a level that every guest contains."""

    LEVEL_CHANGED = 'level changed'
    """An instance has another level than it had before."""

    UNCONFINED = 'unconfined'
    """A guest runs without an SELinux label on a host that confines."""

    DRAWN_LEVEL = 'drawn level'
    """A guest runs at a level that libvirt drew."""

    UNCHECKED_START = 'unchecked start'
    """A guest runs, and a step of its start was left out."""

    UNKNOWN_LEVEL = 'unknown level'
    """Something carries the level of an instance that holds none."""

    OTHER_LEVEL = 'other level'
    """Something of an instance carries another level than its own."""

    UNCLAIMED = 'unclaimed'
    """A host has something of an instance and does not claim its level."""

    EARLY_RELEASE = 'early release'
    """A level is free, or about to be, though somebody still needs it."""

    LEFTOVER = 'leftover'
    """A host has something of an instance that Nova does not have there."""

    STALE_CLAIM = 'stale claim'
    """A host claims an instance that it has nothing of."""

    LEAK = 'leak'
    """A level is held though nothing of its instance is left anywhere."""


AT_REST = frozenset([Kind.STALE_CLAIM, Kind.LEAK])
"""What may be so for a while, until reconciliation and reaper have run."""

SETTLED = frozenset([Kind.LEFTOVER, Kind.STALE_CLAIM, Kind.LEAK])
"""What may be so for a while, until Nova and the hosts have cleaned up after
an operation."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A promise that is broken.

    :param instance_uuid: whose level it is about: of two instances, the one
        that can open the files of the other
    :param host: the host where it was seen; None where no host matters
    :param text: what was found, for people
    """

    kind: Kind
    instance_uuid: str
    host: str | None
    text: str

    def __str__(self) -> str:
        return f'{self.kind}: {self.text}'
