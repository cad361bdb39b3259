# SPDX-License-Identifier: Apache-2.0

import contextlib
import sqlite3

import testtools

from svirt_nova.allocator import contract
from svirt_nova.allocator.sql.tables import schema
from svirt_nova.mcs import ranking
from tests import quick_store


class SchemaTest(testtools.TestCase):
    """What the store refuses, whatever the code above it does."""

    def test_rows_that_would_break_the_invariants_are_refused(self):
        store = self.useFixture(quick_store.QuickStore())
        allocator = store.make()
        uuid = contract.new_uuid()
        allocator.acquire(uuid, 'p', 'a')
        held = allocator.acquire(uuid, 'p', 'b').level
        rank = ranking.rank(held.categories)
        names = [c.name for c in schema.allocation.c if not c.server_default]
        table = f'allocation ({", ".join(names)})'
        space = "'c0.c9', 2, '', 0, 1, NULL, '1')"
        row = "NULL, NULL, 0, '2026-01-01 00:00:00.000000', NULL, '')"
        for statement in (
            # One level, one holder; one instance, one level.
            f"INSERT INTO {table} VALUES ({rank}, 'x', 'p', {row}",
            f"INSERT INTO {table} VALUES (1000000, '{uuid}', 'p', {row}",
            f"INSERT INTO {table} VALUES (-1, 'y', 'p', {row}",
            # What is reserved has no owner, what is held has both.
            f"INSERT INTO {table} VALUES (1000001, NULL, 'p', {row}",
            f"INSERT INTO {table} VALUES (1000002, 'z', NULL, {row}",
            f'INSERT INTO {table} VALUES (1000003, NULL, NULL, NULL, NULL, '
            "0, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', "
            "'')",
            f"INSERT INTO {table} VALUES (1000003, NULL, NULL, NULL, 'a', "
            "0, '2026-01-01 00:00:00.000000', NULL, '')",
            # A level of a project has the project's part.
            f"INSERT INTO {table} VALUES (1000004, 'z', 'p', 5, 'a', "
            "0, '2026-01-01 00:00:00.000000', NULL, '')",
            # A claimed level is not freed, an unknown one not claimed.
            f"DELETE FROM allocation WHERE instance_uuid = '{uuid}'",
            "UPDATE allocation SET instance_uuid = 'other' "
            f"WHERE instance_uuid = '{uuid}'",
            "INSERT INTO claim (instance_uuid, host) VALUES ('nobody', 'a')",
            f"INSERT INTO claim (instance_uuid, host) VALUES ('{uuid}', 'b')",
            # There is one level space.
            f'INSERT INTO level_space VALUES (2, {space}',
            f'INSERT INTO level_space VALUES (1, {space}',
            'UPDATE level_space SET per_level = 0',
        ):
            with (
                contextlib.closing(sqlite3.connect(store.path)) as connection,
                connection,
            ):
                connection.execute('PRAGMA foreign_keys = ON')
                self.assertRaises(
                    sqlite3.IntegrityError, connection.execute, statement
                )
        self.assertEqual(1, len(allocator.list()))
