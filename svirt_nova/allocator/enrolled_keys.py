# SPDX-License-Identifier: Apache-2.0
"""Whose public key is whose: the contract of a store of enrolled keys.

The service believes a signed call only if the key that signed it is here.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import enum
from collections.abc import Sequence

MOST_KEYS = 2
"""Keys that an owner may have at a time, so that one can follow the other."""


class Role(enum.StrEnum):
    """What the owner of a key may ask for."""

    HOST = 'host'
    OPERATOR = 'operator'


@dataclasses.dataclass(frozen=True, slots=True)
class EnrolledKey:
    """A public key and its owner.

    :param public_key: in base64url
    :param role: of the owner
    :param owner: Nova's name of a host, or the name of an operator
    :param enrolled_at: when it was enrolled
    :param used_at: when a call that it signed was done first
    :param revoked_at: since when it is refused
    :param is_first_call: whether the service took it from a host's first
        call, so that no operator has compared it
    :param is_binding: whether its owner was to sign all calls from the
        enrolment on
    """

    public_key: str
    role: Role
    owner: str
    enrolled_at: datetime.datetime | None = None
    used_at: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None
    is_first_call: bool = False
    is_binding: bool = False

    @property
    def binds(self) -> bool:
        """Whether its owner signs all calls.

        A key that is revoked binds its owner also if it never signed a call:
        whoever it was revoked for must not do without.
        """
        return (
            self.is_binding
            or self.used_at is not None
            or self.revoked_at is not None
        )


class EnrolledKeys(abc.ABC):
    """The keys of hosts and of operators.

    Every call may raise :class:`exception.StoreUnreachable` and
    :class:`exception.StoreUnusable`.
    """

    @abc.abstractmethod
    def find(self, public_key: str) -> EnrolledKey | None:
        """The owner of a key; None when it is not enrolled.

        The answer may be old: that a key is not revoked is the business of
        :meth:`check` and :meth:`once`.
        """

    @abc.abstractmethod
    def check(self, key: EnrolledKey) -> None:
        """Check that a key may sign a call that changes nothing.

        Such a call may be done again, so that no record is made of it. The
        first use of a key is noted.

        :raises NotAllowed: it is revoked, or is not enrolled any more
        """

    @abc.abstractmethod
    def once(
        self, key: EnrolledKey, identity: str, expires: float
    ) -> contextlib.AbstractContextManager[None]:
        """Do what a call asks for, inside of this context, at most once.

        The first change of the store that is made inside is made in one
        transaction with the record that the call was done. If none is made,
        the record is made at the end.

        :param identity: of the call
        :param expires: when the call is void, in seconds since 1970
        :raises RepeatedCall: the call was done already, by whichever process
        :raises NotAllowed: the key is revoked or is not enrolled any more, or
            the call has been void for so long that it may be forgotten
        """

    @abc.abstractmethod
    def is_bound(self, host: str) -> bool:
        """Whether a host signs all calls: one of its keys binds it.

        A host stays bound. That it has become bound may be seen some seconds
        later.
        """

    @abc.abstractmethod
    def enroll(
        self,
        role: Role,
        owner: str,
        public_key: str,
        *,
        is_first_call: bool = False,
        is_binding: bool = False,
    ) -> EnrolledKey:
        """Enrol a key. Doing so again changes nothing, but may bind.

        :param is_first_call: only if the owner has never had a key
        :param is_binding: from now on, the owner signs all calls
        :raises NotAllowed: it is another owner's or revoked, or the owner
            has so many keys that one must be revoked first
        :raises ValueError: the owner has no name
        """

    @abc.abstractmethod
    def revoke(
        self, role: Role, owner: str, public_key: str | None = None
    ) -> Sequence[EnrolledKey]:
        """Refuse a key, or all keys of an owner, from now on and for ever.

        :returns: those that were revoked by this
        """

    @abc.abstractmethod
    def list(
        self, role: Role, owner: str | None = None
    ) -> Sequence[EnrolledKey]:
        """All keys of a role, sorted by their owners."""
