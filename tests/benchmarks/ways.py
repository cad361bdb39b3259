# SPDX-License-Identifier: Apache-2.0
"""Ways to give out a level: ours, a bare insert, and what others do.

All go through the engine of the same allocator. Others' ways are reduced to
how they choose and store a level: no claims, no history.
"""

from __future__ import annotations

import abc
import itertools
import random
from collections.abc import Sequence

import sqlalchemy as sa

from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import errors
from svirt_nova.allocator.sql.tables import allocation_rows
from tests.benchmarks import stores

BARE_INSERT = sa.insert(stores.BARE)


class Way(abc.ABC):
    """A way to give out a level.

    :param allocator: has the engine
    :ivar tries: transactions begun to give one out
    """

    name: str
    """Whose it is."""

    def __init__(self, allocator: sql_allocator.SqlAllocator) -> None:
        self.allocator = allocator
        self.tries = 0

    @abc.abstractmethod
    def allocate(self, instance: str) -> None:
        """Give a new instance a level."""

    def warm_up(self, instance: str) -> None:
        """Give a first level, and have each statement compiled."""
        self.allocate(instance)

    def _insert(self, rank: int, instance: str) -> bool:
        """Take a rank; whether it was free."""
        self.tries += 1
        try:
            stores.transact(
                self.allocator,
                lambda c: c.execute(
                    BARE_INSERT,
                    {'level_rank': rank, 'instance_uuid': instance},
                ),
            )
        except errors.DATABASE_ERRORS as error:
            understood = errors.understand(error, 'bench')
            if isinstance(understood, (errors.Conflict, errors.Busy)):
                return False
            raise
        return True


class Bare(Way):
    """INSERT and COMMIT of a rank that is known to be free.

    :param free: such ranks, used in turn: who runs out of them has
        forgotten in between what was made
    """

    name = 'bare'

    def __init__(
        self, allocator: sql_allocator.SqlAllocator, free: Sequence[int]
    ) -> None:
        super().__init__(allocator)
        self._free = itertools.cycle(free)

    def allocate(self, instance: str) -> None:
        """Take one of the free ranks."""
        rank = next(self._free)
        while not self._insert(rank, instance):
            pass


class Ours(Way):
    """:meth:`Allocator.acquire`, with a claim."""

    name = 'acquire'

    def __init__(self, allocator: sql_allocator.SqlAllocator) -> None:
        super().__init__(allocator)
        self._insert_row = allocation_rows.insert

    def allocate(self, instance: str) -> None:
        """Acquire a level."""
        self.allocator.acquire(instance, stores.PROJECT, stores.HOST)

    def warm_up(self, instance: str) -> None:
        """As if candidates had collided before, too."""
        self.allocate(instance)
        self.allocate(instance)
        self.allocator._allocation._search.look_around(
            self.allocator._space.cache(), stores.PROJECT, None
        )

    def count(self) -> None:
        """Count tries from now on, for the whole process."""

        def insert(*args: object, **kwargs: object) -> object:
            self.tries += 1
            return self._insert_row(*args, **kwargs)  # type: ignore

        allocation_rows.insert = insert  # type: ignore[assignment]


class RandomProbing(Way):
    """Any level at all, until one is free: libvirt's way."""

    name = 'random'

    def allocate(self, instance: str) -> None:
        """Guess until it fits."""
        while not self._insert(
            stores.FIRST + random.randrange(stores.SIZE), instance
        ):
            pass


class ListUsed(Way):
    """List what is used, and take something else: neutron's way."""

    name = 'list'

    def allocate(self, instance: str) -> None:
        """List, choose, insert."""
        while True:
            used = stores.transact(
                self.allocator,
                lambda c: set(
                    c.execute(sa.select(stores.BARE.c.level_rank)).scalars()
                ),
            )
            free = [
                rank
                for rank in range(stores.FIRST, stores.FIRST + stores.SIZE)
                if rank not in used
            ]
            if self._insert(random.choice(free), instance):
                return


class LowestFree(Way):
    """The lowest free bit of a bitmap in one row: OpenShift's way."""

    name = 'bitmap'

    def allocate(self, instance: str) -> None:
        """Set a bit, if nobody else was faster, and insert."""
        while not self._try(instance):
            pass

    def _try(self, instance: str) -> bool:
        def work(connection: sa.Connection) -> bool:
            row = connection.execute(sa.select(stores.BITMAP)).one()
            bits = int.from_bytes(row.bits, 'little')
            lowest = (~bits & bits + 1).bit_length() - 1
            changed = connection.execute(
                sa.update(stores.BITMAP)
                .where(stores.BITMAP.c.version == row.version)
                .values(
                    version=row.version + 1,
                    bits=(bits | 1 << lowest).to_bytes(
                        len(row.bits), 'little'
                    ),
                )
            )
            if not changed.rowcount:
                return False
            connection.execute(
                BARE_INSERT,
                {
                    'level_rank': stores.FIRST + lowest,
                    'instance_uuid': instance,
                },
            )
            return True

        self.tries += 1
        try:
            done: bool = stores.transact(self.allocator, work)
        except errors.DATABASE_ERRORS as error:
            understood = errors.understand(error, 'bench')
            if isinstance(understood, errors.Busy):
                return False
            raise
        return done


OTHERS: tuple[type[Way], ...] = (RandomProbing, ListUsed, LowestFree)
