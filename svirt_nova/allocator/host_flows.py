# SPDX-License-Identifier: Apache-2.0
"""How many instances a host claims, and how fast it takes levels.

The service limits both, so that no caller can use up the level space. What is
counted here is counted for all of its processes together.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Mapping


class Flow(enum.StrEnum):
    """How a host has taken levels that no instance had before."""

    ACQUIRED = 'acquired'
    ADOPTED = 'adopted'

    @property
    def window(self) -> int:
        """For how many seconds they are counted.

        A host adopts the levels of all of its guests at once, when the store
        has lost them.
        """
        return 60 if self is Flow.ACQUIRED else 3600


@dataclasses.dataclass(frozen=True, slots=True)
class HostCount:
    """What a host has, and has taken.

    :param claims: how many instances it claims
    :param taken: how many levels it has taken in the present window
    """

    claims: int
    taken: Mapping[Flow, int]


class HostFlows(abc.ABC):
    """Counts for each host, beside the levels.

    A window begins with the first level that is counted after the one
    before has ended. So a host can take twice its limit within the time of a
    window, around the end of one.
    """

    @abc.abstractmethod
    def count(self, host: str) -> HostCount:
        """Give what a host has.

        :raises AllocatorError: the store does not answer
        """

    @abc.abstractmethod
    def add(self, host: str, taken: Mapping[Flow, int]) -> None:
        """Count levels that a host has taken.

        :raises AllocatorError: the store does not answer
        """
