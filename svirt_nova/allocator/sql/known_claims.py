# SPDX-License-Identifier: Apache-2.0
"""Claims of instances that have their level already."""

from __future__ import annotations

import dataclasses
import time

import sqlalchemy as sa

from svirt_nova import exception
from svirt_nova.allocator import arguments
from svirt_nova.allocator import claim_numbers
from svirt_nova.allocator import refusals
from svirt_nova.allocator import types
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import allocation_queries
from svirt_nova.allocator.sql.tables import allocation_rows
from svirt_nova.allocator.sql.tables import cloud_rows


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """What a host claims.

    :param instance: the UUID of an instance
    :param project: the instance's project
    :param host: the name of the host
    :param number: of the claim; None lets it be chosen
    """

    instance: str
    project: str
    host: str
    number: int | None

    @classmethod
    def of(
        cls, instance_uuid: str, project: str, host: str, number: int | None
    ) -> Claim:
        """What the arguments of a call say.

        :raises ValueError: a name is none, the UUID is none, or the number
            is out of bounds
        """
        return cls(
            arguments.check_claim(instance_uuid, host, project),
            project,
            host,
            claim_numbers.check(number),
        )

    def is_made(self, held: types.Allocation) -> bool:
        """Whether an allocation has this very claim."""
        return (
            self.number is not None
            and held.claims.get(self.host) == self.number
        )

    def check_project(self, held: types.Allocation) -> None:
        """Check that the instance is of the project that it had before.

        :raises NotAllowed: it is not
        """
        if held.project_id != self.project:
            raise refusals.other_project(self.instance, held, self.project)


def claim(store: stores.Store, wanted: Claim) -> types.Allocation | None:
    """Hold and claim the level that an instance has, if it has one.

    :returns: None if it has none, or if others have changed it meanwhile
    :raises ClaimOutdated: see :meth:`base.Allocator.acquire`
    :raises LimitReached: see :meth:`base.Allocator.acquire`
    :raises NotAllowed: the instance is of another project
    """
    instance, host = wanted.instance, wanted.host
    # A repeated call writes nothing: it waits neither for those who write
    # nor for the disk.
    held = store.read(lambda c: allocation_queries.find_instance(c, instance))
    if held is None:
        return None
    wanted.check_project(held)
    if wanted.is_made(held):
        return held
    if len(held.hosts) >= types.MOST_CLAIMS:
        # Who is refused locks no row.
        present = held
        store.read(lambda c: _check_room(c, present, host))
    number = claim_numbers.of_claim(
        wanted.number, held.last_claim or 0, instance
    )

    def work(connection: sa.Connection) -> types.Allocation | None:
        # This locks the row, so that nobody else changes it.
        is_held = allocation_rows.hold(connection, instance, host, number)
        held = allocation_queries.find_instance(connection, instance)
        if held is not None:
            wanted.check_project(held)
        if held is None or held.claims.get(host) == number:
            # The claim may have been made by a commit whose answer was lost.
            return held
        if not is_held:
            return None
        again = host in held.hosts
        _check_room(connection, held, host)
        allocation_rows.claim(connection, instance, host, number, again=again)
        return dataclasses.replace(
            held,
            hosts=held.hosts | {host},
            claims={**held.claims, host: number},
        )

    try:
        return store.write(work)
    except errors.Conflict:
        # The level was freed, or claimed for the same host, since it was
        # read.
        return None


def _check_room(
    connection: sa.Connection, held: types.Allocation, host: str
) -> None:
    """See :func:`refusals.check_room`."""
    if len(held.hosts) >= types.MOST_CLAIMS:
        listed = cloud_rows.listed(connection, {host, *held.hosts})
        refusals.check_room(held, host, listed)


def claim_known(store: stores.Store, wanted: Claim) -> types.Allocation | None:
    """Claim the level that an instance has, whatever others do meanwhile.

    :returns: None if it has none
    :raises ClaimOutdated: see :meth:`base.Allocator.acquire`
    :raises NotAllowed: the instance is of another project
    :raises StoreUnreachable: others have changed it all the time
    """
    deadline = time.monotonic() + store.timeout
    while True:
        claimed = claim(store, wanted)
        if claimed is not None:
            return claimed
        if not store.read(
            lambda c: allocation_queries.find_instance(c, wanted.instance)
        ):
            return None
        if time.monotonic() > deadline:
            raise exception.StoreUnreachable(
                f'instance {wanted.instance} was claimed and given back by '
                f'others all the time; try again'
            )
