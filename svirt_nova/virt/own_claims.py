# SPDX-License-Identifier: Apache-2.0
"""The numbers of this host's claims: what a drop names, and may not name.

A drop names the number that the claim had before the host was looked at. An
operation that begins after that claims with a number of its own, so that the
drop, however late it arrives, keeps that claim. To claim with a new number,
the store must write; so an operation goes on with the number of the claim
that this process has made, as long as no drop can name that number.

The numbers that this process chooses are those of the clock of its host, and
never follow a number that another host may have driven up: such a number is
one too high for the next process of this host, which does not know it, and in
the end for every allocator.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping

from svirt_nova.allocator import claim_numbers


@dataclasses.dataclass(frozen=True, slots=True)
class _Claim:
    """A claim of this host.

    :param number: its number
    :param is_reusable: whether this process has chosen the number, and has
        sent no drop that names it
    """

    number: int
    is_reusable: bool


class OwnClaims:
    """The numbers of the claims that this host has, as far as it knows.

    It is kept in memory alone. After a restart a claim gets a new number: a
    drop that the process before has sent may still be under way.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[str, _Claim] = {}
        # Those that were claimed since the last listing began.
        self._claimed: set[str] = set()
        # Whether the store has told a number. It may be a service of a former
        # release, which knows none.
        self._is_numbered = False
        # The highest number that this process has chosen.
        self._latest = 0

    def to_claim(self, uuid: str) -> int | None:
        """The number with which to claim an instance.

        :returns: None to let the allocator choose it, as long as it is not
            known to number claims
        """
        with self._lock:
            self._claimed.add(uuid)
            known = self._claims.get(uuid)
            if known is not None and known.is_reusable:
                return known.number
            if not self._is_numbered:
                return None
            self._latest = claim_numbers.following(self._latest)
            self._claims[uuid] = _Claim(self._latest, True)
            return self._latest

    def claimed(
        self, uuid: str, number: int | None, answered: int | None
    ) -> None:
        """Learn the number that a claim has got.

        :param number: that with which it was asked for
        :param answered: that in the answer; None if it has none there
        """
        if answered is None or answered == number:
            return
        with self._lock:
            self._is_numbered = True
            # A number that the allocator has chosen may have been seen, and
            # dropped, before the answer came.
            self._claims[uuid] = _Claim(answered, False)

    def listing(self) -> None:
        """Note that the claims of this host are about to be listed."""
        with self._lock:
            self._claimed.clear()

    def listed(self, found: Mapping[str, int | None]) -> None:
        """Learn the numbers of all claims of this host.

        :param found: the number of each by the UUID of its instance, as they
            were listed; None for one of a service that does not number them
        """
        with self._lock:
            numbers = {u: n for u, n in found.items() if n is not None}
            self._is_numbered = self._is_numbered or bool(numbers)
            kept = {
                uuid: known
                for uuid, known in self._claims.items()
                if known.is_reusable or uuid in self._claimed
            }
            listed = {uuid: _Claim(n, False) for uuid, n in numbers.items()}
            self._claims = {**listed, **kept}

    def is_as_listed(self, uuid: str) -> bool:
        """Whether an instance has not been claimed since the listing began.

        If so, its next claim gets a new number, and a drop may name the one
        that was listed.
        """
        with self._lock:
            if uuid in self._claimed:
                return False
            self._claims.pop(uuid, None)
            return True

    def take(self, uuid: str) -> int | None:
        """The number of a claim that is about to be dropped.

        The next claim on the instance gets a new number.

        :returns: None if it is not known
        """
        with self._lock:
            known = self._claims.pop(uuid, None)
            return None if known is None else known.number

    def put_back(self, uuid: str, number: int | None) -> None:
        """Note that a claim may not have been dropped after all."""
        with self._lock:
            if number is not None:
                self._claims.setdefault(uuid, _Claim(number, False))
