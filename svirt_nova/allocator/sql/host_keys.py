# SPDX-License-Identifier: Apache-2.0
"""The keys of hosts and of operators, in the store of levels.

The record of a call that was done is in the same transaction as its first
change. So no process of the service, on whichever machine, does a call
twice, and the record costs no commit of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import math
import secrets
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova import logs
from svirt_nova.allocator import arguments
from svirt_nova.allocator import enrolled_keys
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import key_rows

LOG = logs.get_logger(__name__)

MARGIN = 300
"""Seconds for which a void call is remembered, by the database's clock.

A service whose clock is behind still takes such a call for a valid one. After
this time it is refused whatever the service's clock says, so that no call is
done again whose record may have been deleted.
"""

UNBOUND_PERIOD = 2.0
"""Seconds for which a process takes a host that was not bound for one that
still is not, so that it does not ask the store each time."""

_MOST_UNBOUND = 10_000
_EPOCH = datetime.datetime(1970, 1, 1)
_TIDY_PERIOD = 10.0
_TIDY_LIMIT = 5_000
"""Records that a process deletes in a period: more than it makes in one."""


class SqlEnrolledKeys(enrolled_keys.EnrolledKeys):
    """Keys in a store.

    :param store: where the levels are, too
    """

    def __init__(self, store: stores.Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        # What is here of a key never changes, but for its revocation, which
        # is looked up for each call.
        self._known: dict[str, enrolled_keys.EnrolledKey] = {}
        self._bound: set[str] = set()
        # Until when hosts are taken for not bound, in monotonic seconds.
        self._unbound: dict[str, float] = {}
        # A monotonic time in seconds.
        self._tidy_due = 0.0

    def find(self, public_key: str) -> enrolled_keys.EnrolledKey | None:
        """The owner of a key."""
        found = self._known.get(public_key)
        if found is None:
            found = self._store.read(lambda c: key_rows.find(c, public_key))
            if found is not None and found.used_at is not None:
                self._known[public_key] = found
        return found

    def check(self, key: enrolled_keys.EnrolledKey) -> None:
        """Check that a key may sign a call that changes nothing."""
        found = self._store.read(lambda c: key_rows.find(c, key.public_key))
        _check_valid(key, found)
        if key.used_at is None:
            self._store.write(lambda c: key_rows.use(c, key.public_key))
            self._unbound.pop(key.owner, None)

    @contextlib.contextmanager
    def once(
        self, key: enrolled_keys.EnrolledKey, identity: str, expires: float
    ) -> Iterator[None]:
        """Do what a call asks for, at most once."""
        own = secrets.token_urlsafe(16)
        until = math.ceil(expires)
        identity = key_rows.call_of(until, identity)
        forgotten_at = _EPOCH + datetime.timedelta(seconds=until + MARGIN)

        def record(connection: sa.Connection) -> None:
            if not key_rows.record_call(
                connection, key.public_key, identity, own, forgotten_at
            ):
                _judge(connection, key, identity, own, forgotten_at)
            if key.used_at is None:
                key_rows.use(connection, key.public_key)
                self._unbound.pop(key.owner, None)

        with self._store.beginning_with(record):
            yield
        self._tidy()

    def _tidy(self) -> None:
        with self._lock:
            if time.monotonic() < self._tidy_due:
                return
            self._tidy_due = time.monotonic() + _TIDY_PERIOD
        try:
            # A caller waits for this: the rest has its turn later.
            self._store.write(
                lambda c: key_rows.forget_calls(c, MARGIN, _TIDY_LIMIT)
            )
        except exception.SvirtError as error:
            # The call is done, whatever becomes of the records of others.
            LOG.warning('Records of old calls could not be deleted: %s', error)

    def is_bound(self, host: str) -> bool:
        """Whether a host signs all calls."""
        if host in self._bound:
            return True
        if time.monotonic() < self._unbound.get(host, 0.0):
            return False
        if any(
            each.binds
            for each in self._store.read(
                lambda c: key_rows.of_owner(c, enrolled_keys.Role.HOST, host)
            )
        ):
            self._bound.add(host)
            return True
        if len(self._unbound) >= _MOST_UNBOUND:
            # Somebody makes up names.
            self._unbound.clear()
        self._unbound[host] = time.monotonic() + UNBOUND_PERIOD
        return False

    def enroll(
        self,
        role: enrolled_keys.Role,
        owner: str,
        public_key: str,
        *,
        is_first_call: bool = False,
        is_binding: bool = False,
    ) -> enrolled_keys.EnrolledKey:
        """Enrol a key."""
        arguments.check_name(role.value, owner)
        if is_first_call:
            # Anybody on the bus can ask for this: to be refused must cost
            # no lock that others wait for.
            present = self._store.read(
                lambda c: key_rows.of_owner(c, role, owner)
            )
            if public_key not in {each.public_key for each in present}:
                _check_room(role, owner, present, is_first_call)

        def work(connection: sa.Connection) -> enrolled_keys.EnrolledKey:
            key_rows.lock(connection)
            found = key_rows.find(connection, public_key)
            if found is None:
                all_keys = key_rows.of_owner(connection, role, owner)
                _check_room(role, owner, all_keys, is_first_call)
                key_rows.insert(
                    connection,
                    role,
                    owner,
                    public_key,
                    is_first_call,
                    is_binding,
                )
                return _present(connection, public_key)
            if (found.role, found.owner) != (role, owner):
                raise exception.NotAllowed(
                    f'the key {public_key} is enrolled for the {found.role} '
                    f'{found.owner}: make one for each'
                )
            if found.revoked_at is not None:
                raise exception.NotAllowed(
                    f'the key {public_key} of the {role} {owner} is revoked, '
                    f'which is for ever: make another one'
                )
            if is_binding and not found.is_binding:
                key_rows.bind(connection, public_key)
                return _present(connection, public_key)
            return found

        try:
            found = self._store.write(work)
        except errors.Conflict:
            # Another node of Galera has just made one of the rows.
            found = self._store.write(work)
        self._unbound.pop(owner, None)
        return found

    def revoke(
        self,
        role: enrolled_keys.Role,
        owner: str,
        public_key: str | None = None,
    ) -> Sequence[enrolled_keys.EnrolledKey]:
        """Refuse a key, or all keys of an owner."""

        def work(
            connection: sa.Connection,
        ) -> list[enrolled_keys.EnrolledKey]:
            chosen = [
                each
                for each in key_rows.of_owner(connection, role, owner)
                if public_key in (None, each.public_key)
                and each.revoked_at is None
            ]
            for each in chosen:
                key_rows.revoke(connection, each.public_key)
            return chosen

        chosen = self._store.write(work)
        self._unbound.pop(owner, None)
        return chosen

    def list(
        self, role: enrolled_keys.Role, owner: str | None = None
    ) -> Sequence[enrolled_keys.EnrolledKey]:
        """All keys of a role."""
        return self._store.read(lambda c: key_rows.of_owner(c, role, owner))


def _present(
    connection: sa.Connection, public_key: str
) -> enrolled_keys.EnrolledKey:
    """The row of a key that is there."""
    found = key_rows.find(connection, public_key)
    assert found is not None
    return found


def _judge(
    connection: sa.Connection,
    key: enrolled_keys.EnrolledKey,
    identity: str,
    own: str,
    forgotten_at: datetime.datetime,
) -> None:
    """Say why a call could not be recorded.

    :raises RepeatedCall: it is there
    :raises NotAllowed: its key is revoked or is gone, or it comes so late
        that its record may be gone
    """
    before = key_rows.done_by(connection, identity)
    if before == own:
        # It was recorded by a commit whose answer was lost.
        return
    if before is not None:
        raise exception.RepeatedCall(
            'the call was done before: it came twice, or somebody repeats '
            'what was sent before'
        )
    _check_valid(key, key_rows.find(connection, key.public_key))
    late = allocation_queries.now(connection) - forgotten_at
    if late >= datetime.timedelta():
        raise exception.NotAllowed(
            f'the call has been void for {late.total_seconds() + MARGIN:.0f} '
            f's by the clock of the database: set the clocks of the service '
            f'and of the database by NTP'
        )
    raise errors.Busy('the record of the call was there, and is gone')


def _check_valid(
    key: enrolled_keys.EnrolledKey, found: enrolled_keys.EnrolledKey | None
) -> None:
    """Check what the store has at present of a key that it had.

    :raises NotAllowed: the key is revoked or is gone
    """
    if found is None:
        raise exception.NotAllowed(
            f'the key {key.public_key} of the {key.role} {key.owner} is not '
            f'enrolled any more: the store may have been restored from a '
            f'backup. Enrol it again, if it is not stolen'
        )
    if found.revoked_at is not None:
        raise exception.NotAllowed(
            f'the key {key.public_key} of the {key.role} {key.owner} is '
            f'revoked'
        )


def _check_room(
    role: enrolled_keys.Role,
    owner: str,
    keys: Sequence[enrolled_keys.EnrolledKey],
    is_first_call: bool,
) -> None:
    """Check that an owner may have one more key.

    :param keys: all that it has or had
    :raises NotAllowed: it may not
    """
    if is_first_call and keys:
        raise exception.NotAllowed(
            f'the key is not enrolled, and the {role} {owner} has, or had, '
            f'another one: enrol it'
        )
    valid = [each for each in keys if each.revoked_at is None]
    if len(valid) >= enrolled_keys.MOST_KEYS:
        raise exception.NotAllowed(
            f'the {role} {owner} has {len(valid)} keys, which is the most: '
            f'revoke the one that is not used any more'
        )
