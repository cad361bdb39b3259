# SPDX-License-Identifier: Apache-2.0
"""Stores for tests, of each kind: a new one, or one that is emptied."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import fixtures
import sqlalchemy as sa

from svirt_nova.allocator import contract
from svirt_nova.allocator.sql import sql_allocator
from svirt_nova.allocator.sql.engine import stores
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.allocator.sql.tables import space_rows
from svirt_nova.allocator.sql.tables import trust_rows
from tests.functional.allocator import servers
from tests.quick_store import make_conf
from tests.quick_store import QuickStore

new_uuid = contract.new_uuid


class ChangesWithoutWait(fixtures.MockPatchObject):
    """Lets the level space change at once: nobody else uses the store."""

    def __init__(self) -> None:
        super().__init__(stores.Store, '_outlast_statements')


class KindOfStore:
    """A mixin: each test has a new store, of one kind.

    :cvar kind: sqlite, or a kind of server
    """

    kind: str

    def setUp(self) -> None:
        if self.kind == 'sqlite':
            store = QuickStore()
            store.setUp()
            self.addCleanup(store.cleanUp)
            self.url = store.url
        else:
            self.url = servers.running(self.kind).create_database()
            stores.sync(make_conf(self.url), contract.SPACE)
        super().setUp()

    def make(
        self, cooling_time: int = 3600, **options: Any
    ) -> sql_allocator.SqlAllocator:
        return sql_allocator.SqlAllocator(
            make_conf(
                self.url,
                cooling_time=cooling_time,
                sqlite_synchronous=False,
                **options,
            )
        )


def empty(url: str) -> None:
    """Make a store as it was when its schema had been made."""

    def work(connection: sa.Connection) -> None:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(sa.delete(table))
        trust_rows.create(connection)
        space_rows.create(connection, contract.SPACE)

    store = stores.Store(make_conf(url))
    store.write(work)
    store.close()


class ServerContract(contract.AllocatorContract):
    """A mixin: one database, which is emptied before each test.

    Each allocator of a test has the next of several ways to the store.
    """

    urls: Sequence[str]

    @classmethod
    def make_urls(cls) -> Sequence[str]:
        """Make an empty database; its URLs, one for each way to it."""
        raise NotImplementedError

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.urls = cls.make_urls()
        stores.sync(make_conf(cls.urls[0]), contract.SPACE)

    def setUp(self) -> None:
        empty(self.urls[0])
        self._next = itertools.cycle(self.urls)
        super().setUp()
        self.useFixture(ChangesWithoutWait())

    def make(
        self, cooling_time: int, **options: Any
    ) -> sql_allocator.SqlAllocator:
        conf = make_conf(
            next(self._next), cooling_time=cooling_time, **options
        )
        made = sql_allocator.SqlAllocator(conf)
        self.addCleanup(made._store.close)
        return made
