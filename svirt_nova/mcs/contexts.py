# SPDX-License-Identifier: Apache-2.0
"""SELinux contexts: ``user:role:type:range``."""

from __future__ import annotations

import dataclasses
import re

from svirt_nova import exception
from svirt_nova.mcs import levels

# An identifier of the policy language, as checkpolicy's scanner has it.
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_.-]*')


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """A context of a process or a file.

    Compare contexts, not their texts: the range compares as category
    sets.
    """

    user: str
    role: str
    type: str
    range: levels.LevelRange

    @classmethod
    def parse(cls, text: str) -> Context:
        """Read a context such as ``system_u:system_r:svirt_t:s0:c1,c2``.

        One trailing NUL, which the kernel adds in ``/proc`` and in
        extended attributes, is dropped.

        :raises InvalidContext: not a context of an MCS policy
        """
        parts = text.removesuffix('\0').split(':', 3)
        if len(parts) != 4 or not all(map(_NAME.fullmatch, parts[:3])):
            raise exception.InvalidContext(
                f'{text!r} is not a context of the form user:role:type:level'
            )
        try:
            level_range = levels.LevelRange.parse(parts[3])
        except exception.InvalidLevel as error:
            raise exception.InvalidContext(
                f'{text!r} is not a context: {error}'
            ) from error
        return cls(parts[0], parts[1], parts[2], level_range)

    def __str__(self) -> str:
        return f'{self.user}:{self.role}:{self.type}:{self.range}'

    @property
    def level(self) -> levels.Level:
        """The high level: what decides whether a process may use a file."""
        return self.range.high

    def at(self, level: levels.Level) -> Context:
        """This context with another level."""
        return dataclasses.replace(self, range=levels.LevelRange(level, level))
